//! What a `train` stage may say.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Beside, Fault, Input, Kind, Program, Snapshots, Validate, WantedSplit};
use crate::{
    adapter::AdapterSource,
    block::{self, WantedBlock},
    files,
    metric::Metric,
    model::ModelSource,
    optimizer::Optimizer,
    precision::Precision,
    reference::Reference,
    schedule::Schedule,
};

/// Trains a model, or an adapter of it.
///
/// Leaves the adapter in PEFT's format, or the whole model in Hugging Face's; `history.jsonl` with the loss of every
/// step; `summary.json`; `snapshots/` where asked. While it runs it keeps checkpoints, so that a killed run goes on where it
/// was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "not" = {"anyOf": [
        {"required": ["epochs", "steps"]},
        {
            "required": ["model", "adapter"],
            "properties": {
                "model": {"type": "object", "required": ["random"]},
                "adapter": {"type": ["object", "array"], "not": {"required": ["full"]}},
            },
        },
    ]},
    "if" = {"not": {"required": ["epochs"]}},
    "then" = {"required": ["steps"]},
))]
pub struct Train {
    /// A stage that left a model or an adapter, or `{random: {…}}`: a shape with random weights.
    pub model: ModelSource,
    /// The `tokenize` stage with the rows. Its split `train` is learned from, or the one that a part names: `tokens/short`.
    pub data: Reference,
    /// What is learned.
    #[serde(default)]
    pub objective: Objective,
    /// What trains: `full`, an adapter, or a list of adapters that train together; or `{from: STAGE}`, to train an adapter
    /// on that another stage left.
    pub adapter: AdapterSource,
    /// The seed of everything random, or one each: `{init: 0, data: 0, dropout: 0}`.
    #[serde(default)]
    pub seed: Seed,
    /// How often every row is seen. Either this or `steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub epochs: Option<u64>,
    /// How many optimiser steps are done. Either this or `epochs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub steps: Option<u64>,
    /// Rows for each optimiser step.
    #[serde(default)]
    pub batch: Batch,
    /// The optimiser.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// The learning rate over the steps.
    #[serde(default)]
    pub schedule: Schedule,
    /// The most that the norm of all gradients together may be; larger ones are scaled down. Without it, no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub clip: Option<f64>,
    /// The numbers that are computed with. `bf16` and `fp16` need about half the memory of `float32`.
    #[serde(default)]
    pub precision: Precision,
    /// Whether only the inputs of layers are kept for the backward pass and the rest is computed again: about a third
    /// slower, and the memory of activations no longer grows with the number of layers. Changes no result beyond rounding.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gradient_checkpointing: bool,
    /// Loss, and figures of metrics, on a split that is not learned from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validate: Option<Validate>,
    /// How often the state is saved, to go on from after a crash.
    #[serde(default)]
    pub checkpoint: Checkpoint,
    /// What trains, kept as it was at some steps: a folder `snapshots/step-000100` each beside what the stage leaves, in
    /// the same files. One can be evaluated: `model: tuned/snapshots/step-000100`. With `adapter: full` each is a whole
    /// model, which is large. Without it, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<Snapshots>,
}

crate::one_of! {
    /// What is learned.
    pub enum Objective {
        /// The next token.
        language_model => LanguageModel(LanguageModel),
        /// The answer of an encoder–decoder to a text. The rows have `form: seq2seq`.
        seq2seq => Seq2Seq(Seq2Seq),
        /// The class of a text: the block `label`. The rows have `form: text`.
        classify => Classify(super::preprocess::Empty),
        /// The number of a text: the block `label`. The rows have `form: text`.
        regress => Regress(super::preprocess::Empty),
        /// Where the answer stands in the pair: the block `answers`. The rows have `form: text`.
        span => Span(super::preprocess::Empty),
    }
}

impl Default for Objective {
    fn default() -> Self {
        Self::LanguageModel(LanguageModel::default())
    }
}

/// Learns the next token.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LanguageModel {
    /// The tokens that carry loss.
    #[serde(default)]
    pub loss_on: LossOn,
    /// What the loss is a mean of.
    #[serde(default, skip_serializing_if = "Normalize::is_tokens")]
    pub normalize: Normalize,
}

/// Learns the answer to a text.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Seq2Seq {
    /// What the loss is a mean of.
    #[serde(default, skip_serializing_if = "Normalize::is_tokens")]
    pub normalize: Normalize,
}

/// What a loss is a mean of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Normalize {
    /// All tokens of the batch that carry loss.
    #[default]
    Tokens,
    /// The rows' own means.
    Rows,
    /// The means of the batch's parts of `batch.micro` rows, as many scripts have it: a row counts more in a part with
    /// few tokens.
    Micro,
}

impl Normalize {
    fn is_tokens(&self) -> bool {
        *self == Self::Tokens
    }
}

/// The tokens that carry loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossOn {
    /// Those of completions, each with its EOS.
    #[default]
    Completion,
    /// All but the first of a row.
    All,
}

/// Seeds: one number for everything, or one each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seed {
    /// Of new weights.
    pub init: u64,
    /// Of the order of rows.
    pub data: u64,
    /// Of dropout.
    pub dropout: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seeds {
    #[serde(default)]
    init: u64,
    #[serde(default)]
    data: u64,
    #[serde(default)]
    dropout: u64,
}

impl Serialize for Seed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { init, data, dropout } = *self;
        if init == data && data == dropout {
            serializer.serialize_u64(init)
        } else {
            Seeds { init, data, dropout }.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Seed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number from zero on, or `{init: …, data: …, dropout: …}`")
            }

            fn visit_u64<E: de::Error>(self, seed: u64) -> Result<Seed, E> {
                Ok(Seed { init: seed, data: seed, dropout: seed })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Seed, A::Error> {
                let Seeds { init, data, dropout } = Seeds::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Seed { init, data, dropout })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Seed {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Seed".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let number = serde_json::json!({ "type": "integer", "minimum": 0 });
        schemars::json_schema!({
            "description": "One number for everything random, or one each.",
            "anyOf": [
                number,
                {
                    "type": "object",
                    "properties": { "init": number, "data": number, "dropout": number },
                    "additionalProperties": false,
                },
            ],
        })
    }
}

/// Rows for each optimiser step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map such as `{size: …}`")]
pub struct Batch {
    /// Rows whose gradients make one step.
    #[serde(default = "default_batch")]
    #[schemars(range(min = 1))]
    pub size: u64,
    /// Rows that are computed at once; gradients are added up until `size` is reached. Without it, `size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub micro: Option<u64>,
    /// Whether what rows of a micro-batch have in common at their front, 16 tokens or more, is computed once, and rows that
    /// begin alike come in the same batches: for many questions about one text. Each row's loss is the same; dropout is drawn
    /// once for what is shared. For `language_model`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub share_prefix: bool,
}

fn default_batch() -> u64 {
    16
}

impl Default for Batch {
    fn default() -> Self {
        Self { size: default_batch(), micro: None, share_prefix: false }
    }
}

/// How often the state is saved, to go on from after a crash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map such as `{steps: …}`")]
pub struct Checkpoint {
    /// Optimiser steps from one saved state to the next.
    #[schemars(range(min = 1))]
    pub steps: u64,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self { steps: 200 }
    }
}

crate::one_of! {
    /// A stretch of training, from its first step on.
    pub enum Duration {
        /// So many optimiser steps.
        steps => Steps(u64),
        /// This part of all optimiser steps, from 0 to 1.
        ratio => Ratio(f64) where {"minimum": 0, "maximum": 1},
    }
}

impl Kind for Train {
    const VERSION: u32 = 6;
    const PROGRAM: Program = Program::Worker;

    fn inputs(&self) -> Vec<Input<'_>> {
        let mut inputs = Vec::new();
        if let ModelSource::Stage(reference) = &self.model {
            inputs.push(Input::follow("model", reference).of_kind(&["download", "train", "merge"]).merged());
        }
        let mut read =
            vec![files::split(self.train_split()), files::SPECIAL_IDS.to_owned(), files::TOKENIZER.to_owned()];
        if matches!(self.objective, Objective::Classify(_)) {
            read.push(files::LABELS.to_owned());
        }
        read.extend(self.validate.iter().map(|validate| files::split(&validate.on)));
        let mut splits = vec![WantedSplit::by_value("data", self.train_split())];
        splits.extend(self.validate.iter().map(|validate| WantedSplit::by_value("validate.on", &validate.on)));
        if let AdapterSource::Stage(continued) = &self.adapter {
            inputs.push(Input::follow("adapter.from", &continued.from).of_kind(&["download", "train"]));
        }
        inputs.push(Input::follow("data", &self.data).of_kind(&["tokenize"]).only(read).with_splits(splits));
        inputs.extend(self.validate.iter().flat_map(|validate| Metric::inputs("validate.metrics", &validate.metrics)));
        inputs
    }

    fn beside(&self) -> Beside<'_> {
        match &self.adapter {
            AdapterSource::New(methods) => match methods.iter().find(|method| !method.merges()) {
                Some(method) => Beside::Method(method.name()),
                None => Beside::Nothing,
            },
            AdapterSource::Stage(_) => Beside::Of("adapter.from"),
        }
    }

    fn wanted_blocks(&self) -> Vec<WantedBlock> {
        let mut wanted: Vec<WantedBlock> = block::of_objective(&self.objective);
        let asked = self.validate.iter().filter_map(|validate| Some((validate.protocol.as_ref()?, &validate.metrics)));
        wanted.extend(asked.flat_map(|(protocol, metrics)| block::of_protocol("validate.", protocol, metrics)));
        wanted
    }

    fn carries(&self) -> Option<&'static str> {
        (self.adapter.is_adapter() && matches!(self.model, ModelSource::Stage(_))).then_some("model")
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        match (self.epochs, self.steps) {
            (None, None) => faults.push(Fault::of_map(
                "",
                "neither `epochs` nor `steps`",
                "say how long to train, for example `epochs: 1`",
            )),
            (Some(_), Some(_)) => faults.push(Fault::new("steps", "both `epochs` and `steps`", "keep one of them")),
            (Some(0), _) => faults.push(Fault::new("epochs", "zero epochs train nothing", "give a number above zero")),
            (_, Some(0)) => faults.push(Fault::new("steps", "zero steps train nothing", "give a number above zero")),
            _ => {}
        }
        if self.batch.size == 0 {
            faults.push(Fault::new("batch.size", "a batch of no row", "give a number above zero"));
        }
        match self.batch.micro {
            Some(0) => faults.push(Fault::new("batch.micro", "a batch of no row", "give a number above zero")),
            Some(micro) if micro > self.batch.size => faults.push(Fault::new(
                "batch.micro",
                format!("`micro` ({micro}) is more than `size` ({})", self.batch.size),
                "`micro` rows are computed at once, `size` rows make one step: give `micro` at most `size`",
            )),
            _ => {}
        }
        if self.batch.share_prefix && !matches!(self.objective, Objective::LanguageModel(_)) {
            faults.push(Fault::new(
                "batch.share_prefix",
                "rows can share what they begin with in a causal language model alone",
                "leave `share_prefix` out, or give `objective: language_model`",
            ));
        }
        if self.clip.is_some_and(|clip| !(clip > 0.0 && clip.is_finite())) {
            faults.push(Fault::new("clip", "the bound must be above zero", "leave `clip` out for no bound"));
        }
        if self.checkpoint.steps == 0 {
            faults.push(Fault::new("checkpoint.steps", "every zero steps", "give a number above zero"));
        }
        if self.adapter.is_adapter() && matches!(self.model, ModelSource::Random(_)) {
            faults.push(Fault::new(
                "adapter",
                format!("`{}` on random weights: the base it belongs to is kept nowhere", self.adapter.name()),
                "train a random model with `adapter: full`, then adapt what that stage left",
            ));
        }
        let below = |path: &str, faults: Vec<Fault>| {
            faults.into_iter().map(move |f| Fault { path: format!("{path}.{}", f.path), ..f }).collect::<Vec<_>>()
        };
        faults.extend(self.validate.iter().flat_map(|validate| below("validate", validate.faults(&self.objective))));
        faults.extend(self.snapshots.iter().flat_map(|snapshots| below("snapshots", snapshots.faults())));
        faults.extend(self.adapter.faults("adapter"));
        faults.extend(below("optimizer", self.optimizer.faults()));
        faults.extend(below("schedule", self.schedule.faults()));
        if let ModelSource::Random(random) = &self.model {
            faults.extend(below("model.random", random.faults()));
        }
        faults
    }
}

impl Train {
    /// The split that is learned from.
    pub fn train_split(&self) -> &str {
        self.data.part.as_deref().unwrap_or("train")
    }

    /// Rows computed at once.
    pub fn micro_batch(&self) -> u64 {
        self.batch.micro.unwrap_or(self.batch.size)
    }
}
