//! Unlikely ids are ruled out before one is drawn. Each filter keeps at least so many ids: with beams one more than there
//! are ids that end a text.

use tch::{Kind, Tensor};

use super::{Processor, Written, masked};
use crate::error::Result;

/// The ids of the highest scores, so many, are kept, and those whose score equals the last one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopK {
    /// How many.
    pub count: i64,
    /// Ids that are kept at least.
    pub least: i64,
}

/// The fewest likeliest ids are kept whose probabilities come to this (Holtzman et al., arXiv 1904.09751, section 3.1): from
/// the unlikeliest on, ids go while what has gone comes to no more than `1 - p`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TopP {
    /// The sum of probabilities.
    pub p: f64,
    /// Ids that are kept at least.
    pub least: i64,
}

/// Ids that are less likely than this part of the likeliest go (Nguyen et al., arXiv 2407.01082).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MinP {
    /// The part.
    pub p: f64,
    /// Ids that are kept at least.
    pub least: i64,
}

/// Those ids are kept whose surprise is nearest to what is expected, until their probabilities come to this (Meister et al.,
/// arXiv 2202.00666).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TypicalP {
    /// The sum of probabilities.
    pub p: f64,
    /// Ids that are kept at least.
    pub least: i64,
}

/// Ids that are less likely than this go (Hewitt et al., arXiv 2210.15191, section 4.2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpsilonCutoff {
    /// The probability.
    pub epsilon: f64,
    /// Ids that are kept at least.
    pub least: i64,
}

/// Ids that are less likely than `min(ε, √ε · exp(-entropy))` go (Hewitt et al., arXiv 2210.15191, section 4.2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EtaCutoff {
    /// ε.
    pub epsilon: f64,
    /// Ids that are kept at least.
    pub least: i64,
}

/// The score of the last of the `count` highest of each row, `[rows, 1]`.
fn lowest_of_highest(scores: &Tensor, count: i64) -> Result<Tensor> {
    let count = count.min(scores.size2()?.1);
    let (highest, _) = scores.f_topk(count, -1, true, true)?;
    Ok(highest.f_narrow(-1, count - 1, 1)?)
}

/// `out` in the order of the ids, where it stands in the order `order`.
fn unsorted(out: &Tensor, order: &Tensor) -> Result<Tensor> {
    Ok(out.f_scatter(1, order, out)?)
}

impl Processor for TopK {
    fn process(&self, scores: &Tensor, _: &[Written]) -> Result<Tensor> {
        let lowest = lowest_of_highest(scores, self.count.max(self.least))?;
        masked(scores, &scores.f_lt_tensor(&lowest)?)
    }
}

impl Processor for TopP {
    fn process(&self, scores: &Tensor, _: &[Written]) -> Result<Tensor> {
        let (sorted, order) = scores.f_sort(-1, false)?;
        let out = sorted.f_softmax(-1, Kind::Float)?.f_cumsum(-1, Kind::Float)?.f_le(1.0 - self.p)?;
        let ids = scores.size2()?.1;
        let least = self.least.min(ids);
        let _ = out.f_narrow(1, ids - least, least)?.f_fill_(0)?;
        masked(scores, &unsorted(&out, &order)?)
    }
}

impl Processor for MinP {
    fn process(&self, scores: &Tensor, _: &[Written]) -> Result<Tensor> {
        let likely = scores.f_softmax(-1, Kind::Float)?;
        let out = likely.f_lt_tensor(&likely.f_amax([-1], true)?.f_mul_scalar(self.p)?)?;
        let (_, kept) = likely.f_topk(self.least.min(scores.size2()?.1), -1, true, true)?;
        masked(scores, &out.f_scatter_value(-1, &kept, 0)?)
    }
}

impl Processor for TypicalP {
    fn process(&self, scores: &Tensor, _: &[Written]) -> Result<Tensor> {
        let surprise = scores.f_log_softmax(-1, Kind::Float)?.f_neg()?;
        let expected = surprise.f_mul(&surprise.f_neg()?.f_exp()?)?.f_nansum([-1].as_slice(), true, Kind::Float)?;
        let (sorted, order) = surprise.f_sub(&expected)?.f_abs()?.f_sort(-1, false)?;
        let sums = scores.f_gather(-1, &order, false)?.f_softmax(-1, Kind::Float)?.f_cumsum(-1, Kind::Float)?;
        let ids = scores.size2()?.1;
        let last = sums.f_lt(self.p)?.f_sum_dim_intlist([1].as_slice(), true, Kind::Int64)?.f_clamp_max(ids - 1)?;
        let out = sorted.f_gt_tensor(&sorted.f_gather(1, &last, false)?)?;
        let _ = out.f_narrow(1, 0, self.least.min(ids))?.f_fill_(0)?;
        masked(scores, &unsorted(&out, &order)?)
    }
}

impl Processor for EpsilonCutoff {
    fn process(&self, scores: &Tensor, _: &[Written]) -> Result<Tensor> {
        let unlikely = scores.f_softmax(-1, Kind::Float)?.f_lt(self.epsilon)?;
        let low = scores.f_lt_tensor(&lowest_of_highest(scores, self.least)?)?;
        masked(scores, &unlikely.f_logical_and(&low)?)
    }
}

impl Processor for EtaCutoff {
    fn process(&self, scores: &Tensor, _: &[Written]) -> Result<Tensor> {
        let logarithms = scores.f_log_softmax(-1, Kind::Float)?;
        let likely = logarithms.f_exp()?;
        // Ids that were ruled out have no part in the entropy.
        let negentropy = likely.f_mul(&logarithms.f_clamp_min(f64::from(f32::MIN))?)?.f_sum_dim_intlist(
            [-1].as_slice(),
            true,
            Kind::Float,
        )?;
        let eta = negentropy.f_exp()?.f_mul_scalar(self.epsilon.sqrt())?.f_clamp_max(self.epsilon)?;
        let low = scores.f_lt_tensor(&lowest_of_highest(scores, self.least)?)?;
        masked(scores, &likely.f_lt_tensor(&eta)?.f_logical_and(&low)?)
    }
}
