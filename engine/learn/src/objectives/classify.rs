//! The objective `classify`: the negative log-likelihood of a text's class.

use tch::{Kind, Reduction, Tensor};

use super::texts::TextObjective;
use crate::error::Result;
use crate::layers::Mode;
use crate::loss::cross_entropy;
use crate::models::{Model, Texts};

/// Learns a class; a target is its number.
#[derive(Debug)]
pub struct Classify;

impl TextObjective for Classify {
    type Target = i64;

    fn losses(model: &Model, texts: &Texts, targets: &[&i64], mode: Mode) -> Result<Tensor> {
        let scores = model.network.sequence_classifier()?.scores(texts, mode)?.f_to_kind(Kind::Float)?;
        let targets: Vec<i64> = targets.iter().map(|target| **target).collect();
        let targets = Tensor::f_from_slice(&targets)?.f_to_device(scores.device())?;
        cross_entropy(&scores, &targets, Reduction::None)
    }
}
