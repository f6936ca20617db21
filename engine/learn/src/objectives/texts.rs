//! Rows that are read whole and have one target each: what the objectives over texts share. An objective says what its
//! target is and what the loss of each row is.

use std::fmt::Debug;

use tch::{Kind, Tensor};

use super::language_model::weighed_sum;
use super::{Examples, Weighed};
use crate::batches::Row;
use crate::clock::{self, Part};
use crate::error::Result;
use crate::layers::Mode;
use crate::models::{Model, Texts};

/// A text as token ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextRow {
    /// The row's name.
    pub id: String,
    /// Its token ids.
    pub ids: Vec<i32>,
    /// The part of a pair that each token belongs to; may be empty where it is the first everywhere.
    pub types: Vec<i32>,
}

/// A text and what is learned of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled<T> {
    /// The text.
    pub text: TextRow,
    /// What is learned.
    pub target: T,
}

impl<T> Row for Labelled<T> {
    fn id(&self) -> &str {
        &self.text.id
    }

    fn inputs(&self) -> usize {
        self.text.ids.len()
    }

    fn losses(&self) -> usize {
        1
    }
}

/// An objective over texts.
pub trait TextObjective: Debug {
    /// What is learned of a text.
    type Target: Debug;

    /// The loss of each text, `[rows]`, float32.
    fn losses(model: &Model, texts: &Texts, targets: &[&Self::Target], mode: Mode) -> Result<Tensor>;
}

/// Texts with an objective's targets.
#[derive(Debug)]
pub struct TextExamples<O: TextObjective> {
    rows: Vec<Labelled<O::Target>>,
    padding: i64,
}

impl<O: TextObjective> TextExamples<O> {
    /// These rows; short ones are filled up with the id `padding`.
    pub fn new(rows: Vec<Labelled<O::Target>>, padding: i64) -> Self {
        Self { rows, padding }
    }

    fn losses(&self, model: &Model, rows: &[Weighed], mode: Mode) -> Result<Tensor> {
        let chosen: Vec<&Labelled<O::Target>> = rows.iter().filter_map(|weighed| self.rows.get(weighed.row)).collect();
        let texts = together(chosen.iter().map(|row| &row.text), self.padding, model)?;
        clock::enter(Part::Forward);
        O::losses(model, &texts, &chosen.iter().map(|row| &row.target).collect::<Vec<_>>(), mode)
    }
}

/// Texts on the model's device, short ones filled up.
pub fn together<'a>(rows: impl Iterator<Item = &'a TextRow>, padding: i64, model: &Model) -> Result<Texts> {
    let rows: Vec<(&[i32], &[i32])> = rows.map(|row| (row.ids.as_slice(), row.types.as_slice())).collect();
    Texts::new(&rows, padding, model.device)
}

impl<O: TextObjective> Examples for TextExamples<O> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn row(&self, index: usize) -> Option<&dyn Row> {
        self.rows.get(index).map(|row| row as &dyn Row)
    }

    fn backward(&self, model: &Model, rows: &[Weighed]) -> Result<Tensor> {
        let losses = self.losses(model, rows, Mode::Train)?;
        let weights: Vec<f32> = rows.iter().map(|weighed| weighed.weight as f32).collect();
        let weights = Tensor::f_from_slice(&weights)?.f_to_device(losses.device())?;
        let loss = losses.f_mul(&weights)?.f_sum(Kind::Float)?;
        clock::enter(Part::Backward);
        loss.f_backward()?;
        Ok(loss.f_detach()?)
    }

    fn loss(&self, model: &Model, rows: &[Weighed]) -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        let losses = self.losses(model, rows, Mode::Eval)?;
        weighed_sum(&losses, &rows.iter().map(|weighed| weighed.weight).collect::<Vec<_>>())
    }
}
