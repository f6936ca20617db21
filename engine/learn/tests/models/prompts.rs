//! Prompt tuning against PEFT, and against transformers' `inputs_embeds` where PEFT has it otherwise: scores, losses,
//! gradients, twenty steps, greedy texts with a cache, files both ways. The values are made by `tests/golden/prompts.py`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use learn::adapters::{self, Lora, Method, Prompt, Start, saved_method};
use learn::batches::LossRow;
use learn::forecast::Outline;
use learn::generate::{Limits, greedy};
use learn::layers::Mode;
use learn::models::{Model, Task, Texts};
use learn::numerics::{Memory, Numerics};
use learn::objectives::{
    AnsweredRow, Classify, Examples, Labelled, LanguageModel, Normalize, Seq2Seq, TextExamples, TextRow,
};
use learn::optim::AdamW;
use learn::peft::{self, Saved};
use learn::targets::{Role, Targets};
use learn::train::{Rule, Weights};
use learn::weights::{Checkpoint, SafetensorsFile, write_tensors};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::fixtures::{TOLERANCE, assert_close, change_json, copy_folder, generator, golden};

pub const DECODERS: [(&str, &str); 2] =
    [("llama", "llama/untied_grouped/model"), ("gemma3", "decoders/gemma3_text/model")];
const ENCODERS: [&str; 2] = ["bert", "roberta"];

/// A case with its model, and the folder of its adapter.
pub struct Golden {
    pub model: PathBuf,
    pub adapter: PathBuf,
    pub values: Value,
    pub tensors: HashMap<String, Tensor>,
}

impl Golden {
    pub fn read(case: &str, adapter: &str, model: &Path) -> Self {
        let folder = golden("prompts").join(case);
        let values = serde_json::from_slice(&std::fs::read(folder.join("values.json")).unwrap()).unwrap();
        let tensors = Tensor::read_safetensors(folder.join("values.safetensors")).unwrap().into_iter().collect();
        Self { model: model.to_owned(), adapter: folder.join(adapter), values, tensors }
    }

    pub fn decoder((case, model): (&str, &str)) -> Self {
        Self::read(case, "adapter", &golden(model))
    }

    /// `prompt`, or `both` with LoRA beside it.
    fn t5(case: &str) -> Self {
        let adapter = if case == "both" { "" } else { "adapter" };
        Self::read(&format!("t5/{case}"), adapter, &golden("prompts/t5/model"))
    }

    fn encoder(case: &str) -> Self {
        let found = Self::read(case, "adapter", Path::new(""));
        let model = golden(found.values["model"].as_str().unwrap());
        Self { model, ..found }
    }

    fn task(&self) -> Task {
        match self.adapter.join("adapters.json").exists() {
            true => Task::LanguageModel,
            false => peft::task(&self.adapter).unwrap(),
        }
    }

    pub fn adapted_as(&self, numerics: Numerics) -> Model {
        let method = saved_method(&self.adapter).unwrap();
        let mut model = Model::load_for(self.task(), &self.model, method.as_ref(), 0, numerics).unwrap();
        adapters::load(&self.adapter, &mut model.trainable).unwrap();
        model
    }

    pub fn adapted(&self) -> Model {
        self.adapted_as(Device::Cpu.into())
    }

    fn lengths(&self, of: &str) -> Vec<usize> {
        self.values[of].as_array().unwrap().iter().map(|length| length.as_u64().unwrap() as usize).collect()
    }

    fn ids(&self, name: &str, lengths: &str) -> Vec<Vec<i32>> {
        let cut = |(length, row)| {
            let ids = Vec::<i64>::try_from(self.tensors[name].get(row)).unwrap();
            ids.into_iter().take(length).map(|id| id as i32).collect()
        };
        self.lengths(lengths).into_iter().zip(0..).map(cut).collect()
    }

    pub fn texts(&self, padding: i64) -> Texts {
        let rows = self.text_rows();
        let rows: Vec<(&[i32], &[i32])> = rows.iter().map(|row| (row.ids.as_slice(), row.types.as_slice())).collect();
        Texts::new(&rows, padding, Device::Cpu).unwrap()
    }

    fn text_rows(&self) -> Vec<TextRow> {
        let types = if self.tensors.contains_key("types") { self.ids("types", "lengths") } else { Vec::new() };
        let row = |(index, ids): (usize, Vec<i32>)| TextRow {
            id: index.to_string(),
            ids,
            types: types.get(index).cloned().unwrap_or_default(),
        };
        self.ids("ids", "lengths").into_iter().enumerate().map(row).collect()
    }

    /// What the model learns of the golden rows.
    fn examples(&self, model: &Model) -> Box<dyn Examples> {
        if self.tensors.contains_key("tokens") {
            let marks = &self.tensors["loss_mask"];
            let row = |(row, ids): (i64, Vec<i32>)| {
                let marks = Vec::<i64>::try_from(marks.get(row)).unwrap();
                LossRow::new(row.to_string(), &ids, marks.iter().take(ids.len()).map(|&mark| mark == 1)).unwrap()
            };
            return Box::new(LanguageModel::new((0..).zip(self.ids("tokens", "lengths")).map(row).collect()));
        }
        if self.tensors.contains_key("labels") {
            let rows = self.text_rows().into_iter().zip(self.ids("labels", "answers"));
            return Box::new(Seq2Seq::new(rows.map(|(text, answer)| AnsweredRow { text, answer }).collect(), 0));
        }
        let labels = self.values["labels"].as_array().unwrap().iter().map(|label| label.as_i64().unwrap());
        let rows = self.text_rows().into_iter().zip(labels).map(|(text, target)| Labelled { text, target });
        Box::new(TextExamples::<Classify>::new(rows.collect(), model.config["pad_token_id"].as_i64().unwrap()))
    }

    fn loss(&self) -> f64 {
        self.values["loss"].as_f64().unwrap()
    }

    /// Loss and gradients, in one micro-batch and row by row.
    pub fn learn(&self, model: &Model) {
        let examples = self.examples(model);
        let all: Vec<usize> = (0..examples.len()).collect();
        let weighed = Normalize::Tokens.weigh(examples.as_ref(), &all, all.len());
        for micro in [all.len(), 1] {
            let loss: f64 =
                weighed.chunks(micro).map(|part| examples.backward(model, part).unwrap().double_value(&[])).sum();
            assert!((loss / self.loss() - 1.0).abs() < TOLERANCE, "{loss} and {}", self.loss());
            let expected = self.tensors.keys().filter(|name| name.starts_with("gradient.")).count();
            assert_eq!(model.trainable.len(), expected, "tensors that train");
            for (name, tensor) in model.trainable.iter() {
                let what = format!("{}: gradient of {name}", self.adapter.display());
                assert_close(&tensor.grad(), &self.tensors[&format!("gradient.{name}")], 3.0 * TOLERANCE, &what);
                let _ = tensor.grad().zero_();
            }
        }
        let loss = examples.loss(model, &weighed).unwrap().double_value(&[]);
        assert!((loss / self.loss() - 1.0).abs() < TOLERANCE, "in evaluation {loss}, {}", self.loss());
    }

    /// The losses of the golden steps, and what was trained in the end.
    pub fn train(&self, model: &Model, micro: usize, tolerance: f64) {
        let _alone = generator();
        let number = |key: &str| self.values[key].as_f64().unwrap();
        let optimizer = AdamW { weight_decay: number("weight_decay"), beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
        let rule = Rule { micro, normalize: Normalize::Tokens, dropout_seed: 0, clip: None, optimizer };
        let mut weights = Weights::new(model).unwrap();
        let examples = self.examples(model);
        let rows: Vec<usize> = (0..examples.len()).collect();
        for (step, expected) in self.values["losses"].as_array().unwrap().iter().enumerate() {
            let done = weights.step(model, examples.as_ref(), &rows, &rule, number("learning_rate")).unwrap();
            let (loss, expected) = (done.loss.double_value(&[]), expected.as_f64().unwrap());
            let what = format!("{}: step {step}: {loss} and {expected}", self.adapter.display());
            assert!((loss / expected - 1.0).abs() < tolerance, "{what}");
        }
        for (name, tensor) in model.trainable.iter() {
            let what = format!("{}: {name} in the end", self.adapter.display());
            assert_close(&tensor.detach(), &self.tensors[&format!("final.{name}")], 10.0 * tolerance, &what);
        }
    }

    /// Greedy texts with a cache, several rows together and each alone.
    pub fn continue_texts(&self, model: &Model) {
        let rows = self.values["generation"].as_array().unwrap();
        let ids = |value: &Value| value.as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect::<Vec<_>>();
        let prompts: Vec<Vec<i64>> = rows.iter().map(|row| ids(&row["prompt"])).collect();
        for batch in [1, 2, 6] {
            let limits = Limits { end_ids: Vec::new(), max_new_tokens: ids(&rows[0]["greedy"]).len(), batch };
            let made = greedy(&model.network, &prompts, &limits, Device::Cpu, &mut |_| {}).unwrap();
            for (row, made) in rows.iter().zip(made) {
                assert_eq!(made.tokens, ids(&row["greedy"]), "{}, {batch} at once", self.adapter.display());
            }
        }
    }
}

pub fn decoder_scores(golden: &Golden, model: &Model) -> Tensor {
    let network = model.network.causal_lm().unwrap();
    let hidden = network.hidden(&golden.tensors["tokens"], Mode::Eval).unwrap();
    network.logits(&hidden, Mode::Eval).unwrap()
}

pub fn t5_scores(golden: &Golden, model: &Model) -> Tensor {
    let network = model.network.seq2seq_lm().unwrap();
    let labels = &golden.tensors["labels"];
    let (rows, length) = labels.size2().unwrap();
    let start = Tensor::full([rows, 1], network.start_id(), (Kind::Int64, Device::Cpu));
    let written = Tensor::cat(&[start, labels.narrow(1, 0, length - 1).clamp_min(0)], 1);
    let texts = golden.texts(0);
    let encoded = network.encode(&texts, Mode::Eval).unwrap();
    let hidden = network.hidden(&encoded, &texts, &written, Mode::Eval).unwrap();
    network.logits(&hidden, Mode::Eval).unwrap()
}

/// Which positions are no padding, `[rows, length, 1]`.
pub fn own(golden: &Golden) -> Tensor {
    let tokens = golden.tensors.get("tokens").or(golden.tensors.get("ids")).unwrap();
    let columns = Tensor::arange(tokens.size2().unwrap().1, (Kind::Int64, Device::Cpu)).unsqueeze(0);
    let lengths: Vec<i64> = golden.lengths("lengths").into_iter().map(|length| length as i64).collect();
    columns.lt_tensor(&Tensor::from_slice(&lengths).unsqueeze(1)).unsqueeze(-1)
}

#[test]
fn decoders_learn_and_write_as_peft_has_it() {
    for case in DECODERS {
        let golden = Golden::decoder(case);
        let model = golden.adapted();
        assert_eq!(model.trainable.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["prompt_embeddings"]);
        let seen = own(&golden);
        let found = tch::no_grad(|| decoder_scores(&golden, &model));
        assert_close(&(found * &seen), &(&golden.tensors["scores"] * &seen), TOLERANCE, case.0);
        golden.learn(&model);
        golden.continue_texts(&model);
        golden.train(&model, 2, 1e-4);
        let recomputed = golden.adapted_as(Numerics { memory: Memory::KeepInputs, ..Device::Cpu.into() });
        golden.train(&recomputed, 3, 1e-4);
    }
}

#[test]
fn an_encoder_decoder_reads_a_prompt_alone_and_beside_lora() {
    for case in ["prompt", "both"] {
        let golden = Golden::t5(case);
        let model = golden.adapted();
        let seen = golden.tensors["labels"].ge(0).unsqueeze(-1);
        let found = tch::no_grad(|| t5_scores(&golden, &model));
        assert_close(&(found * &seen), &(&golden.tensors["scores"] * &seen), TOLERANCE, case);
        golden.learn(&model);
        golden.continue_texts(&model);
        golden.train(&model, 2, 1e-4);
        let recomputed = golden.adapted_as(Numerics { memory: Memory::KeepInputs, ..Device::Cpu.into() });
        golden.train(&recomputed, 3, 1e-4);
    }
}

#[test]
fn encoders_have_their_prompt_behind_the_first_token() {
    for case in ENCODERS {
        let golden = Golden::encoder(case);
        let model = golden.adapted();
        let padding = model.config["pad_token_id"].as_i64().unwrap();
        let network = model.network.sequence_classifier().unwrap();
        let scores = tch::no_grad(|| network.scores(&golden.texts(padding), Mode::Eval).unwrap());
        assert_close(&scores, &golden.tensors["scores"], TOLERANCE, case);
        golden.learn(&model);
        golden.train(&model, 2, 1e-4);
        let recomputed = golden.adapted_as(Numerics { memory: Memory::KeepInputs, ..Device::Cpu.into() });
        golden.train(&recomputed, 3, 1e-4);
    }
    let golden = Golden::encoder("bert_answers");
    let model = golden.adapted();
    let scores = model.network.token_classifier().unwrap().scores(&golden.texts(0), Mode::Eval).unwrap();
    let seen = own(&golden);
    assert_close(&(scores * &seen), &(&golden.tensors["scores"] * &seen), TOLERANCE, "answers");
}

/// Half as many bits: near the values of float32.
#[test]
fn a_prompt_of_float32_goes_with_a_model_of_bf16() {
    let golden = Golden::decoder(DECODERS[0]);
    let model = golden.adapted_as(Numerics::all(Kind::BFloat16, Device::Cpu));
    assert_eq!(model.trainable.get("prompt_embeddings").unwrap().kind(), Kind::Float);
    let seen = own(&golden);
    let found = decoder_scores(&golden, &model).to_kind(Kind::Float);
    assert_close(&(found * &seen), &(&golden.tensors["scores"] * &seen), 0.1, "bf16");
    let examples = golden.examples(&model);
    let weighed = Normalize::Tokens.weigh(examples.as_ref(), &[0, 1, 2], 3);
    let _ = examples.backward(&model, &weighed).unwrap();
    let gradient = model.trainable.get("prompt_embeddings").unwrap().grad();
    assert_eq!(gradient.kind(), Kind::Float);
    assert_close(&gradient, &golden.tensors["gradient.prompt_embeddings"], 0.1, "bf16");
}

/// What is saved has the bytes that were loaded, and the settings that PEFT wrote.
#[test]
fn files_go_both_ways() {
    let mut cases: Vec<Golden> = DECODERS.into_iter().map(Golden::decoder).collect();
    cases.extend(ENCODERS.map(Golden::encoder));
    cases.extend(["prompt", "both"].map(Golden::t5));
    cases.push(Golden { adapter: golden("prompts/t5/two_blocks"), ..Golden::t5("prompt") });
    for case in cases {
        let (model, folder) = (case.adapted(), tempfile::tempdir().unwrap());
        saved_method(&case.adapter).unwrap().save(&Saved::of(&model, Some("")), folder.path()).unwrap();
        let parts = if case.adapter.join("adapters.json").exists() { vec!["lora", "prompt"] } else { vec![""] };
        for part in parts {
            let (ours, theirs) = (folder.path().join(part), case.adapter.join(part));
            let open = |folder: &Path| SafetensorsFile::open(&folder.join("adapter_model.safetensors")).unwrap();
            let (found, wanted) = (open(&ours), open(&theirs));
            assert_eq!(found.names(), wanted.names());
            for name in wanted.names() {
                let tensor = |file: &SafetensorsFile| file.tensor(&name, Device::Cpu, Kind::Float).unwrap();
                assert!(tensor(&found).equal(&tensor(&wanted)), "{name}");
            }
            let read = |folder: &Path| -> Value {
                serde_json::from_slice(&std::fs::read(folder.join("adapter_config.json")).unwrap()).unwrap()
            };
            let (found, wanted) = (read(&ours), read(&theirs));
            for (key, value) in wanted.as_object().unwrap() {
                // Without a task LoRA is not known to be an encoder–decoder's, and PEFT says by which version it was written.
                if !["task_type", "peft_version", "auto_mapping"].contains(&key.as_str()) && found.get(key).is_some() {
                    assert_eq!(&found[key], value, "{part} {key}");
                }
            }
            for key in ["num_virtual_tokens", "token_dim", "num_layers", "num_attention_heads", "prompt_tuning_init"] {
                assert!(part == "lora" || found.get(key).is_some(), "{key}");
            }
        }
    }
}

#[test]
fn of_two_blocks_in_a_file_the_first_is_read() {
    let (one, two) = (Golden::t5("prompt"), golden("prompts/t5/two_blocks"));
    let two = Golden { adapter: two, ..Golden::t5("prompt") };
    let model = two.adapted();
    let vectors = model.trainable.get("prompt_embeddings").unwrap();
    assert_eq!(vectors.size(), [10, 16]);
    let seen = one.tensors["labels"].ge(0).unsqueeze(-1);
    let found = tch::no_grad(|| t5_scores(&two, &model));
    assert_close(&(found * &seen), &(&one.tensors["scores"] * &seen), TOLERANCE, "two blocks");
}

/// The error of loading a changed copy of an adapter.
fn broken(golden: &Golden, change: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&golden.adapter, folder.path());
    change(folder.path());
    let error = saved_method(folder.path())
        .and_then(|method| Model::load_for(golden.task(), &golden.model, method.as_ref(), 0, Device::Cpu))
        .and_then(|mut model| adapters::load(folder.path(), &mut model.trainable))
        .unwrap_err();
    let text = format!("{error} / {}", error.hint().unwrap_or("no hint"));
    text.replace(&folder.path().display().to_string(), "ADAPTER")
}

#[test]
fn files_that_do_not_fit_are_refused_with_the_reason() {
    let decoder = Golden::decoder(DECODERS[0]);
    let text = broken(&decoder, |folder| {
        let path = folder.join("adapter_model.safetensors");
        let mut tensors = Tensor::read_safetensors(&path).unwrap();
        tensors[0].0 = "prompt_embedings".to_owned();
        write_tensors(&path, &tensors).unwrap();
    });
    assert!(text.contains("the key `prompt_embedings` matches nothing in the model"), "{text}");
    assert!(text.contains("the nearest one that the model has is `prompt_embeddings`"), "{text}");
    let text = broken(&Golden::encoder("bert"), |folder| {
        let path = folder.join("adapter_model.safetensors");
        let mut tensors = Tensor::read_safetensors(&path).unwrap();
        tensors.retain(|(name, _)| name != "base_model.classifier.weight");
        write_tensors(&path, &tensors).unwrap();
    });
    assert!(text.contains("a tensor of the adapter is missing: `base_model.classifier.weight`"), "{text}");
    let config = |golden: &Golden, key: &'static str, value: Value| {
        broken(golden, |folder| change_json(&folder.join("adapter_config.json"), |config| config[key] = value))
    };
    let text = config(&decoder, "num_virtual_tokens", json!(4));
    assert!(text.contains("`prompt_embeddings` has shape [5, 24], the model's has [4, 24]"), "{text}");
    let text = config(&decoder, "num_virtual_tokens", json!(128));
    assert!(text.contains("are 128, the model has positions for 128 and a text needs some"), "{text}");
    let text = config(&decoder, "num_transformer_submodules", json!(3));
    assert!(text.contains("`num_transformer_submodules` is 3"), "{text}");
    // PEFT's own prompt of an encoder stands before the first token.
    let text = config(&Golden::encoder("bert"), "virtual_tokens_after", json!(0));
    assert!(text.contains("trained behind 0 of a text's own tokens, this model has it behind 1"), "{text}");
    let text = config(&Golden::encoder("roberta"), "num_virtual_tokens", json!(18));
    assert!(text.contains("are 18, the model has positions for 18"), "{text}");
}

#[test]
fn what_is_no_weight_is_not_merged() {
    let model = Golden::t5("both").adapted();
    assert!(!model.merges());
    let error = model.merged().unwrap_err();
    assert!(error.to_string().contains("is no part of its weights, so it cannot be merged"), "{error}");
    assert!(Golden::decoder(DECODERS[0]).adapted().merged_tensors().is_err());
}

#[test]
fn rows_that_leave_no_positions_for_the_prompt_are_named() {
    let golden = Golden::encoder("bert");
    let model = golden.adapted();
    let row: Vec<i32> = (0..18).map(|at| 3 + at).collect();
    let texts = Texts::new(&[(&row, &[])], 0, Device::Cpu).unwrap();
    let error = model.network.sequence_classifier().unwrap().scores(&texts, Mode::Eval).unwrap_err();
    assert_eq!(error.to_string(), "max_length: a row has 18 tokens and the adapter 3, the model has positions for 20");
    assert_eq!(error.hint(), Some("tokenize with `max_length: 17`"));
}

fn vectors(model: &Model) -> Tensor {
    model.trainable.get("prompt_embeddings").unwrap().detach()
}

/// The rows that go into the first layer, and how far a scaled embedding is scaled.
#[test]
fn the_first_values_are_drawn_or_are_those_of_tokens() {
    for ((_, path), name, scale) in
        [(DECODERS[0], "model.embed_tokens.weight", 1.0), (DECODERS[1], "model.embed_tokens.weight", 24f64.sqrt())]
    {
        let folder = golden(path);
        let load = |count, start, seed| {
            let method = Prompt::new(count, start).unwrap();
            vectors(&Model::load(&folder, &method, seed, Device::Cpu).unwrap())
        };
        let file = SafetensorsFile::open(&folder.join("model.safetensors")).unwrap();
        let table = file.tensor(name, Device::Cpu, Kind::Float).unwrap() * scale;
        let ids: Vec<i64> = vec![7, 3, 30];
        let text = |ids: &[i64]| Start::Text { text: "a text".to_owned(), ids: ids.to_vec() };
        let rows = |ids: &[i64]| table.index_select(0, &Tensor::from_slice(ids));
        assert_close(&load(7, text(&ids), 0), &rows(&[7, 3, 30, 7, 3, 30, 7]), 1e-6, "again and again");
        assert_close(&load(2, text(&ids), 0), &rows(&[7, 3]), 1e-6, "the first ones");
        let drawn = load(40, Start::Vocabulary, 1);
        let nearest = (drawn.unsqueeze(1) - table.unsqueeze(0)).abs().amax([2], false).min_dim(1, false);
        assert!(nearest.0.max().double_value(&[]) < 1e-6, "every vector is a token's");
        let different: std::collections::BTreeSet<i64> =
            Vec::<i64>::try_from(&nearest.1).unwrap().into_iter().collect();
        assert!(different.len() > 20, "{different:?}");
        assert!(drawn.equal(&load(40, Start::Vocabulary, 1)) && !drawn.equal(&load(40, Start::Vocabulary, 2)));
        let random = load(120, Start::Random, 3);
        assert!(random.mean(Kind::Float).double_value(&[]).abs() < 0.05);
        assert!((random.std(true).double_value(&[]) - 1.0).abs() < 0.05);
    }
    let error = Prompt::new(2, Start::Text { text: String::new(), ids: vec![] }).unwrap_err();
    assert_eq!(error.to_string(), "init.text: has no token");
    assert_eq!(Prompt::new(0, Start::Random).unwrap_err().to_string(), "tokens: is 0");
    let outside = Prompt::new(2, Start::Text { text: "x".to_owned(), ids: vec![61] }).unwrap();
    let error = Model::load(&golden(DECODERS[0].1), &outside, 0, Device::Cpu).unwrap_err();
    assert_eq!(error.to_string(), "init.text: has a token of the id 61, the model knows 61 ids");
}

/// The study's ruT5-large with LoRA of rank 8 on queries and values and 20 virtual tokens.
#[test]
fn a_large_encoder_decoder_has_as_many_parameters_as_the_study_says() {
    let shape = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/shapes/rut5-large.json");
    let config: Value = serde_json::from_slice(&std::fs::read(shape).unwrap()).unwrap();
    let targets = Targets::Roles(vec![Role::AttentionQ, Role::AttentionV]);
    let parts: Vec<Box<dyn Method>> = vec![
        Box::new(Lora::new(8, 16.0, 0.0, targets).unwrap()),
        Box::new(Prompt::new(20, Start::Vocabulary).unwrap()),
    ];
    let method = adapters::Combined::new(parts).unwrap();
    let outline = Outline::new(Task::LanguageModel, &config, None, &method, Device::Cpu.into()).unwrap();
    assert_eq!(outline.trainable, 2_379_776);
    assert_eq!(outline.trainable + outline.frozen, 740_047_872);
    assert_eq!(outline.virtual_tokens, 20);
}

/// A checkpoint's own names stay as they are: the vectors are no tensor of the base model.
#[test]
fn the_base_model_is_left_alone() {
    let golden = Golden::decoder(DECODERS[0]);
    let model = golden.adapted();
    let mut weights = Checkpoint::open(&golden.model, Device::Cpu).unwrap();
    assert!(weights.any_begins("model."));
    for (name, tensor) in model.frozen.iter() {
        let stored = learn::weights::Source::extra(&mut weights, name, Kind::Float).unwrap().unwrap();
        assert!(stored.equal(tensor), "{name}");
    }
}
