//! Which token comes next, row for row. Knows scores; no text.

use std::fmt::Debug;

use tch::{Kind, Tensor};

use super::draws::{Draw, Draws};
use crate::error::Result;

/// A way to choose the next token of a row from its scores.
pub trait Choose: Debug {
    /// An id for each row of the scores `[rows, vocabulary]`; none where the scores do not say which. `draws` are what the
    /// rows' random numbers belong to.
    fn choose(&self, scores: &Tensor, draws: &[Draw<'_>]) -> Result<Vec<Option<i64>>>;
}

/// The highest score; among equal ones the lowest id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greedy;

/// An id drawn by the probabilities that are the softmax of the scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The seed of what is drawn.
    pub seed: u64,
}

impl Choose for Greedy {
    fn choose(&self, scores: &Tensor, _: &[Draw<'_>]) -> Result<Vec<Option<i64>>> {
        let (highest, ids) = scores.f_max_dim(-1, false)?;
        // One transfer for both.
        let both = Tensor::f_stack(&[highest.f_to_kind(Kind::Double)?, ids.f_to_kind(Kind::Double)?], 0)?;
        let both = Vec::<f64>::try_from(both.f_reshape([-1])?)?;
        let (highest, ids) = both.split_at(both.len() / 2);
        Ok(highest.iter().zip(ids).map(|(score, &id)| (!score.is_nan()).then_some(id as i64)).collect())
    }
}

impl Choose for Sample {
    fn choose(&self, scores: &Tensor, draws: &[Draw<'_>]) -> Result<Vec<Option<i64>>> {
        // The id at which the sum of probabilities passes a random number; in float64, so that none is lost.
        let sums = scores.f_softmax(-1, Kind::Float)?.f_cumsum(-1, Kind::Double)?;
        let last = sums.f_narrow(1, sums.size2()?.1 - 1, 1)?;
        let numbers: Vec<f64> = draws.iter().map(|&draw| Draws::new(self.seed, draw).uniform()).collect();
        let numbers = Tensor::f_from_slice(&numbers)?.f_to_device(scores.device())?.f_unsqueeze(1)?.f_mul(&last)?;
        let ids = numbers.f_searchsorted(&sums, false, true, "right", None::<&Tensor>)?;
        let both = Tensor::f_cat(&[last, ids.f_to_kind(Kind::Double)?], 1)?;
        let both = Vec::<f64>::try_from(both.f_reshape([-1])?)?;
        let pairs = both.chunks_exact(2).map(|pair| match pair {
            &[sum, id] if sum.is_finite() => Some(id as i64),
            _ => None,
        });
        Ok(pairs.collect())
    }
}
