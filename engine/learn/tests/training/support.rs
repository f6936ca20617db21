//! A folder with the inputs of jobs, and jobs done by the real worker. The one place that knows the files' layout.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Int32Array, Int32Builder, ListBuilder, RecordBatch, StringArray, StringBuilder,
};
use learn::adapters::Method;
use learn::batches::LossRow;
use learn::models::Model;
use learn::numerics::Numerics;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use spec::job::{Device, Event, Failure, Job, JobInput};

pub const VOCABULARY: i64 = 14;
pub const WORDS: [&str; 10] = ["ada", "ben", "cleo", "dan", "eve", "finn", "gus", "hal", "iris", "jo"];
/// Ids below the words': padding, BOS, EOS, and the mark that ends a prompt.
const FIRST_WORD: i32 = 4;

/// A row of tokens: prompt, then completion.
#[derive(Clone)]
pub struct Row {
    pub id: String,
    pub prompt: Vec<i32>,
    pub completion: Vec<i32>,
    pub failed: Option<String>,
    pub references: Vec<String>,
}

impl Row {
    /// "Which name came first?" after `names`.
    pub fn first_of(names: &[usize]) -> Self {
        let word = |&name: &usize| FIRST_WORD + name as i32;
        let mut prompt = vec![1];
        prompt.extend(names.iter().map(word));
        prompt.push(3);
        let id = names.iter().map(|&name| WORDS[name]).collect::<Vec<_>>().join("-");
        let completion = vec![word(&names[0]), 2];
        Self { id, prompt, completion, failed: None, references: vec![WORDS[names[0]].to_owned()] }
    }

    pub fn with_loss(&self) -> LossRow {
        let ids: Vec<i32> = self.prompt.iter().chain(&self.completion).copied().collect();
        let start = self.prompt.len();
        LossRow::new(self.id.clone(), &ids, (0..ids.len()).map(|at| at >= start)).unwrap()
    }
}

/// Rows of two or three names, all different.
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for first in 0..10 {
        for second in 0..10 {
            rows.push(Row::first_of(&[first, second]));
            rows.push(Row::first_of(&[first, second, (first * 3 + second * 7) % 10]));
        }
    }
    rows
}

/// A small Llama of random weights.
pub fn model(method: &dyn Method, seed: u64) -> Model {
    model_in(method, seed, tch::Device::Cpu)
}

/// The same in kinds of numbers of its own.
pub fn model_in(method: &dyn Method, seed: u64, numerics: impl Into<Numerics>) -> Model {
    let config = json!({
        "model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": VOCABULARY, "tie_word_embeddings": true,
        "initializer_range": 0.2, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 64,
    });
    Model::random(&config, seed, method, seed, numerics).unwrap()
}

/// A folder of jobs.
pub struct Space {
    pub root: tempfile::TempDir,
}

/// What a job said and left.
pub struct Done {
    pub finished: bool,
    pub events: Vec<Event>,
    pub result: PathBuf,
    pub observed: PathBuf,
}

impl Space {
    /// With a tokenize stage's result in `tokens`, splits `train` and `dev`.
    pub fn new(train: &[Row], dev: &[Row]) -> Self {
        let space = Self { root: tempfile::tempdir().unwrap() };
        let tokens = space.root.path().join("tokens");
        fs::create_dir_all(&tokens).unwrap();
        write_rows(&tokens.join("train.parquet"), train);
        write_rows(&tokens.join("dev.parquet"), dev);
        let special = json!({ "bos": 1, "eos": [2], "pad": 0, "vocabulary": VOCABULARY });
        fs::write(tokens.join("special_ids.json"), special.to_string()).unwrap();
        fs::write(tokens.join("tokenizer.json"), tokenizer().to_string()).unwrap();
        space
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn input(&self, name: &str, kind: &str, part: Option<&str>, carried: Option<JobInput>) -> JobInput {
        JobInput {
            stage: name.to_owned(),
            kind: kind.to_owned(),
            coordinates: Vec::new(),
            part: part.map(str::to_owned),
            result: self.path(name),
            observed: self.path(&format!("{name}.observed")),
            carried: carried.map(Box::new),
            made: None,
        }
    }

    /// What a training that began from nothing left as `name`.
    pub fn model(&self, name: &str) -> JobInput {
        self.input(name, "train", None, None)
    }

    /// What the training of an adapter on `base` left as `name`.
    pub fn adapter(&self, name: &str, base: JobInput) -> JobInput {
        self.input(name, "train", None, Some(base))
    }

    /// A job that is named `name` and leaves its result under that name.
    pub fn job(&self, name: &str, kind: &str, settings: &Value, model: Option<JobInput>, part: Option<&str>) -> Job {
        let mut inputs = BTreeMap::from([("data".to_owned(), vec![self.input("tokens", "tokenize", part, None)])]);
        inputs.extend(model.map(|model| ("model".to_owned(), vec![model])));
        Job {
            kind: kind.to_owned(),
            name: name.to_owned(),
            settings: settings.clone(),
            inputs,
            files: BTreeMap::new(),
            result: self.path(name),
            observed: self.path(&format!("{name}.observed")),
            state: self.path(&format!("{name}.state")),
            threads: 1,
            device: Device::Cpu,
            revision: None,
            origin: None,
        }
    }

    /// Starts the worker on a job, with empty folders for what it leaves.
    pub fn start(&self, job: &Job) -> Child {
        self.command(job).spawn().unwrap()
    }

    /// Does a job to its end by a worker whose C library has one heap and gives back what is freed. So its peak is what was
    /// in use: by itself the worker keeps what it had once, and holes between blocks that differ from run to run.
    pub fn run_tidily(&self, job: &Job) -> Done {
        let mut command = self.command(job);
        command.env("MALLOC_ARENA_MAX", "1").env("MALLOC_MMAP_THRESHOLD_", "65536");
        done(command.spawn().unwrap(), job)
    }

    fn command(&self, job: &Job) -> Command {
        for folder in [&job.result, &job.observed] {
            let _ = fs::remove_dir_all(folder);
            fs::create_dir_all(folder).unwrap();
        }
        fs::create_dir_all(&job.state).unwrap();
        let path = self.path(&format!("{}.json", job.name));
        fs::write(&path, serde_json::to_string(job).unwrap()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_engine-worker"));
        command.arg(path).stdout(Stdio::piped());
        command
    }

    /// Does a job to its end.
    pub fn run(&self, job: &Job) -> Done {
        done(self.start(job), job)
    }
}

/// Waits for a worker.
pub fn done(child: Child, job: &Job) -> Done {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let events: Vec<Event> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let finished = output.status.success();
    assert_eq!(finished, events.last() == Some(&Event::Finished), "{events:?}");
    Done { finished, events, result: job.result.clone(), observed: job.observed.clone() }
}

impl Done {
    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.bytes(name)).unwrap()
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.result.join(name)).unwrap()
    }

    pub fn lines(&self, name: &str) -> Vec<Value> {
        String::from_utf8(self.bytes(name)).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn measured(&self) -> Value {
        serde_json::from_slice(&fs::read(self.observed.join("measured.json")).unwrap()).unwrap()
    }

    pub fn failure(&self) -> &Failure {
        match self.events.last() {
            Some(Event::Failed(failure)) => failure,
            other => panic!("no failure but {other:?}"),
        }
    }

    pub fn warnings(&self) -> Vec<&str> {
        let mut warnings = Vec::new();
        for event in &self.events {
            if let Event::Warning { message } = event {
                warnings.push(message.as_str());
            }
        }
        warnings
    }

    pub fn expect_finished(self) -> Self {
        assert!(self.finished, "{:?}", self.events);
        self
    }
}

fn write_rows(path: &Path, rows: &[Row]) {
    let mut ids = ListBuilder::new(Int32Builder::new());
    let mut masks = ListBuilder::new(BooleanBuilder::new());
    let mut references = ListBuilder::new(StringBuilder::new());
    for row in rows {
        ids.append_value(row.prompt.iter().chain(&row.completion).map(|&id| Some(id)));
        let mask = [vec![Some(false); row.prompt.len()], vec![Some(true); row.completion.len()]].concat();
        masks.append_value(mask);
        references.append_value(row.references.iter().map(Some));
    }
    let columns: [(&str, ArrayRef); 6] = [
        ("id", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.id)))),
        ("input_ids", Arc::new(ids.finish())),
        ("completion_mask", Arc::new(masks.finish())),
        ("prompt_length", Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.prompt.len() as i32)))),
        ("failed", Arc::new(StringArray::from_iter(rows.iter().map(|row| row.failed.as_ref())))),
        ("references", Arc::new(references.finish())),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn tokenizer() -> Value {
    let special = ["<pad>", "<bos>", "<eos>", "<first>"];
    let vocabulary: serde_json::Map<_, _> =
        special.iter().chain(&WORDS).enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    let added: Vec<Value> = special
        .iter()
        .enumerate()
        .map(|(id, word)| {
            json!({ "id": id, "content": word, "special": true, "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false })
        })
        .collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "<pad>" },
    })
}
