//! What is imported, as typed settings of stages: what to train on what, and what was left out. Makes the stages of a
//! pipeline of it. Knows no tool and no YAML.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use spec::{
    adapter::{Adapter, AdapterSource},
    metric::Metric,
    model::ModelSource,
    optimizer::Optimizer,
    precision::Precision,
    protocol::Protocol,
    reference::{OneOrMany, Reference},
    schedule::Schedule,
    stage::{
        Batch, Chat, Checkpoint, Download, Evaluate, EvaluateBatch, Form, Format, LiteralRows, MaxLength, Objective,
        Origin, Overflow, OverflowPolicy, Preprocess, Report, RowSource, Seed, Source, SpecialToken, Split, Table,
        Tokenize, TokenizerSource, Train, Validate,
    },
};

use super::{
    corpus::{TRAIN, VALIDATION},
    left::LeftOut,
    template::Template,
};

const MODEL: &str = "model";
const TOKENIZER: &str = "tokenizer";
const DATA: &str = "data";
const ROWS: &str = "rows";
const TOKENS: &str = "tokens";
const TUNED: &str = "tuned";
const SCORES: &str = "scores";
const REPORT: &str = "report";

/// Everything of a pipeline that a configuration decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// What was read, such as `an Axolotl configuration`.
    pub tool: &'static str,
    /// The model.
    pub model: Source,
    /// The tokenizer, where it is not the model's.
    pub tokenizer: Option<Source>,
    /// Where rows come from.
    pub rows: Rows,
    /// The splits.
    pub splits: BTreeMap<String, Split>,
    /// How a row becomes a prompt.
    pub template: Template,
    /// How prompts become tokens.
    pub tokens: Tokens,
    /// What trains and how.
    pub training: Training,
    /// What is not carried over.
    pub left: Vec<LeftOut>,
}

/// Where rows come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Rows {
    /// A download.
    Downloaded {
        /// What is brought.
        from: Source,
        /// How its files are read.
        format: Option<Format>,
    },
    /// Rows that stand in the pipeline file, until there are others.
    Written(LiteralRows),
}

/// How prompts become tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Tokens {
    /// The tokenizer's chat template.
    pub chat: Option<Chat>,
    /// The token that begins a row.
    pub bos: SpecialToken,
    /// The token that ends a completion.
    pub eos: SpecialToken,
    /// The most tokens of a row.
    pub max_length: u64,
    /// What a row is made into.
    pub form: Form,
    /// What becomes of longer rows that are learned from.
    pub too_long: OverflowPolicy,
    /// What becomes of longer rows that are not.
    pub too_long_scored: OverflowPolicy,
}

/// What trains, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    /// What is learned.
    pub objective: Objective,
    /// What trains.
    pub adapter: Adapter,
    /// The seeds.
    pub seed: Seed,
    /// Epochs.
    pub epochs: Option<u64>,
    /// Steps.
    pub steps: Option<u64>,
    /// Rows of a step.
    pub batch: Batch,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// The learning rate over the steps.
    pub schedule: Schedule,
    /// The bound of gradients.
    pub clip: Option<f64>,
    /// The numbers that are computed with.
    pub precision: Precision,
    /// Whether activations are computed again.
    pub gradient_checkpointing: bool,
    /// Validation, where there is a split for it.
    pub validate: Option<Validate>,
    /// Steps between saved states.
    pub checkpoint: Checkpoint,
    /// How the result is scored on the validation split.
    pub scored: Option<(Protocol, Vec<Metric>)>,
    /// Rows that are scored at once.
    pub scored_at_once: Option<u64>,
}

/// A stage as it is written: its name, comments above it, its settings with the kind first.
pub type Stage = (String, Vec<String>, Value);

impl Recipe {
    /// The stages, in the order in which they run. The template is the file `template` under `templates/`.
    pub fn stages(&self, template: &str) -> Vec<Stage> {
        let mut stages = Vec::new();
        let mut add = |name: &str, kind: &str, comment: &str, settings: Option<Value>| {
            let comments = if comment.is_empty() { Vec::new() } else { vec![comment.to_owned()] };
            stages.extend(settings.map(|settings| (name.to_owned(), comments, with_kind(kind, settings))));
        };
        let download = |from: &Source| json(&Download { from: Origin(from.clone()) });
        add(MODEL, "download", "", download(&self.model));
        if let Some(tokenizer) = &self.tokenizer {
            add(TOKENIZER, "download", "", download(tokenizer));
        }
        let (input, format) = match &self.rows {
            Rows::Downloaded { from, format } => {
                add(DATA, "download", "", download(from));
                (RowSource::Stage(Reference::to_stage(DATA)), format.clone())
            }
            Rows::Written(rows) => (RowSource::Rows(rows.clone()), None),
        };
        let placeholder = match &self.rows {
            Rows::Written(_) => "Rows that only show the form: put a download of yours in their place, `input: STAGE`.",
            Rows::Downloaded { .. } => "",
        };
        let preprocess = Preprocess {
            input,
            format,
            join: None,
            names: BTreeMap::new(),
            template: template.to_owned(),
            splits: self.splits.clone(),
        };
        add(ROWS, "preprocess", placeholder, json(&preprocess));
        add(TOKENS, "tokenize", "", json(&self.tokenize()));
        add(TUNED, "train", "", json(&self.train()));
        let scores = self.evaluate();
        let inputs = [Some(TUNED), scores.as_ref().map(|_| SCORES), Some(TOKENS)];
        if let Some(scores) = &scores {
            add(SCORES, "evaluate", "", json(scores));
        }
        let inputs = inputs.into_iter().flatten().map(Reference::to_stage).collect();
        let report = Report { inputs, table: Table::default(), baselines: Vec::new(), published: Vec::new() };
        add(REPORT, "report", "", json(&report));
        stages
    }

    fn tokenize(&self) -> Tokenize {
        let Tokens { chat, bos, eos, max_length, form, too_long, too_long_scored } = self.tokens.clone();
        // What no machine can count fits anything.
        let tokens = usize::try_from(max_length).unwrap_or(usize::MAX);
        let max_length = match form {
            Form::Seq2Seq(_) => MaxLength::Parts { prompt: tokens, completion: tokens },
            _ => MaxLength::Row(tokens),
        };
        let overflow = match self.splits.contains_key(VALIDATION) {
            true => Overflow::BySplit([(TRAIN.to_owned(), too_long), (VALIDATION.to_owned(), too_long_scored)].into()),
            false => Overflow::Every(too_long),
        };
        let tokenizer = if self.tokenizer.is_some() { TOKENIZER } else { MODEL };
        Tokenize {
            input: Reference::to_stage(ROWS),
            tokenizer: TokenizerSource::Stage(Reference::to_stage(tokenizer)),
            chat,
            boundary: spec::stage::Boundary::Separate,
            bos,
            eos,
            max_length,
            overflow,
            form,
        }
    }

    fn train(&self) -> Train {
        let training = self.training.clone();
        Train {
            model: ModelSource::Stage(Reference::to_stage(MODEL)),
            data: Reference::to_stage(TOKENS),
            objective: training.objective,
            adapter: AdapterSource::New(vec![training.adapter]),
            seed: training.seed,
            epochs: training.epochs,
            steps: training.steps,
            batch: training.batch,
            optimizer: training.optimizer,
            schedule: training.schedule,
            clip: training.clip,
            precision: training.precision,
            gradient_checkpointing: training.gradient_checkpointing,
            validate: training.validate.filter(|_| self.splits.contains_key(VALIDATION)),
            checkpoint: training.checkpoint,
            snapshots: None,
        }
    }

    /// The scores on the validation split: of the trained model, and of the untrained one where it can answer.
    fn evaluate(&self) -> Option<Evaluate> {
        let (protocol, metrics) = self.training.scored.clone().filter(|_| self.splits.contains_key(VALIDATION))?;
        let answers = matches!(protocol, Protocol::Perplexity(_) | Protocol::Generate(_));
        let models = if answers { vec![MODEL, TUNED] } else { vec![TUNED] };
        Some(Evaluate {
            model: OneOrMany(models.into_iter().map(Reference::to_stage).collect()),
            data: Reference { part: Some(VALIDATION.to_owned()), ..Reference::to_stage(TOKENS) },
            protocol,
            metrics,
            batch: self.training.scored_at_once.map_or_else(EvaluateBatch::default, |size| EvaluateBatch { size }),
            seed: None,
            precision: self.training.precision,
            measure: None,
        })
    }
}

fn json(settings: &impl Serialize) -> Option<Value> {
    serde_json::to_value(settings).ok()
}

fn with_kind(kind: &str, settings: Value) -> Value {
    let mut all = serde_json::Map::new();
    all.insert("kind".to_owned(), Value::from(kind));
    if let Value::Object(map) = settings {
        // A table without settings is what stands where there is none.
        all.extend(
            map.into_iter().filter(|(key, value)| !(key == "table" && value.as_object().is_some_and(|t| t.is_empty()))),
        );
    }
    Value::Object(all)
}
