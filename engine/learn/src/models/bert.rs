//! BERT, an encoder, with its heads for classification and for answers in a text. Devlin et al. (arXiv 1810.04805), and
//! the published checkpoints. Knows nothing of methods: its linear maps are what the builder returns.

mod config;
mod encoder;

use std::rc::Rc;

use serde_json::Value;
use tch::Tensor;

use super::{Builder, Network, SequenceClassifier, Task, Texts, TokenClassifier};
use crate::error::Result;
use crate::layers::{LinearMap, Mode, dropped};
use crate::targets::Role;
use crate::weights::Init;

pub use config::Config;
pub use encoder::{Encoder, Padding};

/// What the names of tensors begin with.
pub const PREFIX: &str = "bert.";

/// Makes a BERT as `config` (a `config.json`) describes it.
pub fn build(config: &Value, task: Task, builder: &mut Builder) -> Result<Option<Network>> {
    let heads = ["cls.", "classifier.", "qa_outputs."];
    match task {
        Task::LanguageModel => Ok(None),
        Task::SequenceClassification { labels } => {
            heads.iter().filter(|name| **name != "classifier.").for_each(|name| builder.leave_out(name));
            let classifier = Classifier::new(&Config::read(config)?, labels, builder)?;
            Ok(Some(Network::SequenceClassifier(Box::new(classifier))))
        }
        Task::QuestionAnswering => {
            heads.iter().filter(|name| **name != "qa_outputs.").for_each(|name| builder.leave_out(name));
            builder.leave_out("bert.pooler.");
            let config = Config::read(config)?;
            let answers = Answers { encoder: encoder(&config, builder)?, head: answer_head(&config, builder)? };
            Ok(Some(Network::TokenClassifier(Box::new(answers))))
        }
    }
}

/// The encoder of a BERT.
pub fn encoder(config: &Config, builder: &mut Builder) -> Result<Encoder> {
    let token = config.pad_token_id.filter(|&id| id < config.vocab_size).unwrap_or(-1);
    Encoder::new("bert", config, Padding { token, position: -1 }, builder)
}

/// The head that scores starts and ends.
pub fn answer_head(config: &Config, builder: &mut Builder) -> Result<Rc<dyn LinearMap>> {
    builder.head("qa_outputs", config.hidden_size, 2, true, Init::Normal(config.initializer_range))
}

/// BERT with a classifier over the pooled first token.
#[derive(Debug)]
struct Classifier {
    encoder: Encoder,
    pooler: Rc<dyn LinearMap>,
    head: Rc<dyn LinearMap>,
    labels: i64,
    dropout: f64,
}

impl Classifier {
    fn new(config: &Config, labels: i64, builder: &mut Builder) -> Result<Self> {
        let (width, init) = (config.hidden_size, Init::Normal(config.initializer_range));
        let encoder = encoder(config, builder)?;
        let name = "bert.pooler.dense";
        // A checkpoint without one gets a new one, which then belongs to the head.
        let pooler = match builder.holds(&format!("{name}.weight")) {
            true => builder.linear(name, Role::Pooler, width, width, true, init)?,
            false => builder.head(name, width, width, true, init)?,
        };
        let head = builder.head("classifier", width, labels, true, init)?;
        Ok(Self { encoder, pooler, head, labels, dropout: config.classifier_dropout() })
    }
}

impl SequenceClassifier for Classifier {
    fn scores(&self, texts: &Texts, mode: Mode) -> Result<Tensor> {
        let first = self.encoder.first(texts, &self.encoder.from_zero(texts)?, mode)?;
        let pooled = self.pooler.forward(&first, mode)?.f_tanh()?;
        self.head.forward(&dropped(pooled, mode.dropout(self.dropout))?, mode)
    }

    fn labels(&self) -> i64 {
        self.labels
    }

    fn vocabulary(&self) -> i64 {
        self.encoder.vocabulary
    }
}

/// BERT with scores for starts and ends of answers.
#[derive(Debug)]
struct Answers {
    encoder: Encoder,
    head: Rc<dyn LinearMap>,
}

impl TokenClassifier for Answers {
    fn scores(&self, texts: &Texts, mode: Mode) -> Result<Tensor> {
        self.head.forward(&self.encoder.hidden(texts, &self.encoder.from_zero(texts)?, mode)?, mode)
    }

    fn vocabulary(&self) -> i64 {
        self.encoder.vocabulary
    }
}
