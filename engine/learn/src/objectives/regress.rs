//! The objective `regress`: the squared difference from a text's number.

use tch::{Kind, Tensor};

use super::texts::TextObjective;
use crate::error::Result;
use crate::layers::Mode;
use crate::models::{Model, Texts};

/// Learns a number.
#[derive(Debug)]
pub struct Regress;

impl TextObjective for Regress {
    type Target = f32;

    fn losses(model: &Model, texts: &Texts, targets: &[&f32], mode: Mode) -> Result<Tensor> {
        let scores = model.network.sequence_classifier()?.scores(texts, mode)?.f_to_kind(Kind::Float)?;
        let targets: Vec<f32> = targets.iter().map(|target| **target).collect();
        let targets = Tensor::f_from_slice(&targets)?.f_to_device(scores.device())?;
        Ok(scores.f_squeeze_dim(-1)?.f_sub(&targets)?.f_square()?)
    }
}
