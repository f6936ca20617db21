//! Texts and distributions of models against those of transformers' `generate`: 200 prompts of mixed lengths for each
//! generating family. The values are made by `tests/golden/generation.py`.

use learn::adapters::Frozen;
use learn::generate::beams::{Beams, Best, EarlyStopping};
use learn::generate::processors::{
    MinNewTokens, MinP, NoRepeatNgram, Processor, RepetitionPenalty, Temperature, TopK, TopP, TypicalP, Written,
    process,
};
use learn::generate::{Continuation, Decoding, Ends, Prompt, Reader, Search, Writer, batches, together};
use learn::models::Model;
use serde_json::Value;
use tch::{Device, Kind};

use crate::fixtures::golden;

const FAMILIES: [&str; 4] = ["llama", "gemma3", "t5_v1_0", "t5_v1_1"];

fn ids(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect()
}

struct Golden {
    values: Value,
    model: Model,
    ends: Vec<i64>,
    prompts: Vec<Prompt>,
}

impl Golden {
    fn read(name: &str) -> Self {
        let path = golden("generation").join(format!("{name}.json"));
        let values: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let folder = golden(values["model"].as_str().unwrap()).join("model");
        let model = Model::load(&folder, &Frozen, 0, Device::Cpu).unwrap();
        let rows = values["rows"].as_array().unwrap();
        let prompts = rows.iter().enumerate().map(|(at, row)| Prompt { name: format!("{at}"), ids: ids(&row[0]) });
        Self { ends: ids(&values["ends"]), prompts: prompts.collect(), model, values }
    }

    /// What transformers wrote with the setting in this column, the end with it.
    fn texts(&self, column: usize) -> Vec<Vec<i64>> {
        self.values["rows"].as_array().unwrap().iter().map(|row| ids(&row[column])).collect()
    }

    fn run(&self, settings: &Value, prompts: &[Prompt], batch: usize) -> Vec<Vec<i64>> {
        let reader = Reader::new(&self.model.network, Device::Cpu);
        let ends = Ends {
            ids: self.ends.clone(),
            max_new_tokens: self.values["max_new_tokens"].as_u64().unwrap() as usize,
            stop: None,
        };
        let decoding = decoding(settings, &self.ends);
        let mut texts = vec![Vec::new(); prompts.len()];
        for batch in batches(prompts, batch) {
            let asked: Vec<&Prompt> = batch.iter().map(|&at| &prompts[at]).collect();
            let made = together(&reader, &asked, &decoding, &ends, &mut |_| ()).unwrap();
            for (at, made) in batch.into_iter().zip(made) {
                let [Continuation { tokens, end }] = made.as_slice() else { panic!("one text") };
                texts[at] = tokens.iter().copied().chain(*end).collect();
            }
        }
        texts
    }
}

/// What these settings of transformers ask for, in its order.
fn processors(settings: &Value, ends: &[i64]) -> Vec<Box<dyn Processor>> {
    let mut made: Vec<Box<dyn Processor>> = Vec::new();
    let number = |name: &str| settings[name].as_f64();
    let count = |name: &str| settings[name].as_u64().filter(|count| *count > 0).map(|count| count as usize);
    if let Some(penalty) = number("repetition_penalty") {
        made.push(Box::new(RepetitionPenalty(penalty)));
    }
    if let Some(run) = count("no_repeat_ngram_size") {
        made.push(Box::new(NoRepeatNgram(run)));
    }
    if let Some(count) = count("min_new_tokens") {
        made.push(Box::new(MinNewTokens { count, end_ids: ends.to_vec() }));
    }
    if let Some(temperature) = number("temperature") {
        made.push(Box::new(Temperature(temperature)));
    }
    if let Some(count) = count("top_k") {
        made.push(Box::new(TopK { count: count as i64, least: 1 }));
    }
    if let Some(p) = number("top_p") {
        made.push(Box::new(TopP { p, least: 1 }));
    }
    if let Some(p) = number("min_p") {
        made.push(Box::new(MinP { p, least: 1 }));
    }
    if let Some(p) = number("typical_p") {
        made.push(Box::new(TypicalP { p, least: 1 }));
    }
    made
}

fn decoding(settings: &Value, ends: &[i64]) -> Decoding {
    let search = match settings["num_beams"].as_u64() {
        None => Decoding::greedy().search,
        Some(beams) => Search::Beams(Beams {
            count: beams as usize,
            length_penalty: settings["length_penalty"].as_f64().unwrap_or(1.0),
            early_stopping: match &settings["early_stopping"] {
                Value::Bool(true) => EarlyStopping::Always,
                Value::String(_) => EarlyStopping::Never,
                _ => EarlyStopping::Heuristic,
            },
            candidates: Box::new(Best),
        }),
    };
    Decoding { processors: processors(settings, ends), search }
}

#[test]
fn texts_are_those_of_transformers() {
    for name in FAMILIES {
        let golden = Golden::read(name);
        assert_eq!(golden.prompts.len(), 200);
        let columns = golden.values["columns"].as_array().unwrap().iter().enumerate().skip(1);
        for (column, setting) in columns {
            let setting = setting.as_str().unwrap();
            let expected = golden.texts(column);
            let found = golden.run(&golden.values["settings"][setting], &golden.prompts, 64);
            let off: Vec<usize> = (0..200).filter(|&at| found[at] != expected[at]).collect();
            let first = off.first().map(|&at| (&golden.prompts[at].ids, &found[at], &expected[at]));
            assert!(off.is_empty(), "{name}, {setting}: {} of 200 differ, the first: {first:?}", off.len());
        }
    }
}

/// What prompts share is read once where they are together; alone each is read whole.
#[test]
fn prompts_alone_and_together_are_continued_alike() {
    for name in FAMILIES {
        let golden = Golden::read(name);
        let prompts = &golden.prompts[..48];
        for (column, setting) in [(1, "greedy"), (6, "beams_never")] {
            let expected = &golden.texts(column)[..48];
            assert_eq!(golden.values["columns"][column], setting);
            for batch in [1, 5, 48] {
                let found = golden.run(&golden.values["settings"][setting], prompts, batch);
                assert_eq!(found, expected, "{name}, {setting}, {batch} together");
            }
        }
    }
}

#[test]
fn distributions_are_those_that_transformers_draws_from() {
    for name in FAMILIES {
        let golden = Golden::read(name);
        let reader = Reader::new(&golden.model.network, Device::Cpu);
        let drawn = golden.values["drawn"].as_array().unwrap();
        assert!(drawn.len() >= 20);
        for row in drawn {
            let prompt = ids(&row["prompt"]);
            let (_, scores) = reader.begin(&[&prompt]).unwrap();
            let text = Written::start(reader.before(&prompt));
            for (setting, values) in golden.values["draws"].as_object().unwrap() {
                let processed =
                    process(&processors(values, &golden.ends), &scores, std::slice::from_ref(&text)).unwrap();
                let found = Vec::<f64>::try_from(processed.softmax(-1, Kind::Double).squeeze_dim(0)).unwrap();
                let mut expected = vec![0.0; found.len()];
                for (id, probability) in ids(&row[setting][0]).into_iter().zip(row[setting][1].as_array().unwrap()) {
                    expected[id as usize] = probability.as_f64().unwrap();
                }
                for (id, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let what = format!("{name}, {setting}, {prompt:?}, id {id}: {found} is not {expected}");
                    assert!((found - expected).abs() <= 1e-5 && (*found == 0.0) == (*expected == 0.0), "{what}");
                }
            }
        }
    }
}
