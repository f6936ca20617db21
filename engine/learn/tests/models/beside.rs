//! Methods that put something beside a model of any family, against PEFT and adapter-hub: outputs at first and later, losses,
//! gradients, 20 steps, files, merged weights. The values are made by `tests/golden/beside.py` and `bottleneck.py`.

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
use learn::weights::{SafetensorsFile, write_tensors};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::fixtures::{TOLERANCE, assert_close, change_json, copy_folder, difference, generator, golden};

const FAMILIES: [&str; 3] = ["llama", "roberta", "t5"];
const LENGTHS: [usize; 2] = [9, 6];
const ANSWERS: [usize; 2] = [5, 3];

/// A family's model and batch with the golden values of all methods.
struct Golden {
    name: &'static str,
    folder: PathBuf,
    values: [Value; 2],
    tensors: HashMap<String, Tensor>,
}

impl Golden {
    fn read(name: &'static str) -> Self {
        let folder = golden("beside").join(name);
        let json = |file: &str| serde_json::from_slice(&std::fs::read(folder.join(file)).unwrap()).unwrap();
        let tensors = |file: &str| Tensor::read_safetensors(folder.join(file)).unwrap();
        let values = [json("values.json"), json("bottleneck.json")];
        let tensors = tensors("values.safetensors").into_iter().chain(tensors("bottleneck.safetensors")).collect();
        Self { name, folder, values, tensors }
    }

    fn task(&self) -> Task {
        if self.name == "roberta" { Task::SequenceClassification { labels: 3 } } else { Task::LanguageModel }
    }

    fn load(&self, method: &dyn Method, numerics: impl Into<Numerics>) -> Model {
        Model::load_for(self.task(), &self.folder.join("model"), method, 3, numerics).unwrap()
    }

    /// The model with the adapter that another library saved.
    fn adapted(&self, method: &str) -> Model {
        self.adapted_from(&self.folder.join(method), Device::Cpu)
    }

    fn adapted_from(&self, folder: &Path, numerics: impl Into<Numerics>) -> Model {
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
                Box::new(LanguageModel::new((0..2).filter_map(row).collect(), 0))
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

    fn outputs(&self, model: &Model, mode: Mode) -> Tensor {
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

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn safetensors(folder: &Path, name: &str) -> HashMap<String, Tensor> {
    let file = SafetensorsFile::open(&folder.join(name)).unwrap();
    assert_eq!(file.metadata()["format"], "pt");
    file.names().into_iter().map(|key| (key.clone(), file.tensor(&key, Device::Cpu, Kind::Float).unwrap())).collect()
}

#[test]
fn what_is_saved_is_what_peft_saved() {
    for family in FAMILIES {
        let golden = Golden::read(family);
        let methods =
            if family == "llama" { &["ia3", "vera", "series_linear", "parallel_linear"][..] } else { &["ia3", "vera"] };
        for method in methods {
            let what = format!("{family}, {method}");
            let theirs = golden.folder.join(method);
            let model = golden.adapted(method);
            let folder = tempfile::tempdir().unwrap();
            saved_method(&theirs).unwrap().save(&Saved::of(&model, Some("")), folder.path()).unwrap();
            let stored = Tensor::read_safetensors(theirs.join("adapter_model.safetensors")).unwrap();
            let ours = safetensors(folder.path(), "adapter_model.safetensors");
            assert_eq!(ours.len(), stored.len(), "{what}");
            for (key, tensor) in stored {
                assert!(ours[&key].equal(&tensor), "{what}: {key}");
            }
            let (ours, theirs) =
                (read(&folder.path().join("adapter_config.json")), read(&theirs.join("adapter_config.json")));
            for (key, value) in ours.as_object().unwrap() {
                let same = match key.as_str() {
                    // Without a task, as the golden T5 has none, and by other ends of the same names.
                    "task_type" if family == "t5" => value == "SEQ_2_SEQ_LM",
                    "modules_to_save" if family == "roberta" => value == &json!(["classifier"]),
                    "target_modules" | "feedforward_modules" if family == "roberta" => value.is_array(),
                    "auto_mapping" | "revision" if method.ends_with("linear") || family == "t5" => true,
                    _ => theirs.get(key) == Some(value),
                };
                assert!(same, "{what}: {key} is {value}, PEFT's {:?}", theirs.get(key));
            }
            // Saved once more it is the same, byte by byte.
            let again = tempfile::tempdir().unwrap();
            let model = golden.adapted_from(folder.path(), Device::Cpu);
            saved_method(folder.path()).unwrap().save(&Saved::of(&model, Some("")), again.path()).unwrap();
            for name in ["adapter_config.json", "adapter_model.safetensors"] {
                let bytes = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
                assert_eq!(bytes(folder.path()), bytes(again.path()), "{what}: {name}");
            }
        }
    }
}

#[test]
fn what_is_saved_is_what_adapter_hub_saved() {
    for family in FAMILIES {
        let golden = Golden::read(family);
        for method in ["houlsby", "pfeiffer", "parallel"] {
            let what = format!("{family}, {method}");
            let theirs = golden.folder.join(method);
            let model = golden.adapted(method);
            let folder = tempfile::tempdir().unwrap();
            saved_method(&theirs).unwrap().save(&Saved::of(&model, None), folder.path()).unwrap();
            // A norm that stands twice was saved by torch.save.
            if theirs.join("adapter.safetensors").exists() {
                let stored = Tensor::read_safetensors(theirs.join("adapter.safetensors")).unwrap();
                let ours = safetensors(folder.path(), "adapter.safetensors");
                assert_eq!(ours.len(), stored.len(), "{what}");
                for (key, tensor) in stored {
                    assert!(ours[&key.replace(".some_task.", ".default.")].equal(&tensor), "{what}: {key}");
                }
            }
            let (ours, theirs) =
                (read(&folder.path().join("adapter_config.json")), read(&theirs.join("adapter_config.json")));
            for (key, value) in theirs.as_object().unwrap() {
                match key.as_str() {
                    "name" => assert_eq!(ours[key], "default"),
                    "config" => {
                        for (key, value) in value.as_object().unwrap() {
                            assert_eq!(&ours["config"][key], value, "{what}: {key}");
                        }
                    }
                    "hidden_size" if family == "t5" => {}
                    _ => assert_eq!(&ours[key], value, "{what}: {key}"),
                }
            }
            assert_eq!(folder.path().join("head_config.json").exists(), family == "roberta", "{what}");
            // Loaded again it computes the same, and saved again it is the same.
            let loaded = golden.adapted_from(folder.path(), Device::Cpu);
            assert!(golden.outputs(&loaded, Mode::Eval).equal(&golden.outputs(&model, Mode::Eval)), "{what}");
            assert_eq!(learn::peft::task(folder.path()).unwrap(), golden.task(), "{what}");
            let again = tempfile::tempdir().unwrap();
            saved_method(folder.path()).unwrap().save(&Saved::of(&loaded, None), again.path()).unwrap();
            let bytes = |folder: &Path| std::fs::read(folder.join("adapter.safetensors")).unwrap();
            assert_eq!(bytes(folder.path()), bytes(again.path()), "{what}");
        }
    }
}

/// The error after `break_it` has changed a copy of an adapter.
fn broken(family: &'static str, method: &str, break_it: impl FnOnce(&Path)) -> String {
    let golden = Golden::read(family);
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&golden.folder.join(method), folder.path());
    break_it(folder.path());
    let error = saved_method(folder.path())
        .and_then(|method| {
            Model::load_for(golden.task(), &golden.folder.join("model"), method.as_ref(), 0, Device::Cpu)
        })
        .and_then(|mut model| adapters::load(folder.path(), &mut model.trainable))
        .unwrap_err();
    format!("{error} / {}", error.hint().unwrap_or("no hint")).replace(&folder.path().display().to_string(), "ADAPTER")
}

#[test]
fn files_that_do_not_fit_are_named() {
    let setting = |family, method, key: &'static str, value: Value| {
        broken(family, method, move |folder| {
            change_json(&folder.join("adapter_config.json"), |config| {
                match config.get_mut("config").filter(|within| within.is_object()) {
                    Some(within) => within[key] = value,
                    None => config[key] = value,
                }
            });
        })
    };
    let cases = [
        ("llama", "ia3", "exclude_modules", json!(["k_proj"]), "`exclude_modules` is set"),
        (
            "llama",
            "ia3",
            "feedforward_modules",
            json!(["o_proj"]),
            "`model.layers.0.self_attn.o_proj`, which is no target",
        ),
        ("llama", "vera", "layers_to_transform", json!([0]), "`layers_to_transform` is set"),
        ("llama", "vera", "bias", json!("all"), "biases were trained too"),
        ("llama", "vera", "r", json!(4), "which is none of rank 4"),
        ("llama", "series_linear", "scaling", json!("learned"), "`scaling` is learned"),
        ("roberta", "pfeiffer", "use_gating", json!(true), "`use_gating` is set"),
        ("roberta", "pfeiffer", "scaling", json!("learned"), "`scaling` is \"learned\""),
        ("roberta", "pfeiffer", "architecture", json!("lora"), "its architecture is `lora`"),
        ("roberta", "pfeiffer", "original_ln_after", json!(false), "no style that is known here"),
        ("roberta", "pfeiffer", "non_linearity", json!("mish"), "unknown variant `mish`"),
        ("roberta", "pfeiffer", "reduction_factor", json!(3), "the model's has [4]"),
        ("roberta", "pfeiffer", "cross_adapter", json!(true), "the model has no sublayer `cross_attention`"),
        ("roberta", "pfeiffer", "leave_out", json!([2]), "the model has no layer 2"),
        ("roberta", "pfeiffer", "leave_out", json!([0, 1]), "leaves out every layer"),
        ("roberta", "pfeiffer", "leave_out", json!([1]), "matches nothing in the model"),
        ("roberta", "pfeiffer", "mh_adapter", json!(true), "tensors of the adapter are missing"),
    ];
    for (family, method, key, value, expected) in cases {
        let text = setting(family, method, key, value);
        assert!(text.contains(expected), "{method}, {key}: {text}");
    }
    let rename = |family, method, file: &'static str, from: &'static str, to: &'static str| {
        broken(family, method, move |folder| {
            let path = folder.join(file);
            let mut tensors = Tensor::read_safetensors(&path).unwrap();
            tensors.sort_by(|a, b| a.0.cmp(&b.0));
            let first = tensors.iter_mut().find(|(name, _)| name.contains(from)).unwrap();
            first.0 = first.0.replace(from, to);
            write_tensors(&path, &tensors).unwrap();
        })
    };
    let text = rename("llama", "ia3", "adapter_model.safetensors", "ia3_l", "ia3_k");
    assert!(
        text.contains("down_proj.ia3_k` matches nothing in the model") && text.contains("down_proj.ia3_l`"),
        "{text}"
    );
    let text = rename("llama", "vera", "adapter_model.safetensors", "vera_lambda_b", "vera_lambda_c");
    assert!(text.contains("vera_lambda_c` matches nothing in the model"), "{text}");
    let text = rename("llama", "vera", "adapter_model.safetensors", "vera_A", "vera_C");
    assert!(text.contains("holds no `base_model.vera_A`, though `save_projection` is true"), "{text}");
    let text = rename("roberta", "pfeiffer", "adapter.safetensors", "adapter_up", "adapter_op");
    assert!(
        text.contains("adapter_op.bias` matches nothing in the model; ") || text.contains("matches nothing"),
        "{text}"
    );
    assert!(text.contains("the nearest one that the model has is `roberta.encoder.layer.0.output.adapters."), "{text}");
    let text = broken("t5", "parallel", |folder| std::fs::remove_file(folder.join("adapter.safetensors")).unwrap());
    assert!(text.starts_with("ADAPTER: holds neither adapter.safetensors nor pytorch_adapter.bin"), "{text}");
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

/// The head with weights of its own, which adapter-hub's library trains beside an adapter, is loaded with it.
#[test]
fn an_output_head_that_was_trained_beside_a_bottleneck_is_loaded() {
    let golden = Golden::read("llama");
    let base = tempfile::tempdir().unwrap();
    copy_folder(&golden.folder.join("model"), base.path());
    change_json(&base.path().join("config.json"), |config| config["tie_word_embeddings"] = json!(false));
    let path = base.path().join("model.safetensors");
    let mut tensors = Tensor::read_safetensors(&path).unwrap();
    let embedding = tensors.iter().find(|(name, _)| name.ends_with("embed_tokens.weight")).unwrap().1.shallow_clone();
    tensors.retain(|(name, _)| name != "lm_head.weight");
    tensors.push(("lm_head.weight".to_owned(), embedding * 0.5));
    write_tensors(&path, &tensors).unwrap();
    let folder = golden.folder.join("pfeiffer");
    let method = saved_method(&folder).unwrap();
    let mut model = Model::load(base.path(), method.as_ref(), 0, Device::Cpu).unwrap();
    adapters::load(&folder, &mut model.trainable).unwrap();
    let expected = &golden.tensors["pfeiffer.outputs"];
    assert_close(
        &golden.outputs(&model, Mode::Eval),
        expected,
        TOLERANCE,
        "the head of the file, not of the base model",
    );
}
