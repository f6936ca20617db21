//! The golden files, read; and how two tensors are compared. The one place that knows their layout.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use learn::adapters::{self, Dora, Lora, Method, saved_method};
use learn::layers::Mode;
use learn::models::Model;
use learn::targets::Targets;
use serde_json::Value;
use tch::{Device, Kind, Tensor};

pub const VARIANTS: [&str; 5] = ["tied_multi_head", "untied_grouped", "llama3_rope", "biases", "sharded_float16"];

/// What golden values must agree to, relative to the largest value, in float32.
pub const TOLERANCE: f64 = 1e-5;

static GENERATOR: Mutex<()> = Mutex::new(());

/// Tests share libtorch's generator of random numbers: one that seeds it or draws from it, by dropout too, holds this.
pub fn generator() -> MutexGuard<'static, ()> {
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(path)
}

/// One variant of the Llama family with its golden values.
pub struct Variant {
    pub folder: PathBuf,
    pub values: Value,
    tensors: HashMap<String, Tensor>,
}

impl Variant {
    pub fn read(name: &str) -> Self {
        let folder = golden("llama").join(name);
        let values = serde_json::from_slice(&std::fs::read(folder.join("values.json")).unwrap()).unwrap();
        let tensors = Tensor::read_safetensors(folder.join("values.safetensors")).unwrap().into_iter().collect();
        Self { folder, values, tensors }
    }

    pub fn model_folder(&self) -> PathBuf {
        self.folder.join("model")
    }

    pub fn tensor(&self, name: &str) -> &Tensor {
        &self.tensors[name]
    }

    /// The golden gradients of a method by parameter name.
    pub fn gradients(&self, method: &str) -> HashMap<String, &Tensor> {
        let prefix = format!("{method}.gradient.");
        self.tensors
            .iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix(&prefix)?.to_owned(), tensor)))
            .collect()
    }

    pub fn rank(&self) -> i64 {
        self.values["rank"].as_i64().unwrap()
    }

    pub fn alpha(&self) -> f64 {
        self.values["alpha"].as_f64().unwrap()
    }

    pub fn targets(&self) -> Targets {
        let names = self.values["targets"].as_array().unwrap();
        Targets::Suffixes(names.iter().map(|name| name.as_str().unwrap().to_owned()).collect())
    }

    pub fn loss(&self, method: &str) -> f64 {
        self.values["loss"][method].as_f64().unwrap()
    }

    /// The model with `method` on it.
    pub fn model(&self, method: &dyn Method) -> Model {
        Model::load(&self.model_folder(), method, 0, Device::Cpu).unwrap()
    }

    /// The model with the adapter that PEFT saved for `method`, `lora` or `dora`.
    pub fn adapted(&self, method: &str) -> Model {
        let folder = self.folder.join(method);
        let mut model = self.model(saved_method(&folder).unwrap().as_ref());
        adapters::load(&folder, &mut model.trainable).unwrap();
        model
    }

    /// The golden text through the model: logits and mean loss over the marked targets.
    pub fn forward(&self, model: &Model) -> (Tensor, Tensor) {
        forward(model, self.tensor("tokens"), self.tensor("loss_mask"))
    }
}

/// A method with the variant's rank and targets, scaled by `alpha`.
pub fn low_rank(variant: &Variant, name: &str, alpha: f64, dropout: f64) -> Box<dyn Method> {
    match name {
        "lora" => Box::new(Lora::new(variant.rank(), alpha, dropout, variant.targets()).unwrap()),
        "dora" => Box::new(Dora::new(variant.rank(), alpha, dropout, variant.targets()).unwrap()),
        other => panic!("no method {other}"),
    }
}

/// Logits of a padded batch, and the mean loss over the targets that `mask` marks.
pub fn forward(model: &Model, tokens: &Tensor, mask: &Tensor) -> (Tensor, Tensor) {
    let network = model.network.causal_lm().unwrap();
    let hidden = network.hidden(tokens, Mode::Train).unwrap();
    let logits = network.logits(&hidden, Mode::Train).unwrap();
    let length = tokens.size2().unwrap().1;
    let targets = tokens.narrow(1, 1, length - 1).unsqueeze(-1);
    let scores =
        logits.narrow(1, 0, length - 1).log_softmax(-1, Kind::Float).gather(-1, &targets, false).squeeze_dim(-1);
    let mask = mask.narrow(1, 1, length - 1).to_kind(Kind::Float);
    let loss = -(scores * &mask).sum(Kind::Float) / mask.sum(Kind::Float);
    (logits, loss)
}

/// The largest difference relative to the largest expected value.
pub fn difference(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.size(), expected.size());
    let largest = expected.abs().max().double_value(&[]);
    let off = (found - expected).abs().max().double_value(&[]);
    if largest == 0.0 { off } else { off / largest }
}

/// The root mean square of the difference relative to that of `expected`.
pub fn distance(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.size(), expected.size());
    let norm = |tensor: &Tensor| tensor.to_kind(Kind::Double).norm().double_value(&[]);
    norm(&(found.to_kind(Kind::Double) - expected.to_kind(Kind::Double))) / norm(expected)
}

#[track_caller]
pub fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f64, what: &str) {
    let off = difference(found, expected);
    assert!(off <= tolerance, "{what}: off by {off:.2e}, more than {tolerance:.0e}");
}

/// Copies a folder of files.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Changes the JSON file at `path`.
pub fn change_json(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}
