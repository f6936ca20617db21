//! Methods that put something beside a model of any family, against PEFT and adapter-hub: outputs at first and later, losses,
//! gradients, 20 steps, merged weights. The values are made by `tests/golden/beside.py` and `bottleneck.py`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use learn::adapters::Ia3;
use learn::adapters::{
    self, Bottleneck, First, Frozen, LinearBottleneck, Method, Norms, Size, Style, Vera, saved_method,
};
use learn::batches::LossRow;
use learn::layers::{Activation, Mode};
use learn::models::{Model, Network, Task, Texts};
use learn::numerics::{Memory, Numerics};
use learn::objectives::{
    AnsweredRow, Classify, Examples, Labelled, LanguageModel, Normalize, Seq2Seq, TextExamples, TextRow,
};
use learn::optim::AdamW;
use learn::peft::{Saved, adapter_hub};
use learn::sublayers;
use learn::targets::{Role, Targets};
use learn::train::{Rule, Weights};
use learn::weights::write_tensors;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::fixtures::{TOLERANCE, assert_close, change_json, copy_folder, difference, generator, golden};

pub const FAMILIES: [&str; 3] = ["llama", "roberta", "t5"];
const LENGTHS: [usize; 2] = [9, 6];
const ANSWERS: [usize; 2] = [5, 3];

/// A family's model and batch with the golden values of all methods.
pub struct Golden {
    name: &'static str,
    pub folder: PathBuf,
    values: [Value; 2],
    pub tensors: HashMap<String, Tensor>,
}

impl Golden {
    pub fn read(name: &'static str) -> Self {
        let folder = golden("beside").join(name);
        let json = |file: &str| serde_json::from_slice(&std::fs::read(folder.join(file)).unwrap()).unwrap();
        let tensors = |file: &str| Tensor::read_safetensors(folder.join(file)).unwrap();
        let values = [json("values.json"), json("bottleneck.json")];
        let tensors = tensors("values.safetensors").into_iter().chain(tensors("bottleneck.safetensors")).collect();
        Self { name, folder, values, tensors }
    }

    pub fn task(&self) -> Task {
        if self.name == "roberta" { Task::SequenceClassification { labels: 3 } } else { Task::LanguageModel }
    }

    fn load(&self, method: &dyn Method, numerics: impl Into<Numerics>) -> Model {
        Model::load_for(self.task(), &self.folder.join("model"), method, 3, numerics).unwrap()
    }

    /// The model with the adapter that another library saved.
    pub fn adapted(&self, method: &str) -> Model {
        self.adapted_from(&self.folder.join(method), Device::Cpu)
    }

    pub fn adapted_from(&self, folder: &Path, numerics: impl Into<Numerics>) -> Model {
        let mut model = self.load(saved_method(folder).unwrap().as_ref(), numerics);
        adapters::load(folder, &mut model.trainable).unwrap();
        model
    }

    /// The methods with golden values.
    fn methods(&self) -> Vec<&'static str> {
        let mut methods = vec!["ia3", "vera", "houlsby", "pfeiffer", "parallel"];
        if self.name == "llama" {
            methods.extend(["series_linear", "parallel_linear"]);
        }
        methods
    }

    fn value(&self, key: &str, method: &str) -> &Value {
        let [peft, hub] = &self.values;
        peft[key].get(method).or_else(|| hub[key].get(method)).unwrap()
    }

    fn ids(&self, name: &str, lengths: [usize; 2]) -> [Vec<i32>; 2] {
        std::array::from_fn(|row| {
            let ids = Vec::<i64>::try_from(self.tensors[name].get(row as i64)).unwrap();
            ids.into_iter().take(lengths[row]).map(|id| id as i32).collect()
        })
    }

    fn examples(&self) -> Box<dyn Examples> {
        let ids = self.ids("ids", LENGTHS);
        let text = |row: usize| TextRow { id: row.to_string(), ids: ids[row].clone(), types: Vec::new() };
        match self.name {
            "llama" => {
                let row = |row: usize| LossRow::new(row.to_string(), &ids[row], (0..LENGTHS[row]).map(|at| at >= 2));
                Box::new(LanguageModel::new((0..2).filter_map(row).collect()))
            }
            "roberta" => {
                let rows = (0..2).map(|row| Labelled { text: text(row), target: [2, 0][row] });
                Box::new(TextExamples::<Classify>::new(rows.collect(), 1))
            }
            _ => {
                let answers = self.ids("labels", ANSWERS);
                let rows = (0..2).map(|row| AnsweredRow { text: text(row), answer: answers[row].clone() });
                Box::new(Seq2Seq::new(rows.collect(), 0))
            }
        }
    }

    fn texts(&self, padding: i64) -> Texts {
        let ids = self.ids("ids", LENGTHS);
        Texts::new(&[(&ids[0], &[]), (&ids[1], &[])], padding, Device::Cpu).unwrap()
    }

    pub fn outputs(&self, model: &Model, mode: Mode) -> Tensor {
        match &model.network {
            Network::CausalLm(network) => {
                network.logits(&network.hidden(&self.tensors["ids"], mode).unwrap(), mode).unwrap()
            }
            Network::SequenceClassifier(network) => network.scores(&self.texts(1), mode).unwrap(),
            Network::Seq2SeqLm(network) => {
                let labels = &self.tensors["labels"];
                let start = Tensor::zeros([2, 1], (Kind::Int64, Device::Cpu));
                let written = Tensor::cat(&[start, labels.narrow(1, 0, 4).clamp_min(0)], 1);
                let texts = self.texts(0);
                let encoded = network.encode(&texts, mode).unwrap();
                network.logits(&network.hidden(&encoded, &texts, &written, mode).unwrap(), mode).unwrap()
            }
            Network::TokenClassifier(_) => panic!("no such model here"),
        }
    }

    /// Of padding, and of tokens that see some, the families' own libraries make other numbers.
    fn seen(&self, outputs: &Tensor) -> Tensor {
        match self.name {
            "t5" => outputs * self.tensors["labels"].ge(0).unsqueeze(-1),
            _ => outputs.shallow_clone(),
        }
    }

    fn rule(&self) -> Rule {
        let optimizer = AdamW { weight_decay: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
        Rule { micro: 2, normalize: Normalize::Tokens, dropout_seed: 0, clip: Some(1.0), optimizer }
    }
}

/// The name that a parameter of ours has among another library's.
fn theirs(method: &str, name: &str, keys: &[String]) -> String {
    let normed = keys.iter().any(|key| key.contains("adapter_norm_before"));
    let prefix = format!("{method}.gradient.");
    let key = keys.iter().find(|key| {
        let key = key.strip_prefix(&prefix).unwrap();
        key == name || adapter_hub::parameter(key, normed).as_deref() == Some(name)
    });
    key.unwrap_or_else(|| panic!("{name} has no golden gradient among {keys:#?}")).clone()
}

#[test]
fn outputs_losses_and_gradients() {
    for family in FAMILIES {
        let golden = Golden::read(family);
        for method in golden.methods() {
            let what = format!("{family}, {method}");
            let model = golden.adapted(method);
            let expected = &golden.tensors[&format!("{method}.outputs")];
            for mode in [Mode::Train, Mode::Eval] {
                let found = golden.outputs(&model, mode);
                assert_close(&golden.seen(&found), &golden.seen(expected), TOLERANCE, &what);
            }
            assert!(difference(&golden.seen(expected), &golden.seen(&golden.tensors["base.outputs"])) > 0.05, "{what}");
            let examples = golden.examples();
            let weighed = Normalize::Tokens.weigh(examples.as_ref(), &[0, 1], 2);
            let loss = examples.backward(&model, &weighed).unwrap().double_value(&[]);
            let expected = golden.value("loss", method).as_f64().unwrap();
            assert!((loss - expected).abs() < TOLERANCE * expected, "{what}: {loss}, {expected}");
            let prefix = format!("{method}.gradient.");
            let keys: Vec<String> = golden.tensors.keys().filter(|key| key.starts_with(&prefix)).cloned().collect();
            assert_eq!(keys.len(), model.trainable.len(), "{what}: tensors that train");
            let largest = |tensor: &Tensor| tensor.abs().max().double_value(&[]);
            let scale = model.trainable.iter().map(|(_, tensor)| largest(&tensor.grad())).fold(0.0, f64::max);
            for (name, tensor) in model.trainable.iter() {
                let golden = &golden.tensors[&theirs(method, name, &keys)];
                let off = largest(&(tensor.grad() - golden)) / largest(golden).max(0.1 * scale);
                assert!(off <= 2.0 * TOLERANCE, "{what}, gradient of {name}: off by {off:.1e}");
            }
            for (name, tensor) in model.frozen.iter() {
                assert!(!tensor.requires_grad(), "{what}: {name} is frozen");
            }
        }
    }
}

#[test]
fn twenty_steps_are_those_of_the_other_libraries() {
    let _alone = generator();
    for family in FAMILIES {
        let golden = Golden::read(family);
        for method in golden.methods() {
            let model = golden.adapted(method);
            let examples = golden.examples();
            let mut weights = Weights::new(&model).unwrap();
            let losses = golden.value("steps", method).as_array().unwrap();
            assert_eq!(losses.len(), 20);
            for (step, expected) in losses.iter().enumerate() {
                let done = weights.step(&model, examples.as_ref(), &[0, 1], &golden.rule(), 1e-2).unwrap();
                let (found, expected) = (done.loss.double_value(&[]), expected.as_f64().unwrap());
                assert!((found - expected).abs() < 1e-4 * expected, "{family}, {method}, {step}: {found}, {expected}");
            }
        }
    }
}

fn roles(names: &[&str]) -> Targets {
    Targets::Roles(names.iter().map(|name| name.parse::<Role>().unwrap()).collect())
}

fn ends(names: &[&str]) -> Targets {
    Targets::Suffixes(names.iter().map(|name| (*name).to_owned()).collect())
}

/// A style with its usual settings.
fn style(style: Style) -> Bottleneck {
    let all = vec![sublayers::Role::Attention, sublayers::Role::Mlp];
    let (sublayers, activation) = match style {
        Style::Houlsby => (all, Activation::Silu),
        Style::Pfeiffer | Style::Parallel => (vec![sublayers::Role::Mlp], Activation::Relu),
    };
    let (size, scale, first) = match style {
        Style::Parallel => (Size::Reduction(2.0), 4.0, First::Zero),
        _ => (Size::Units(3), 1.0, First::Bert),
    };
    let norms = Norms::default();
    let leave_out = Vec::new();
    Bottleneck { style, size, activation, scale, dropout: 0.0, norms, first, sublayers, leave_out, output_head: false }
}

#[test]
fn methods_begin_as_the_base_model_where_they_say_so() {
    for family in FAMILIES {
        let golden = Golden::read(family);
        let base = golden.outputs(&golden.load(&Frozen, Device::Cpu), Mode::Eval);
        assert_close(&golden.seen(&base), &golden.seen(&golden.tensors["base.outputs"]), TOLERANCE, family);
        let exact: [(&str, Box<dyn Method>); 4] = [
            ("ia3", Box::new(Ia3::new(roles(&["attention.k", "attention.v", "mlp.down"]), None))),
            ("vera", Box::new(Vera::new(7, 0.1, 0.3, 0, Targets::AllLinear).unwrap())),
            ("parallel", Box::new(style(Style::Parallel))),
            ("houlsby", Box::new(Bottleneck { first: First::Zero, ..style(Style::Houlsby) })),
        ];
        for (name, method) in exact {
            let model = golden.load(method.as_ref(), Device::Cpu);
            assert!(golden.outputs(&model, Mode::Eval).equal(&base), "{family}, {name}");
            assert!(!model.trainable.is_empty());
        }
        for method in [style(Style::Houlsby), style(Style::Pfeiffer)] {
            let off = difference(&golden.outputs(&golden.load(&method, Device::Cpu), Mode::Eval), &base);
            assert!(off > 0.0 && off < 0.1, "{family}, {method:?}: near the base model, not it: {off}");
        }
    }
}

#[test]
fn projections_are_those_that_peft_draws_from_a_seed() {
    for family in FAMILIES {
        let golden = Golden::read(family);
        let folder = tempfile::tempdir().unwrap();
        copy_folder(&golden.folder.join("vera"), folder.path());
        change_json(&folder.path().join("adapter_config.json"), |config| config["save_projection"] = json!(false));
        let path = folder.path().join("adapter_model.safetensors");
        let (kept, projections): (Vec<_>, Vec<_>) = Tensor::read_safetensors(&path)
            .unwrap()
            .into_iter()
            .partition(|(name, _)| !name.contains("vera_A") && !name.contains("vera_B"));
        assert_eq!(projections.len(), 2);
        write_tensors(&path, &kept).unwrap();
        let model = golden.adapted_from(folder.path(), Device::Cpu);
        for (key, theirs) in &projections {
            let ours = model.frozen.get(key.strip_prefix("base_model.").unwrap()).unwrap();
            assert!(ours.equal(theirs), "{family}: {key}, to the last bit");
        }
        let expected = golden.seen(&golden.tensors["vera.outputs"]);
        assert_close(&golden.seen(&golden.outputs(&model, Mode::Eval)), &expected, TOLERANCE, family);
    }
}

#[test]
fn what_merges_computes_the_same_merged() {
    for family in FAMILIES {
        let golden = Golden::read(family);
        for method in ["ia3", "vera"] {
            let what = format!("{family}, {method}");
            let model = golden.adapted(method);
            assert!(model.merges());
            let expected = golden.seen(&golden.tensors[&format!("{method}.outputs")]);
            let merged = model.merged().unwrap();
            assert!(merged.trainable.is_empty() || family == "roberta", "{what}");
            assert_close(&golden.seen(&golden.outputs(&merged, Mode::Eval)), &expected, TOLERANCE, &what);
            let folder = tempfile::tempdir().unwrap();
            Frozen.save(&Saved::of(&model, None), folder.path()).unwrap();
            let loaded = Model::load_for(golden.task(), folder.path(), &Frozen, 0, Device::Cpu).unwrap();
            assert!(golden.outputs(&loaded, Mode::Eval).equal(&golden.outputs(&merged, Mode::Eval)), "{what}");
        }
    }
}

#[test]
fn every_map_is_its_merged_weight_and_bias() {
    let float = (Kind::Float, Device::Cpu);
    let _alone = generator();
    for family in FAMILIES {
        let golden = Golden::read(family);
        for method in ["ia3", "vera"] {
            let model = golden.adapted(method);
            for place in model.places() {
                let map = model.map(&place.name).unwrap();
                let (weight, own) = (map.merged().unwrap(), map.merged_bias().unwrap());
                assert!(!weight.requires_grad());
                let bias = own.as_ref().or_else(|| model.frozen.get(&format!("{}.bias", place.name)));
                let x = Tensor::randn([2, 3, weight.size2().unwrap().1], float);
                assert_close(&map.forward(&x, Mode::Eval).unwrap(), &x.linear(&weight, bias), TOLERANCE, &place.name);
            }
        }
    }
}

#[test]
fn what_does_not_merge_says_so() {
    for family in FAMILIES {
        let golden = Golden::read(family);
        for method in golden.methods().into_iter().skip(2) {
            let model = golden.adapted(method);
            assert!(!model.merges());
            let error = model.merged().unwrap_err();
            assert!(
                error.to_string().contains("what `bottleneck` adds to the model is no part of its weights"),
                "{family}, {method}: {error}"
            );
            assert!(error.hint().unwrap().contains("needs no merging"));
        }
    }
}

/// Dropout stands where the libraries have it, and acts in training alone.
#[test]
fn dropout_is_drawn_again_when_activations_are_computed_again() {
    let _alone = generator();
    for family in FAMILIES {
        let golden = Golden::read(family);
        let methods: [Box<dyn Method>; 5] = [
            Box::new(Bottleneck { dropout: 0.4, norms: Norms { before: true, after: false }, ..style(Style::Houlsby) }),
            Box::new(Bottleneck { dropout: 0.4, ..style(Style::Pfeiffer) }),
            Box::new(Bottleneck { dropout: 0.4, first: First::Houlsby, ..style(Style::Parallel) }),
            Box::new(Vera::new(3, 0.1, 0.4, 1, Targets::AllLinear).unwrap()),
            Box::new(LinearBottleneck::series(2, Activation::Tanh, 1.0, 0.4, Targets::AllLinear).unwrap()),
        ];
        for method in methods {
            let pass = |memory: Memory| {
                let model = golden.load(method.as_ref(), Numerics { memory, ..Numerics::from(Device::Cpu) });
                for (_, tensor) in model.trainable.iter() {
                    let _ = tch::no_grad(|| tensor.shallow_clone().f_add_(&(tensor.ones_like() * 0.1)).unwrap());
                }
                model.activations.begin(9);
                let loss = golden.outputs(&model, Mode::Train).square().sum(Kind::Float);
                loss.backward();
                model.activations.backward().unwrap();
                let gradients: Vec<Tensor> = model.trainable.iter().map(|(_, tensor)| tensor.grad()).collect();
                (loss.double_value(&[]), golden.outputs(&model, Mode::Eval).square().sum(Kind::Float), gradients)
            };
            let (loss, calm, gradients) = pass(Memory::KeepActivations);
            let (same_loss, _, same_gradients) = pass(Memory::KeepInputs);
            assert_eq!(loss, same_loss, "{family}, {}", method.name());
            assert!((loss / calm.double_value(&[]) - 1.0).abs() > 1e-6, "{family}, {}: no dropout", method.name());
            let largest = gradients.iter().map(|tensor| tensor.abs().max().double_value(&[])).fold(0.0, f64::max);
            for (one, other) in gradients.iter().zip(&same_gradients) {
                let off = (one - other).abs().max().double_value(&[]);
                assert!(off <= 2e-5 * largest, "{family}, {}: off by {off:.1e} of {largest:.1e}", method.name());
            }
        }
    }
}

#[test]
fn bfloat16_is_float32_within_its_rounding() {
    for family in FAMILIES {
        let golden = Golden::read(family);
        for method in golden.methods() {
            let exact = golden.seen(&golden.tensors[&format!("{method}.outputs")]);
            let model = golden.adapted_from(&golden.folder.join(method), Numerics::all(Kind::BFloat16, Device::Cpu));
            let found = golden.outputs(&model, Mode::Eval);
            assert_eq!(found.kind(), Kind::BFloat16, "{family}, {method}");
            let off = golden.seen(&found.to_kind(Kind::Float)) - &exact;
            let off = off.norm().double_value(&[]) / exact.norm().double_value(&[]);
            assert!(off > 1e-5 && off < 0.15, "{family}, {method}: off by {off:.1e}");
            assert!(model.trainable.iter().all(|(_, tensor)| tensor.kind() == Kind::Float), "what trains is float32");
        }
    }
}

/// Sizes of one, sizes beyond the width, and what no sublayer is.
#[test]
fn odd_sizes_and_settings() {
    let golden = Golden::read("llama");
    for units in [1, 13, 40] {
        let method = Bottleneck { size: Size::Units(units), ..style(Style::Houlsby) };
        let model = golden.load(&method, Device::Cpu);
        assert_eq!(model.trainable.get("model.layers.1.mlp.adapter_down.weight").unwrap().size(), [units, 12]);
        assert_eq!(model.trainable.len(), 16);
        let folder = tempfile::tempdir().unwrap();
        method.save(&Saved::of(&model, None), folder.path()).unwrap();
        let loaded = golden.adapted_from(folder.path(), Device::Cpu);
        assert!(golden.outputs(&loaded, Mode::Eval).equal(&golden.outputs(&model, Mode::Eval)), "{units}");
    }
    let vera = Vera::new(30, 0.1, 0.0, 5, ends(&["up_proj"])).unwrap();
    let (first, second) = (golden.load(&vera, Device::Cpu), golden.load(&vera, Device::Cpu));
    assert_eq!(first.frozen.get("vera_A").unwrap().size(), [30, 12]);
    assert!(first.frozen.get("vera_B").unwrap().equal(second.frozen.get("vera_B").unwrap()));
    let left = Bottleneck { leave_out: vec![0], ..style(Style::Pfeiffer) };
    assert_eq!(golden.load(&left, Device::Cpu).trainable.len(), 4);
    let problem = |method: Bottleneck| method.checked().unwrap_err().to_string();
    assert_eq!(problem(Bottleneck { size: Size::Units(0), ..style(Style::Houlsby) }), "size.units: is 0");
    assert_eq!(problem(Bottleneck { size: Size::Reduction(0.0), ..style(Style::Houlsby) }), "size.reduction: is 0");
    assert_eq!(problem(Bottleneck { scale: 0.0, ..style(Style::Houlsby) }), "scale: is 0");
    assert_eq!(problem(Bottleneck { dropout: 1.0, ..style(Style::Houlsby) }), "dropout: is 1");
    assert!(problem(Bottleneck { sublayers: Vec::new(), ..style(Style::Houlsby) }).contains("names none"));
    assert_eq!(Vera::new(0, 0.1, 0.0, 0, Targets::AllLinear).unwrap_err().to_string(), "rank: is 0");
    assert_eq!(Vera::new(1, 0.0, 0.0, 0, Targets::AllLinear).unwrap_err().to_string(), "d_initial: is 0");
}

/// By itself it has the targets of its paper. PEFT's names for these are the same for Llama and T5; for RoBERTa they mean
/// what leads out of an attention, too, whose name ends alike.
#[test]
fn ia3_has_by_itself_the_targets_of_its_paper() {
    let changed = |family, targets| {
        let model = Golden::read(family).load(&Ia3::new(targets, None), Device::Cpu);
        let names = model.trainable.iter().map(|(name, _)| name.to_owned()).filter(|name| name.ends_with(".ia3_l"));
        names.collect::<Vec<_>>()
    };
    for (family, theirs) in [
        ("llama", ["k_proj", "v_proj", "down_proj"]),
        ("t5", ["k", "v", "wo"]),
        ("roberta", ["key", "value", "output.dense"]),
    ] {
        let ours = changed(family, roles(&["attention.k", "attention.v", "mlp.down"]));
        let mut peft = changed(family, ends(&theirs));
        peft.retain(|name| !name.contains("attention.output"));
        assert_eq!(ours, peft, "{family}");
        assert!(!ours.is_empty());
    }
}
