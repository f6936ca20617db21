//! RoBERTa: BERT's encoder with positions counted from behind the padding id, and heads of its own. Liu et al.
//! (arXiv 1907.11692), and the published checkpoints. Knows nothing of methods.

use std::rc::Rc;

use serde_json::Value;
use tch::{Kind, Tensor};

use super::bert::{Config, Encoder, Padding, answer_head};
use super::{Builder, Network, SequenceClassifier, Task, Texts, TokenClassifier};
use crate::error::{Error, Result};
use crate::layers::{LinearMap, Mode, dropped};
use crate::weights::Init;

/// What the names of tensors begin with.
pub const PREFIX: &str = "roberta.";

/// Makes a RoBERTa as `config` (a `config.json`) describes it.
pub fn build(config: &Value, task: Task, builder: &mut Builder) -> Result<Option<Network>> {
    if task == Task::LanguageModel {
        return Ok(None);
    }
    let config = Config::read(config)?;
    builder.leave_out("lm_head.");
    // None of the heads reads the pooled state.
    builder.leave_out("roberta.pooler.");
    let roberta = Roberta::new(&config, builder)?;
    Ok(Some(match task {
        Task::LanguageModel => return Ok(None),
        Task::SequenceClassification { labels } => {
            builder.leave_out("qa_outputs.");
            let (width, init) = (config.hidden_size, Init::Normal(config.initializer_range));
            Network::SequenceClassifier(Box::new(Classifier {
                dense: builder.head("classifier.dense", width, width, true, init)?,
                out_proj: builder.head("classifier.out_proj", width, labels, true, init)?,
                roberta,
                labels,
                dropout: config.classifier_dropout(),
            }))
        }
        Task::QuestionAnswering => {
            builder.leave_out("classifier.");
            Network::TokenClassifier(Box::new(Answers { roberta, head: answer_head(&config, builder)? }))
        }
    }))
}

/// The encoder with its positions.
#[derive(Debug)]
pub struct Roberta {
    encoder: Encoder,
    padding: i64,
}

impl Roberta {
    /// Makes the encoder that `config` describes from what `builder` gives.
    pub fn new(config: &Config, builder: &mut Builder) -> Result<Self> {
        // transformers' default, which files leave out.
        let padding = config.pad_token_id.unwrap_or(1);
        if !(0..config.vocab_size.min(config.max_position_embeddings)).contains(&padding) {
            return Err(Error::setting(
                "config.json: pad_token_id",
                format!("is {padding}; positions are counted from behind it"),
                "a RoBERTa's is 1",
            ));
        }
        let encoder = Encoder::new("roberta", config, Padding { token: padding, position: padding }, builder)?;
        Ok(Self { encoder, padding })
    }

    /// The hidden states `[rows, length, width]` of texts.
    pub fn hidden(&self, texts: &Texts, mode: Mode) -> Result<Tensor> {
        self.encoder.hidden(texts, &self.positions(texts)?, mode)
    }

    /// The hidden states `[rows, width]` of the first token of each text.
    fn first(&self, texts: &Texts, mode: Mode) -> Result<Tensor> {
        self.encoder.first(texts, &self.positions(texts)?, mode)
    }

    /// A token's position is the padding id and its number among the row's tokens that are no padding, from 1 on.
    fn positions(&self, texts: &Texts) -> Result<Tensor> {
        let tokens = self.encoder.with_virtual(&texts.ids.f_ne(self.padding)?.f_to_kind(Kind::Int64)?)?;
        let numbers = tokens.f_cumsum(1, Kind::Int64)?.f_add_scalar(self.encoder.keys_before())?;
        Ok(numbers.f_mul(&tokens)?.f_add_scalar(self.padding)?)
    }
}

/// RoBERTa with a classifier of two layers over the first token.
#[derive(Debug)]
struct Classifier {
    roberta: Roberta,
    dense: Rc<dyn LinearMap>,
    out_proj: Rc<dyn LinearMap>,
    labels: i64,
    dropout: f64,
}

impl SequenceClassifier for Classifier {
    fn scores(&self, texts: &Texts, mode: Mode) -> Result<Tensor> {
        let first = self.roberta.first(texts, mode)?;
        let dropout = mode.dropout(self.dropout);
        let inner = self.dense.forward(&dropped(first, dropout)?, mode)?.f_tanh()?;
        self.out_proj.forward(&dropped(inner, dropout)?, mode)
    }

    fn labels(&self) -> i64 {
        self.labels
    }

    fn vocabulary(&self) -> i64 {
        self.roberta.encoder.vocabulary
    }
}

/// RoBERTa with scores for starts and ends of answers.
#[derive(Debug)]
struct Answers {
    roberta: Roberta,
    head: Rc<dyn LinearMap>,
}

impl TokenClassifier for Answers {
    fn scores(&self, texts: &Texts, mode: Mode) -> Result<Tensor> {
        self.head.forward(&self.roberta.hidden(texts, mode)?, mode)
    }

    fn vocabulary(&self) -> i64 {
        self.roberta.encoder.vocabulary
    }
}
