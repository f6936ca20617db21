//! The LoRA family on three families of models against PEFT and PyTorch: outputs, losses, gradients, 20 AdamW steps, and
//! what is saved. The values are made by `tests/golden/lora_family.py`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use learn::adapters::first_values::{Olora, Pissa};
use learn::adapters::{
    self, Biases, BitFit, Dora, Frozen, Gradient, Lora, LoraFa, LowRank, Method, Scale, saved_method,
};
use learn::batches::LossRow;
use learn::forecast::{self, Keeping, Micro, Outline};
use learn::layers::Mode;
use learn::models::{Model, Task, Texts};
use learn::objectives::{
    AnsweredRow, Classify, Examples, Labelled, LanguageModel, Normalize, Seq2Seq, TextExamples, TextRow,
};
use learn::optim::{AdamW, Orthogonality, Side};
use learn::peft::Saved;
use learn::targets::{Role, Targets};
use learn::train::{Rule, Weights};
use learn::weights::SafetensorsFile;
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::fixtures::{TOLERANCE, assert_close, forward, generator, golden};

/// What losses and weights must agree to after steps.
const STEPS_TOLERANCE: f64 = 1e-4;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Family {
    Llama,
    Roberta,
    T5,
}

const FAMILIES: [Family; 3] = [Family::Llama, Family::Roberta, Family::T5];

impl Family {
    fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Roberta => "roberta",
            Self::T5 => "t5",
        }
    }

    fn base(self) -> PathBuf {
        golden(match self {
            Self::Llama => "llama/biases",
            Self::Roberta => "encoders/roberta_classifier",
            Self::T5 => "t5/v1_0",
        })
    }

    fn task(self) -> Task {
        match self {
            Self::Roberta => Task::SequenceClassification { labels: 4 },
            _ => Task::LanguageModel,
        }
    }

    fn model(self, method: &dyn Method) -> Model {
        Model::load_for(self.task(), &self.base().join("model"), method, 0, Device::Cpu).unwrap()
    }
}

/// The texts of a family, and the golden values of its variants.
struct Golden {
    family: Family,
    values: Value,
    texts: HashMap<String, Tensor>,
    about_texts: Value,
}

impl Golden {
    fn read(family: Family) -> Self {
        let json = |path: &Path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let texts = Tensor::read_safetensors(family.base().join("values.safetensors")).unwrap();
        Self {
            family,
            values: json(&golden("lora_family").join(format!("{}.json", family.name()))),
            texts: texts.into_iter().collect(),
            about_texts: json(&family.base().join("values.json")),
        }
    }

    fn number(&self, key: &str) -> f64 {
        self.values[key].as_f64().unwrap()
    }

    fn low_rank(&self) -> LowRank {
        let targets = self.values["targets"].as_array().unwrap();
        let targets = Targets::Suffixes(targets.iter().map(|name| name.as_str().unwrap().to_owned()).collect());
        LowRank::new(self.values["rank"].as_i64().unwrap(), self.number("alpha"), 0.0, targets).unwrap()
    }

    fn folder(&self, variant: &str) -> PathBuf {
        golden("lora_family").join(self.family.name()).join(variant)
    }

    fn tensors(&self, variant: &str) -> HashMap<String, Tensor> {
        Tensor::read_safetensors(self.folder(variant).join("values.safetensors")).unwrap().into_iter().collect()
    }

    fn numbers(&self, variant: &str, what: &str) -> Vec<f64> {
        let list = self.values["variants"][variant][what].as_array().unwrap();
        list.iter().map(|number| number.as_f64().unwrap()).collect()
    }

    fn cut(&self, name: &str, lengths: &str) -> Vec<Vec<i32>> {
        let lengths = self.about_texts[lengths].as_array().unwrap().iter().map(|length| length.as_u64().unwrap());
        let row = |(length, row): (u64, i64)| {
            let ids = Vec::<i64>::try_from(self.texts[name].get(row).to_kind(Kind::Int64)).unwrap();
            ids.into_iter().take(length as usize).map(|id| id as i32).collect()
        };
        lengths.zip(0..).map(row).collect()
    }

    fn examples(&self) -> Box<dyn Examples> {
        let text = |(row, ids): (usize, Vec<i32>), types: Vec<i32>| TextRow { id: row.to_string(), ids, types };
        match self.family {
            Family::Llama => {
                let marks = self.cut("loss_mask", "lengths");
                let rows = self.cut("tokens", "lengths").into_iter().zip(marks).enumerate();
                let row = |(row, (ids, marks)): (usize, (Vec<i32>, Vec<i32>))| {
                    LossRow::new(row.to_string(), &ids, marks.into_iter().map(|mark| mark == 1)).unwrap()
                };
                Box::new(LanguageModel::new(rows.map(row).collect()))
            }
            Family::Roberta => {
                let labels = self.about_texts["labels"].as_array().unwrap().iter().map(|label| label.as_i64().unwrap());
                let rows = self.cut("ids", "lengths").into_iter().enumerate().zip(self.cut("types", "lengths"));
                let row = |((ids, types), target)| Labelled { text: text(ids, types), target };
                Box::new(TextExamples::<Classify>::new(rows.zip(labels).map(row).collect(), 1))
            }
            Family::T5 => {
                let rows = self.cut("ids", "lengths").into_iter().enumerate().zip(self.cut("labels", "answers"));
                let row = |(ids, answer)| AnsweredRow { text: text(ids, Vec::new()), answer };
                Box::new(Seq2Seq::new(rows.map(row).collect(), 0))
            }
        }
    }

    /// What the golden scores are: of padding, whatever.
    fn scores(&self, model: &Model) -> Tensor {
        match self.family {
            Family::Llama => forward(model, &self.texts["tokens"], &self.texts["loss_mask"]).0,
            Family::Roberta => {
                let (ids, types) = (self.cut("ids", "lengths"), self.cut("types", "lengths"));
                let rows: Vec<_> =
                    ids.iter().zip(&types).map(|(ids, types)| (ids.as_slice(), types.as_slice())).collect();
                let texts = Texts::new(&rows, 1, Device::Cpu).unwrap();
                model.network.sequence_classifier().unwrap().scores(&texts, Mode::Train).unwrap()
            }
            Family::T5 => {
                let network = model.network.seq2seq_lm().unwrap();
                let labels = &self.texts["labels"];
                let (rows, length) = labels.size2().unwrap();
                let start = Tensor::full([rows, 1], network.start_id(), (Kind::Int64, Device::Cpu));
                let written = Tensor::cat(&[start, labels.narrow(1, 0, length - 1).clamp_min(0)], 1);
                let ids = self.cut("ids", "lengths");
                let empty: &[i32] = &[];
                let texts: Vec<_> = ids.iter().map(|ids| (ids.as_slice(), empty)).collect();
                let texts = Texts::new(&texts, 0, Device::Cpu).unwrap();
                let encoded = network.encode(&texts, Mode::Train).unwrap();
                let hidden = network.hidden(&encoded, &texts, &written, Mode::Train).unwrap();
                network.logits(&hidden, Mode::Train).unwrap()
            }
        }
    }

    fn assert_scores(&self, model: &Model, expected: &Tensor, tolerance: f64, what: &str) {
        let found = self.scores(model);
        let seen = match self.family {
            Family::T5 => self.texts["labels"].ge(0).unsqueeze(-1).to_kind(Kind::Float),
            _ => Tensor::ones([1], (Kind::Float, Device::Cpu)),
        };
        assert_close(&(found * &seen), &(expected * &seen), tolerance, what);
    }

    /// Twenty steps: losses, penalties.
    fn train(&self, model: &Model, variant: &str) -> (Vec<f64>, Vec<f64>) {
        let examples = self.examples();
        let all: Vec<usize> = (0..examples.len()).collect();
        let weight_decay = if variant == "lora_fa_projected" { 0.0 } else { self.number("weight_decay") };
        let epsilon = if variant == "lora_fa_projected" { 1e-14 } else { 1e-8 };
        let rule = Rule {
            micro: all.len(),
            normalize: Normalize::Tokens,
            dropout_seed: 0,
            clip: None,
            optimizer: AdamW { weight_decay, beta1: 0.9, beta2: 0.999, epsilon },
        };
        let mut weights = Weights::new(model).unwrap();
        let (mut losses, mut penalties) = (Vec::new(), Vec::new());
        for _ in 0..self.values["steps"].as_u64().unwrap() {
            let rate = self.number("learning_rate");
            let done = weights.step(model, examples.as_ref(), &all, &rule, rate).unwrap();
            losses.push(done.loss.double_value(&[]));
            penalties.extend(done.penalty.map(|penalty| penalty.double_value(&[])));
        }
        (losses, penalties)
    }
}

/// Puts an adapter's values into whatever store holds them.
fn put(model: &mut Model, folder: &Path) {
    let file = SafetensorsFile::open(&folder.join("adapter_model.safetensors")).unwrap();
    for key in file.names() {
        let name = key.trim_start_matches("base_model.model.").replace(".base_layer", "");
        if name.contains(".original_module.") || name.contains(".modules_to_save.") {
            continue;
        }
        let values = file.tensor(&key, Device::Cpu, Kind::Float).unwrap();
        match model.trainable.get(&name) {
            Some(_) => model.trainable.set(&name, &values).unwrap(),
            None => model.frozen.get(&name).unwrap_or_else(|| panic!("{name}")).shallow_clone().copy_(&values),
        }
    }
}

/// A method that a variant cannot be told from its saved adapter.
fn method(golden: &Golden, variant: &str) -> Option<Box<dyn Method>> {
    Some(match variant {
        "lora_plus" => {
            let ratio = golden.number("learning_rate_ratio");
            Box::new(Lora::of(golden.low_rank()).with_learning_rate_ratio(ratio).unwrap())
        }
        "lora_fa" => Box::new(LoraFa::of(golden.low_rank())),
        "lora_fa_projected" => Box::new(LoraFa::of(golden.low_rank()).with_gradient(Gradient::Projected)),
        "dora_frozen_a" => {
            let scaled = LowRank { scale: Scale::RankStabilized, ..golden.low_rank() };
            Box::new(Dora::of(scaled).unwrap().with_frozen_a())
        }
        "penalty" => {
            let penalty = Orthogonality { side: Side::Rows, weight: golden.number("penalty") };
            Box::new(Lora::of(golden.low_rank()).with_penalty(penalty))
        }
        "bitfit" => Box::new(BitFit),
        _ => return None,
    })
}

/// A key's bias moves all scores of a query nearly alike, without rotary positions exactly: its gradient is rounding more
/// than anything, and AdamW makes whole steps of it.
///
/// In the last of LoRA+'s steps on T5 the input of a rectifier is 2e-5 below zero, and float32 has it above: PEFT in float32 is
/// off by 2.3e-3 there, too, from these values, which were computed in float64, and by 5e-6 elsewhere.
fn steps_tolerance(family: Family, variant: &str, name: &str) -> f64 {
    match family {
        Family::Roberta if name.ends_with("key.bias") => 1.0,
        Family::Llama if name.ends_with("k_proj.bias") => 10.0 * STEPS_TOLERANCE,
        Family::T5 if variant == "lora_plus" => 30.0 * STEPS_TOLERANCE,
        _ => STEPS_TOLERANCE,
    }
}

#[test]
fn outputs_gradients_and_twenty_steps_of_every_variant() {
    let _alone = generator();
    for family in FAMILIES {
        let golden = Golden::read(family);
        for variant in golden.values["variants"].as_object().unwrap().keys() {
            if ["pissa", "olora"].contains(&variant.as_str()) {
                continue;
            }
            let what = format!("{}, {variant}", family.name());
            let (folder, tensors) = (golden.folder(variant), golden.tensors(variant));
            let model = match method(&golden, variant) {
                // The projection is made of A as it begins.
                Some(method) if variant == "lora_fa_projected" => projected(&golden, method.as_ref(), &folder),
                Some(method) => {
                    let mut model = family.model(method.as_ref());
                    if folder.join("adapter_model.safetensors").exists() {
                        put(&mut model, &folder);
                    }
                    model
                }
                None => {
                    let mut model = family.model(saved_method(&folder).unwrap().as_ref());
                    adapters::load(&folder, &mut model.trainable).unwrap();
                    model
                }
            };
            golden.assert_scores(&model, &tensors["scores"], TOLERANCE, &what);
            check_gradients(&golden, &model, &tensors, &what, variant == "penalty");
            let (losses, penalties) = golden.train(&model, variant);
            let close = |found: &[f64], expected: Vec<f64>, of: &str| {
                assert_eq!(found.len(), expected.len(), "{what}");
                for (step, (found, expected)) in found.iter().zip(expected).enumerate() {
                    let off = (found / expected - 1.0).abs();
                    assert!(off < STEPS_TOLERANCE, "{what}, {of} of step {step}: {found}, {expected}");
                }
            };
            close(&losses, golden.numbers(variant, "losses"), "loss");
            if variant == "penalty" {
                close(&penalties, golden.numbers(variant, "penalties"), "penalty");
            }
            for (name, tensor) in model.trainable.iter() {
                let (of, golden) = (format!("{what}: {name}"), &tensors[&format!("final.{name}")]);
                assert_close(&tensor.detach(), golden, steps_tolerance(family, variant, name), &of);
            }
            let finals = tensors.keys().filter(|name| name.starts_with("final.")).count();
            assert_eq!(model.trainable.len(), finals, "{what}: tensors that train");
        }
    }
}

/// A model whose frozen A is the golden one from the start, so that projections are made of it.
fn projected(golden: &Golden, method: &dyn Method, folder: &Path) -> Model {
    let adapter = SafetensorsFile::open(&folder.join("adapter_model.safetensors")).unwrap();
    let config = learn::models::read_config(&golden.family.base().join("model")).unwrap();
    let mut source = learn::weights::Checkpoint::open(&golden.family.base().join("model"), Device::Cpu).unwrap();
    let fresh = crate::low_rank::Given::of(adapter);
    let task = golden.family.task();
    let mut model = Model::build_from(task, &config, &mut source, method, &fresh, Device::Cpu.into()).unwrap();
    put(&mut model, folder);
    model
}

fn check_gradients(golden: &Golden, model: &Model, tensors: &HashMap<String, Tensor>, what: &str, penalized: bool) {
    let examples = golden.examples();
    let all: Vec<usize> = (0..examples.len()).collect();
    let weighed = Normalize::Tokens.weigh(examples.as_ref(), &all, all.len());
    let _ = examples.backward(model, &weighed).unwrap();
    let largest = |tensor: &Tensor| tensor.abs().max().double_value(&[]);
    let scale = model.trainable.iter().map(|(_, tensor)| largest(&tensor.grad())).fold(0.0, f64::max);
    for (name, tensor) in model.trainable.iter() {
        let mut gradient = tensor.grad();
        if penalized && name.contains("lora_A") {
            let penalty = Orthogonality { side: Side::Rows, weight: golden.number("penalty") };
            gradient += penalty.of(tensor).unwrap().1;
        }
        let expected = &tensors[&format!("gradient.{name}")];
        let off = largest(&(gradient - expected)) / largest(expected).max(0.1 * scale);
        assert!(off <= 2.0 * TOLERANCE, "{what}, gradient of {name}: off by {off:.1e}");
        let _ = tensor.grad().zero_();
    }
    let gradients = tensors.keys().filter(|name| name.starts_with("gradient.")).count();
    assert_eq!(model.trainable.len(), gradients, "{what}: tensors that train");
}

#[test]
fn what_is_taken_out_of_the_base_learns_as_in_peft_and_is_saved_for_the_untouched_base() {
    let _alone = generator();
    for family in FAMILIES {
        let golden = Golden::read(family);
        for variant in ["pissa", "olora"] {
            let what = format!("{}, {variant}", family.name());
            let tensors = golden.tensors(variant);
            let low_rank = match variant {
                "pissa" => LowRank { init: Box::new(Pissa), ..golden.low_rank() },
                _ => LowRank { init: Box::new(Olora), scale: Scale::RankStabilized, ..golden.low_rank() },
            };
            let lora = Lora::of(low_rank);
            let model = family.model(&lora);
            golden.assert_scores(&model, &tensors["scores"], TOLERANCE, &what);
            let plain = golden.scores(&family.model(&Frozen));
            golden.assert_scores(&model, &plain, TOLERANCE, &format!("{what} begins as the base"));
            let (losses, _) = golden.train(&model, variant);
            for (step, (found, expected)) in losses.iter().zip(golden.numbers(variant, "losses")).enumerate() {
                assert!((found / expected - 1.0).abs() < STEPS_TOLERANCE, "{what}, step {step}: {found}, {expected}");
            }
            golden.assert_scores(&model, &tensors["trained"], STEPS_TOLERANCE, &what);
            let merged = model.merged().unwrap();
            golden.assert_scores(&merged, &golden.scores(&model).detach(), TOLERANCE, &format!("{what}, merged"));

            // What is saved has twice the rank, and belongs to the base as it was.
            let folder = tempfile::tempdir().unwrap();
            lora.save(&Saved::of(&model, None), folder.path()).unwrap();
            let loaded = load(family, folder.path());
            golden.assert_scores(&loaded, &golden.scores(&model).detach(), TOLERANCE, &format!("{what}, saved"));
            let read = |folder: &Path| -> Value {
                serde_json::from_slice(&std::fs::read(folder.join("adapter_config.json")).unwrap()).unwrap()
            };
            let (ours, theirs) = (read(folder.path()), read(&golden.folder(variant).join("converted")));
            for key in ["r", "use_rslora", "init_lora_weights", "target_modules", "bias"] {
                assert_eq!(ours[key], theirs[key], "{what}: {key}");
            }
            let (ours, theirs) = (ours["lora_alpha"].as_f64().unwrap(), theirs["lora_alpha"].as_f64().unwrap());
            assert!((ours / theirs - 1.0).abs() < 1e-12, "{what}: {ours}, {theirs}");

            // PEFT's own, as it is and converted.
            for saved in ["trained", "converted"] {
                // PEFT 0.19 leaves the head out of what it converts.
                if family == Family::Roberta && saved == "converted" {
                    continue;
                }
                let theirs = load(family, &golden.folder(variant).join(saved));
                golden.assert_scores(&theirs, &tensors["trained"], STEPS_TOLERANCE, &format!("{what}, PEFT's {saved}"));
            }
        }
    }
}

fn load(family: Family, folder: &Path) -> Model {
    let mut model = family.model(saved_method(folder).unwrap().as_ref());
    adapters::load(folder, &mut model.trainable).unwrap();
    model
}

#[test]
fn what_is_saved_is_read_again_to_the_last_bit() {
    let _alone = generator();
    for family in FAMILIES {
        let golden = Golden::read(family);
        for variant in golden.values["variants"].as_object().unwrap().keys() {
            if ["pissa", "olora"].contains(&variant.as_str()) {
                continue;
            }
            let what = format!("{}, {variant}", family.name());
            let made = method(&golden, variant);
            let made = made.unwrap_or_else(|| saved_method(&golden.folder(variant)).unwrap());
            let mut model = family.model(made.as_ref());
            if golden.folder(variant).join("adapter_model.safetensors").exists() {
                put(&mut model, &golden.folder(variant));
            }
            let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            made.save(&Saved::of(&model, Some("base")), one.path()).unwrap();
            let again = saved_method(one.path()).unwrap();
            let mut loaded = family.model(again.as_ref());
            adapters::load(one.path(), &mut loaded.trainable).unwrap();
            assert!(golden.scores(&loaded).equal(&golden.scores(&model)), "{what}");
            again.save(&Saved::of(&loaded, Some("base")), two.path()).unwrap();
            for file in ["adapter_config.json", "adapter_model.safetensors"] {
                let bytes = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
                assert!(bytes(one.path()) == bytes(two.path()), "{what}: {file}");
            }
            let merged = model.merged().unwrap();
            golden.assert_scores(&merged, &golden.scores(&model).detach(), TOLERANCE, &format!("{what}, merged"));
        }
    }
}

#[test]
fn a_model_without_biases_is_no_case_for_bitfit() {
    let folder = Family::T5.base().join("model");
    let error = Model::load(&folder, &BitFit, 0, Device::Cpu).unwrap_err();
    assert_eq!(error.to_string(), "adapter: `bitfit` trains biases, and this model has none");
    assert!(error.hint().unwrap().contains("RoBERTa"));
}

#[test]
fn an_adapted_embedding_leaves_a_tied_head_as_it_was_also_when_merged() {
    let folder = golden("llama/tied_multi_head/model");
    let targets = || Targets::Roles(vec![Role::Embedding, Role::AttentionQ]);
    let lora = Lora::new(2, 5.0, 0.3, targets()).unwrap();
    let mut model = Model::load(&folder, &lora, 0, Device::Cpu).unwrap();
    let base = Model::load(&folder, &Frozen, 0, Device::Cpu).unwrap();
    let tokens = Tensor::from_slice(&[3i64, 7, 1, 60, 0, 12]).view([2, 3]);
    let outputs = |model: &Model| model.network.outputs(&tokens).unwrap();
    assert!(outputs(&model).equal(&outputs(&base)), "A begins as zero");
    let a = Tensor::arange(2 * 61, (Kind::Float, Device::Cpu)).view([2, 61]) / 100.0;
    model.trainable.set("model.embed_tokens.lora_embedding_A", &a).unwrap();
    let b = model.trainable.get("model.embed_tokens.lora_embedding_B").unwrap().detach();
    assert_eq!(b.size(), [24, 2]);
    assert!((b.std(true).double_value(&[]) - 1.0).abs() < 0.4, "normal");
    let (config, tensors) = model.merged_tensors().unwrap();
    assert_eq!(config["tie_word_embeddings"], false);
    let tensor = |wanted: &str| &tensors.iter().find(|(name, _)| name == wanted).unwrap().1;
    let table = base.frozen.get("model.embed_tokens.weight").unwrap();
    assert!(tensor("lm_head.weight").equal(table));
    let expected = table + a.tr().matmul(&b.tr()) * 2.5;
    assert_close(tensor("model.embed_tokens.weight"), &expected, TOLERANCE, "E + s (BA)ᵀ");
    assert_close(&outputs(&model.merged().unwrap()), &outputs(&model), TOLERANCE, "merged");
    let saved = tempfile::tempdir().unwrap();
    lora.save(&Saved::of(&model, None), saved.path()).unwrap();
    let config: Value =
        serde_json::from_slice(&std::fs::read(saved.path().join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!(config["target_modules"], serde_json::json!(["embed_tokens", "q_proj"]));
}

#[test]
fn embeddings_that_cannot_be_adapted_are_refused_with_the_reason() {
    let targets = || Targets::Roles(vec![Role::Embedding, Role::AttentionQ]);
    let lora = Lora::new(2, 5.0, 0.0, targets()).unwrap();
    let problem = |family: Family, method: &dyn Method| {
        let folder = family.base().join("model");
        Model::load_for(family.task(), &folder, method, 0, Device::Cpu).unwrap_err().to_string()
    };
    assert!(problem(Family::T5, &lora).contains("encoder and decoder of a T5 share it"));
    let head = Lora::new(2, 5.0, 0.0, Targets::Suffixes(vec!["lm_head".into(), "q".into()])).unwrap();
    assert!(problem(Family::T5, &head).contains("tied to the embedding, it is scaled"));
    let frozen = LoraFa::new(2, 5.0, 0.0, targets()).unwrap();
    assert!(problem(Family::Roberta, &frozen).contains("frozen, it would keep B from learning"));
    let dora = Dora::new(2, 5.0, 0.0, targets()).unwrap();
    assert!(problem(Family::Llama, &dora).contains("where DoRA is not defined"));
}

#[test]
fn a_forecast_counts_what_is_made() {
    for family in FAMILIES {
        let golden = Golden::read(family);
        let low_rank = || golden.low_rank();
        let mut methods: Vec<Box<dyn Method>> = vec![
            Box::new(Lora::of(LowRank { init: Box::new(Pissa), biases: Biases::All, ..low_rank() })),
            Box::new(LoraFa::of(LowRank { biases: Biases::Adapted, ..low_rank() })),
            Box::new(Dora::of(low_rank()).unwrap().with_frozen_a()),
            saved_method(&golden.folder("patterns")).unwrap(),
            saved_method(&golden.folder("layers")).unwrap(),
        ];
        if family != Family::T5 {
            methods.push(saved_method(&golden.folder("embedding")).unwrap());
            methods.push(Box::new(BitFit));
        }
        for method in methods {
            let folder = family.base().join("model");
            let config = learn::models::read_config(&folder).unwrap();
            let numerics = Device::Cpu.into();
            let outline = Outline::new(family.task(), &config, Some(&folder), method.as_ref(), numerics).unwrap();
            let model = family.model(method.as_ref());
            let counted = (outline.trainable, outline.frozen);
            let made = (model.trainable.elements() as u64, model.frozen.elements() as u64);
            assert_eq!(counted, made, "{}, {method:?}", family.name());
            let micro = Micro { rows: 2, length: 8, answer: if family == Family::T5 { 4 } else { 0 }, targets: 2 };
            assert!(forecast::memory(&outline, &[micro], Keeping::default()).unwrap().peak() > 0);
        }
    }
}
