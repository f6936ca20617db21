//! Models by family: what every one can do, the registry by `model_type`, and how a model is made from a
//! folder, from random values, or from another model. Knows methods only by their trait.

pub mod bert;
mod builder;
pub mod decoder;
pub mod gemma3;
pub mod llama;
pub mod mistral;
mod network;
pub mod phi3;
mod qwen;
pub mod qwen2;
pub mod qwen3;
pub mod roberta;
pub mod t5;

use std::fmt::Debug;
use std::path::Path;
use std::rc::Rc;

use serde_json::Value;
use tch::{Device, Tensor};

use crate::adapters::{Frozen, Method};
use crate::error::{Error, Result, nearest};
use crate::layers::{Activations, Cache, LinearMap, Lookup, Mode, Prefix};
use crate::numerics::Numerics;
use crate::parameters::{Named, Parameters};
use crate::prefix_tree::Forest;
use crate::targets::Place;
use crate::weights::{Checkpoint, Fresh, InMemory, Random, Source, WithoutPrefix};

pub use builder::{Builder, Parts};
pub use network::{Network, Seq2SeqLm, SequenceClassifier, Task, Texts, TokenClassifier, Writing};

/// A causal language model: token ids in, the next token's scores out.
pub trait CausalLm: Debug {
    /// The hidden states `[rows, length, width]` that the head reads, for token ids `[rows, length]`. Rows may be padded
    /// on the right with any token id: no token sees what stands after it.
    fn hidden(&self, tokens: &Tensor, mode: Mode) -> Result<Tensor>;

    /// The same for texts without padding, of the positions alone that predict a target: `[targets, width]`.
    fn hidden_at_targets(&self, texts: &Forest, mode: Mode) -> Result<Tensor>;

    /// The same in evaluation for new columns of texts whose earlier tokens are in `cache`: the padded prompts first, in
    /// one pass or in several, then one column at a time.
    fn hidden_next(&self, tokens: &Tensor, cache: &mut Cache) -> Result<Tensor>;

    /// The scores `[…, vocabulary]` of the next token for hidden states `[…, width]`, at all positions or at chosen ones.
    fn logits(&self, hidden: &Tensor, mode: Mode) -> Result<Tensor>;

    /// How many layers keep keys and values.
    fn layers(&self) -> usize;

    /// How many token ids there are.
    fn vocabulary(&self) -> i64;
}

/// One line of the registry.
struct Family {
    model_type: &'static str,
    /// What the names of the family's tensors begin with where a head stands beside them, and lack in files of the
    /// headless model.
    prefix: Option<&'static str>,
    build: Build,
}

/// How a family's networks are made.
enum Build {
    /// It has causal language models alone.
    CausalLm(fn(&Value, &mut Builder) -> Result<Box<dyn CausalLm>>),
    /// It has a network for some tasks; none for the others.
    ForTask(fn(&Value, Task, &mut Builder) -> Result<Option<Network>>),
}

impl Build {
    fn network(&self, config: &Value, task: Task, builder: &mut Builder) -> Result<Option<Network>> {
        match (self, task) {
            (Self::CausalLm(build), Task::LanguageModel) => Ok(Some(Network::CausalLm(build(config, builder)?))),
            (Self::CausalLm(_), _) => Ok(None),
            (Self::ForTask(build), _) => build(config, task, builder),
        }
    }
}

const FAMILIES: &[Family] = &[
    Family { model_type: "bert", prefix: Some(bert::PREFIX), build: Build::ForTask(bert::build) },
    Family { model_type: "gemma3", prefix: None, build: Build::CausalLm(gemma3::build) },
    Family { model_type: "gemma3_text", prefix: None, build: Build::CausalLm(gemma3::build_text) },
    Family { model_type: "llama", prefix: None, build: Build::CausalLm(llama::build) },
    Family { model_type: "mistral", prefix: None, build: Build::CausalLm(mistral::build) },
    Family { model_type: "phi3", prefix: None, build: Build::CausalLm(phi3::build) },
    Family { model_type: "qwen2", prefix: None, build: Build::CausalLm(qwen2::build) },
    Family { model_type: "qwen3", prefix: None, build: Build::CausalLm(qwen3::build) },
    Family { model_type: "roberta", prefix: Some(roberta::PREFIX), build: Build::ForTask(roberta::build) },
    Family { model_type: "t5", prefix: None, build: Build::ForTask(t5::build) },
];

/// A model that a method has been applied to, with its tensors.
#[derive(Debug)]
pub struct Model {
    /// The network itself.
    pub network: Network,
    /// What the network was made for.
    pub task: Task,
    /// What trains.
    pub trainable: Parameters,
    /// What never gets a gradient.
    pub frozen: Named,
    /// The checkpoint's `config.json`.
    pub config: Value,
    /// Where the tensors are.
    pub device: Device,
    /// Where it computes, and in which kinds of numbers.
    pub numerics: Numerics,
    /// What its training passes keep.
    pub activations: Rc<Activations>,
    /// The checkpoint's tensors that the family knowingly does without.
    pub left_out: Vec<String>,
    /// How many tokens the method adds to every text.
    pub virtual_tokens: i64,
    /// How many of a text's own tokens stand in front of those.
    pub virtual_tokens_after: i64,
    /// Keys and values that the method puts before those of every text.
    pub prefix: Option<Rc<Prefix>>,
    /// The method's name, and whether a plain model can compute the same.
    method: (&'static str, bool),
    base: Vec<String>,
    maps: Vec<(Place, Rc<dyn LinearMap>)>,
    slices: Vec<Place>,
    lookups: Vec<(Place, Rc<dyn Lookup>)>,
    heads: Vec<Place>,
    fresh: Vec<String>,
}

impl Model {
    /// Loads the language model of a folder in Hugging Face layout, with `method` applied. New parameters depend on
    /// `seed`. A device alone, as `numerics`, means float32.
    pub fn load(folder: &Path, method: &dyn Method, seed: u64, numerics: impl Into<Numerics>) -> Result<Self> {
        Self::load_for(Task::LanguageModel, folder, method, seed, numerics)
    }

    /// Loads a folder in Hugging Face layout for a task, with `method` applied. New parameters, and a head that the folder
    /// lacks, depend on `seed`.
    pub fn load_for(
        task: Task,
        folder: &Path,
        method: &dyn Method,
        seed: u64,
        numerics: impl Into<Numerics>,
    ) -> Result<Self> {
        let numerics = numerics.into();
        let config = read_config(folder)?;
        let mut weights = Checkpoint::open(folder, numerics.device)?;
        match family(&config)?.prefix.filter(|prefix| !weights.any_begins(prefix)) {
            None => Self::build_for(task, &config, &mut weights, method, seed, numerics),
            Some(prefix) => {
                Self::build_for(task, &config, &mut WithoutPrefix::new(&mut weights, prefix), method, seed, numerics)
            }
        }
    }

    /// Makes a language model of random weights, which depend on `weights_seed`, with `method` applied, whose new
    /// parameters depend on `seed`.
    pub fn random(
        config: &Value,
        weights_seed: u64,
        method: &dyn Method,
        seed: u64,
        numerics: impl Into<Numerics>,
    ) -> Result<Self> {
        Self::random_for(Task::LanguageModel, config, weights_seed, method, seed, numerics)
    }

    /// The same for a task.
    pub fn random_for(
        task: Task,
        config: &Value,
        weights_seed: u64,
        method: &dyn Method,
        seed: u64,
        numerics: impl Into<Numerics>,
    ) -> Result<Self> {
        let numerics = numerics.into();
        let mut weights = Random::new(weights_seed, numerics.device);
        Self::build_for(task, config, &mut weights, method, seed, numerics)
    }

    /// Makes a language model of the family that `config` names from the tensors of `source`, with `method` applied.
    pub fn build(
        config: &Value,
        source: &mut dyn Source,
        method: &dyn Method,
        seed: u64,
        numerics: impl Into<Numerics>,
    ) -> Result<Self> {
        Self::build_for(Task::LanguageModel, config, source, method, seed, numerics)
    }

    /// Makes a model of the family that `config` names for a task from the tensors of `source`, with `method` applied.
    pub fn build_for(
        task: Task,
        config: &Value,
        source: &mut dyn Source,
        method: &dyn Method,
        seed: u64,
        numerics: impl Into<Numerics>,
    ) -> Result<Self> {
        let numerics = numerics.into();
        Self::build_from(task, config, source, method, &Random::new(seed, numerics.device), numerics)
    }

    /// The same with the first values of new parameters from `fresh`.
    pub fn build_from(
        task: Task,
        config: &Value,
        source: &mut dyn Source,
        method: &dyn Method,
        fresh: &dyn Fresh,
        numerics: Numerics,
    ) -> Result<Self> {
        let device = numerics.device;
        let family = family(config)?;
        let _guard = tch::no_grad_guard();
        let mut builder = Builder::new(source, method, fresh, numerics);
        let activations = builder.activations();
        let Some(network) = family.build.network(config, task, &mut builder)? else {
            return Err(Error::setting(
                "model",
                format!("a model of the family `{}` cannot be used for {}", family.model_type, task.work()),
                task.families(),
            ));
        };
        let Parts {
            stores,
            base,
            maps,
            slices,
            lookups,
            left_out,
            heads,
            fresh,
            virtual_tokens,
            virtual_tokens_after,
            prefix,
            ..
        } = builder.finish()?;
        let (trainable, frozen) = (stores.trainable, stores.frozen);
        let config = config.clone();
        Ok(Self {
            network,
            task,
            trainable,
            frozen,
            config,
            device,
            numerics,
            activations,
            left_out,
            virtual_tokens,
            virtual_tokens_after,
            prefix,
            method: (method.name(), method.merges()),
            base,
            maps,
            slices,
            lookups,
            heads,
            fresh,
        })
    }

    /// The base model's tensors under their checkpoint names, each changed linear map merged into its weight, and the
    /// `config.json` that belongs to them. Without gradients; unchanged tensors are shared, not copied.
    pub fn merged_tensors(&self) -> Result<(Value, Vec<(String, Tensor)>)> {
        let _guard = tch::no_grad_guard();
        if let (name, false) = self.method {
            let problem = format!("what `{name}` adds to the model is no part of its weights, so it cannot be merged");
            return Err(Error::setting(
                "adapter",
                problem,
                "evaluate the stage that trained it: that needs no merging",
            ));
        }
        let mut config = self.config.clone();
        let mut merged: std::collections::HashMap<String, Tensor> = std::collections::HashMap::new();
        for (place, map) in &self.maps {
            merged.insert(format!("{}.weight", place.name), map.merged()?);
            merged.extend(map.merged_bias()?.map(|bias| (format!("{}.bias", place.name), bias)));
        }
        for (place, table) in &self.lookups {
            merged.insert(format!("{}.weight", place.name), table.merged()?);
        }
        let mut tensors = Vec::new();
        for name in &self.base {
            let tensor = match merged.remove(name) {
                Some(tensor) => tensor,
                None => self.base_tensor(name)?.f_detach()?,
            };
            tensors.push((name.clone(), tensor));
        }
        // A tied map has no tensor of its own. Where a method changed it, the merged model must have one.
        for (name, tensor) in merged {
            let shared = tensors.iter().any(|(_, held)| held.data_ptr() == tensor.data_ptr());
            if !shared {
                if let Some(config) = config.as_object_mut() {
                    config.insert("tie_word_embeddings".to_owned(), Value::Bool(false));
                }
                tensors.push((name, tensor));
            }
        }
        Ok((config, tensors))
    }

    /// The plain model that computes the same: no adapter beside its weights, nothing trains. Faster to evaluate and to
    /// generate with; it sees later training only where it shares a tensor, so make it anew after each step.
    pub fn merged(&self) -> Result<Self> {
        let (config, tensors) = self.merged_tensors()?;
        Self::build_for(self.task, &config, &mut InMemory::new(tensors), &Frozen, 0, self.numerics)
    }

    /// How many positions the method takes of every text.
    pub fn added_positions(&self) -> i64 {
        self.virtual_tokens + self.prefix.as_ref().map_or(0, |prefix| prefix.count())
    }

    /// Whether a plain model can compute the same.
    pub fn merges(&self) -> bool {
        self.method.1
    }

    /// All linear maps of the model.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.maps.iter().map(|(place, _)| place)
    }

    /// The slices of its fused maps, which a method may change in their place.
    pub fn slices(&self) -> impl Iterator<Item = &Place> {
        self.slices.iter()
    }

    /// All embeddings of tokens.
    pub fn lookups(&self) -> impl Iterator<Item = &Place> {
        self.lookups.iter().map(|(place, _)| place)
    }

    /// The linear maps of the task's head, which train whole whatever the method.
    pub fn heads(&self) -> impl Iterator<Item = &Place> {
        self.heads.iter()
    }

    /// The tensors of the head that the weights did not hold, and that were newly made.
    pub fn fresh(&self) -> &[String] {
        &self.fresh
    }

    /// The linear map `name`; a fused map also where its slices are adapted.
    pub fn map(&self, name: &str) -> Option<&dyn LinearMap> {
        self.maps.iter().find(|(place, _)| place.name == name).map(|(_, map)| map.as_ref())
    }

    fn base_tensor(&self, name: &str) -> Result<&Tensor> {
        self.frozen.get(name).or_else(|| self.trainable.get(name)).ok_or_else(|| {
            Error::setting(name, "the method put this tensor into neither store", "keep each base tensor in one store")
        })
    }
}

/// Reads the `config.json` of a model folder.
pub fn read_config(folder: &Path) -> Result<Value> {
    let path = folder.join("config.json");
    let text = std::fs::read(&path).map_err(|error| Error::io("read", &path, error))?;
    let config: Value = serde_json::from_slice(&text)
        .map_err(|error| Error::file(&path, format!("is no valid JSON: {error}"), "fetch the file again"))?;
    family(&config)?;
    Ok(config)
}

fn family(config: &Value) -> Result<&'static Family> {
    let known = || FAMILIES.iter().map(|family| family.model_type);
    let Some(model_type) = config.get("model_type").and_then(Value::as_str) else {
        return Err(Error::setting(
            "config.json: model_type",
            "is not there, so the model's family is unknown",
            format!("give one of: {}", known().collect::<Vec<_>>().join(", ")),
        ));
    };
    FAMILIES.iter().find(|family| family.model_type == model_type).ok_or_else(|| {
        let families = known().collect::<Vec<_>>().join(", ");
        let hint = match nearest(model_type, known()) {
            Some(near) => format!("did you mean `{near}`? Known are: {families}"),
            None => format!("known are: {families}"),
        };
        Error::setting("config.json: model_type", format!("the family `{model_type}` is not known"), hint)
    })
}
