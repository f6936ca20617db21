//! The kinds of network a model may be, by what goes in and what comes out, and the texts that are read whole. Knows no
//! family and no objective.

use std::fmt::Debug;

use tch::{Device, Kind, Tensor};

use super::CausalLm;
use crate::error::{Error, Result};
use crate::layers::Mode;

/// What a network is made for. A family makes each with the head that its checkpoints have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Text goes on: a causal language model, or an encoder–decoder.
    LanguageModel,
    /// So many scores for each text: classes, or one number.
    SequenceClassification {
        /// Scores for each text.
        labels: i64,
    },
    /// Two scores for each token: that an answer starts there, and that it ends there.
    QuestionAnswering,
}

impl Task {
    /// What is done, for messages.
    pub fn work(self) -> &'static str {
        match self {
            Self::LanguageModel => "language modelling",
            Self::SequenceClassification { .. } => "the classification of texts",
            Self::QuestionAnswering => "finding answers in a text",
        }
    }

    /// Which families can do it, for messages.
    pub(super) fn families(self) -> &'static str {
        match self {
            Self::LanguageModel => "take a decoder, such as a Llama, or an encoder–decoder, such as a T5",
            Self::SequenceClassification { .. } | Self::QuestionAnswering => {
                "take an encoder, such as a BERT or a RoBERTa"
            }
        }
    }
}

/// A network with its head.
#[derive(Debug)]
pub enum Network {
    /// Predicts the next token.
    CausalLm(Box<dyn CausalLm>),
    /// Reads a text and writes another.
    Seq2SeqLm(Box<dyn Seq2SeqLm>),
    /// Scores whole texts.
    SequenceClassifier(Box<dyn SequenceClassifier>),
    /// Scores every token of a text.
    TokenClassifier(Box<dyn TokenClassifier>),
}

/// Reads a text and writes another.
pub trait Seq2SeqLm: Debug {
    /// The encoder's states of texts, which the decoder reads, `[rows, length, width]`; virtual tokens have states too.
    fn encode(&self, texts: &Texts, mode: Mode) -> Result<Tensor>;

    /// The decoder's states `[rows, length, width]` that the head reads, for the first tokens `written` `[rows, length]`
    /// of the answers to `texts`, whose encoder states are `encoded`. No token sees what stands after it.
    fn hidden(&self, encoded: &Tensor, texts: &Texts, written: &Tensor, mode: Mode) -> Result<Tensor>;

    /// Begins to write answers to texts, token by token, in evaluation.
    fn begin<'a>(&'a self, texts: &Texts) -> Result<Box<dyn Writing + 'a>>;

    /// The scores `[…, vocabulary]` of the next token for hidden states `[…, width]`.
    fn logits(&self, hidden: &Tensor, mode: Mode) -> Result<Tensor>;

    /// The id that every answer begins with.
    fn start_id(&self) -> i64;

    /// How many token ids there are.
    fn vocabulary(&self) -> i64;
}

/// Answers that are being written, with what is remembered of the tokens so far.
pub trait Writing: Debug {
    /// The decoder's states `[rows, 1, width]` after one more token of each row, `[rows, 1]`.
    fn hidden_next(&mut self, tokens: &Tensor) -> Result<Tensor>;

    /// Keeps only `rows` (`[kept]`, indices), in that order; one may be kept several times.
    fn keep(&mut self, rows: &Tensor) -> Result<()>;

    /// Puts `rows` (`[rows]`, indices) into the places of others that answer the same text.
    fn reorder(&mut self, rows: &Tensor) -> Result<()>;
}

/// Scores whole texts.
pub trait SequenceClassifier: Debug {
    /// The scores `[rows, labels]`.
    fn scores(&self, texts: &Texts, mode: Mode) -> Result<Tensor>;

    /// How many scores each text gets.
    fn labels(&self) -> i64;

    /// How many token ids there are.
    fn vocabulary(&self) -> i64;
}

/// Scores every token of a text.
pub trait TokenClassifier: Debug {
    /// The scores `[rows, length, 2]`: start, end.
    fn scores(&self, texts: &Texts, mode: Mode) -> Result<Tensor>;

    /// How many token ids there are.
    fn vocabulary(&self) -> i64;
}

impl Network {
    /// The causal language model that it is.
    pub fn causal_lm(&self) -> Result<&dyn CausalLm> {
        match self {
            Self::CausalLm(network) => Ok(network.as_ref()),
            other => Err(other.is_no("causal language model")),
        }
    }

    /// The encoder–decoder that it is.
    pub fn seq2seq_lm(&self) -> Result<&dyn Seq2SeqLm> {
        match self {
            Self::Seq2SeqLm(network) => Ok(network.as_ref()),
            other => Err(other.is_no("encoder–decoder")),
        }
    }

    /// The classifier of texts that it is.
    pub fn sequence_classifier(&self) -> Result<&dyn SequenceClassifier> {
        match self {
            Self::SequenceClassifier(network) => Ok(network.as_ref()),
            other => Err(other.is_no("classifier of texts")),
        }
    }

    /// The classifier of tokens that it is.
    pub fn token_classifier(&self) -> Result<&dyn TokenClassifier> {
        match self {
            Self::TokenClassifier(network) => Ok(network.as_ref()),
            other => Err(other.is_no("finder of answers in a text")),
        }
    }

    /// How many token ids there are.
    pub fn vocabulary(&self) -> i64 {
        match self {
            Self::CausalLm(network) => network.vocabulary(),
            Self::Seq2SeqLm(network) => network.vocabulary(),
            Self::SequenceClassifier(network) => network.vocabulary(),
            Self::TokenClassifier(network) => network.vocabulary(),
        }
    }

    /// What the network gives for token ids `[rows, length]` in evaluation, whatever it is: to compare two networks of
    /// the same kind.
    pub fn outputs(&self, tokens: &Tensor) -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        match self {
            Self::CausalLm(network) => network.logits(&network.hidden(tokens, Mode::Eval)?, Mode::Eval),
            Self::Seq2SeqLm(network) => {
                let texts = Texts::whole(tokens)?;
                let encoded = network.encode(&texts, Mode::Eval)?;
                network.logits(&network.hidden(&encoded, &texts, tokens, Mode::Eval)?, Mode::Eval)
            }
            Self::SequenceClassifier(network) => network.scores(&Texts::whole(tokens)?, Mode::Eval),
            Self::TokenClassifier(network) => network.scores(&Texts::whole(tokens)?, Mode::Eval),
        }
    }

    fn is_no(&self, wanted: &str) -> Error {
        let (is, hint) = match self {
            Self::CausalLm(_) => ("a causal language model", "`objective: language_model`, or `generate`"),
            Self::Seq2SeqLm(_) => ("an encoder–decoder", "`objective: seq2seq`, or `generate`"),
            Self::SequenceClassifier(_) => ("a classifier of texts", "`classify` or `regress`"),
            Self::TokenClassifier(_) => ("a finder of answers in a text", "`span`"),
        };
        Error::setting("model", format!("is {is}, not a {wanted}"), format!("it fits {hint}"))
    }
}

/// Texts on the device, padded on the right to one length.
#[derive(Debug)]
pub struct Texts {
    /// Token ids, `[rows, length]`.
    pub ids: Tensor,
    /// How many tokens each row has.
    pub lengths: Vec<usize>,
    /// Which of them are no padding, `[rows, length]`; none where all texts are equally long.
    pub seen: Option<Tensor>,
    /// The part of a pair that each token belongs to, `[rows, length]`; none where it is the first everywhere.
    pub types: Option<Tensor>,
}

impl Texts {
    /// Puts texts together. `types` has as many numbers as the text has ids, or none.
    pub fn new(rows: &[(&[i32], &[i32])], padding: i64, device: Device) -> Result<Self> {
        let length = rows.iter().map(|(ids, _)| ids.len()).max().unwrap_or(0);
        let padded = |values: &[i32], fill: i64| {
            let fill = std::iter::repeat_n(fill, length - values.len());
            values.iter().copied().map(i64::from).chain(fill).collect::<Vec<_>>()
        };
        let table = |values: Vec<i64>| -> Result<Tensor> {
            Ok(Tensor::f_from_slice(&values)?.f_view([rows.len() as i64, length as i64])?.f_to_device(device)?)
        };
        let ids = table(rows.iter().flat_map(|(ids, _)| padded(ids, padding)).collect())?;
        let ragged = rows.iter().any(|(ids, _)| ids.len() != length);
        let seen = if ragged {
            let ones = |ids: &[i32]| padded(&vec![1; ids.len()], 0);
            Some(table(rows.iter().flat_map(|(ids, _)| ones(ids)).collect())?.f_to_kind(Kind::Bool)?)
        } else {
            None
        };
        let types = if rows.iter().any(|(_, types)| types.iter().any(|&part| part != 0)) {
            Some(table(rows.iter().flat_map(|(_, types)| padded(types, 0)).collect())?)
        } else {
            None
        };
        Ok(Self { ids, lengths: rows.iter().map(|(ids, _)| ids.len()).collect(), seen, types })
    }

    /// Texts without padding.
    pub fn whole(ids: &Tensor) -> Result<Self> {
        let (rows, length) = ids.size2()?;
        let lengths = vec![usize::try_from(length).unwrap_or_default(); usize::try_from(rows).unwrap_or_default()];
        Ok(Self { ids: ids.shallow_clone(), lengths, seen: None, types: None })
    }

    /// Which keys every query may see, `[rows, 1, 1, length]`; none where it is all of them.
    pub fn mask(&self) -> Result<Option<Tensor>> {
        Ok(match &self.seen {
            Some(seen) => Some(seen.f_unsqueeze(1)?.f_unsqueeze(1)?),
            None => None,
        })
    }

    /// The number of the last token of each text, `[rows]`.
    pub fn last(&self) -> Result<Tensor> {
        let (rows, length) = self.ids.size2()?;
        Ok(match &self.seen {
            Some(seen) => seen.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Int64)?.f_sub_scalar(1)?,
            None => Tensor::f_full([rows], length - 1, (Kind::Int64, self.ids.device()))?,
        })
    }
}
