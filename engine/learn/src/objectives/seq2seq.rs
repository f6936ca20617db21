//! The objective `seq2seq`: the next token's negative log-likelihood in the answer that an encoder–decoder writes to a
//! text.

use tch::Tensor;

use super::language_model::weighed_sum;
use super::texts::together;
use super::{Examples, TextRow, Weighed};
use crate::batches::{LossRow, MicroBatch, Row};
use crate::clock::{self, Part};
use crate::error::Result;
use crate::layers::Mode;
use crate::loss::{Head, Placed};
use crate::models::{Model, Seq2SeqLm, Texts};

/// A text and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredRow {
    /// The text.
    pub text: TextRow,
    /// The answer's token ids; each carries loss.
    pub answer: Vec<i32>,
}

impl Row for AnsweredRow {
    fn id(&self) -> &str {
        &self.text.id
    }

    fn inputs(&self) -> usize {
        self.text.ids.len() + self.answer.len()
    }

    fn losses(&self) -> usize {
        self.answer.len()
    }
}

/// Texts whose answers are learned.
#[derive(Debug)]
pub struct Seq2Seq {
    rows: Vec<AnsweredRow>,
    padding: i64,
}

/// A micro-batch: the texts, and the answers as far as they are read.
struct Batch {
    texts: Texts,
    answers: Placed,
}

impl Seq2Seq {
    /// These rows; short ones are filled up with the id `padding`.
    pub fn new(rows: Vec<AnsweredRow>, padding: i64) -> Self {
        Self { rows, padding }
    }

    fn chosen(&self, rows: &[Weighed]) -> Vec<&AnsweredRow> {
        rows.iter().filter_map(|weighed| self.rows.get(weighed.row)).collect()
    }
}

/// The weight of each token of the answers.
fn weights(rows: &[Weighed], chosen: &[&AnsweredRow]) -> Vec<f64> {
    rows.iter().zip(chosen).flat_map(|(weighed, row)| std::iter::repeat_n(weighed.weight, row.losses())).collect()
}

impl Batch {
    /// The decoder reads its start and all of the answer but the last token: labels are shifted by one.
    fn new(rows: &[&AnsweredRow], padding: i64, model: &Model, network: &dyn Seq2SeqLm) -> Result<Self> {
        let start = i32::try_from(network.start_id()).unwrap_or_default();
        let shifted = |row: &&AnsweredRow| {
            let ids: Vec<i32> = [start].into_iter().chain(row.answer.iter().copied()).collect();
            LossRow::new(row.id(), &ids, vec![true; ids.len()])
        };
        let answers: Vec<LossRow> = rows.iter().filter_map(shifted).collect();
        Ok(Self {
            texts: together(rows.iter().map(|row| &row.text), padding, model)?,
            answers: Placed::new(&MicroBatch::new(&answers, padding), model.device)?,
        })
    }

    /// The states of the decoder that predict the answers' tokens.
    fn hidden(&self, network: &dyn Seq2SeqLm, mode: Mode) -> Result<Tensor> {
        let encoded = network.encode(&self.texts, mode)?;
        network.hidden(&encoded, &self.texts, &self.answers.ids, mode)
    }
}

/// The loss of each token of the rows' answers, and whether the model held it the likeliest, each `[tokens]`, row after row,
/// in evaluation.
pub(crate) fn scored(model: &Model, rows: &[&AnsweredRow], padding: i64) -> Result<(Tensor, Tensor)> {
    let _guard = tch::no_grad_guard();
    let network = model.network.seq2seq_lm()?;
    let batch = Batch::new(rows, padding, model, network)?;
    let head = |hidden: &Tensor| network.logits(hidden, Mode::Eval);
    let head = Head { scores: &head, vocabulary: network.vocabulary() };
    batch.answers.predictions(&batch.hidden(network, Mode::Eval)?, head)?.scored()
}

impl Examples for Seq2Seq {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn row(&self, index: usize) -> Option<&dyn Row> {
        self.rows.get(index).map(|row| row as &dyn Row)
    }

    fn backward(&self, model: &Model, rows: &[Weighed]) -> Result<Tensor> {
        let network = model.network.seq2seq_lm()?;
        let chosen = self.chosen(rows);
        let batch = Batch::new(&chosen, self.padding, model, network)?;
        clock::enter(Part::Forward);
        let head = |hidden: &Tensor| network.logits(hidden, Mode::Train);
        let head = Head { scores: &head, vocabulary: network.vocabulary() };
        batch.answers.predictions(&batch.hidden(network, Mode::Train)?, head)?.backward(&weights(rows, &chosen))
    }

    fn loss(&self, model: &Model, rows: &[Weighed]) -> Result<Tensor> {
        let chosen = self.chosen(rows);
        let (losses, _) = scored(model, &chosen, self.padding)?;
        weighed_sum(&losses, &weights(rows, &chosen))
    }
}
