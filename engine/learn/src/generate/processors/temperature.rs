//! How far apart scores are.

use tch::{Kind, Tensor};

use super::{Processor, Written};
use crate::error::Result;

/// Scores are divided by this: below 1 the likely become likelier.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Temperature(pub f64);

/// Scores become the logarithms of probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renormalize;

impl Processor for Temperature {
    fn process(&self, scores: &Tensor, _: &[Written]) -> Result<Tensor> {
        Ok(scores.f_div_scalar(self.0)?)
    }
}

impl Processor for Renormalize {
    fn process(&self, scores: &Tensor, _: &[Written]) -> Result<Tensor> {
        Ok(scores.f_log_softmax(-1, Kind::Float)?)
    }
}
