//! T5's relative positions: a learned number for each head and each class of distances, added to the attention's scores.
//! Raffel et al. (arXiv 1910.10683), section 2.1; classes as in the published checkpoints.

use tch::{Device, Kind, Tensor};

use crate::error::Result;

/// Distances in classes, and what each class adds to the scores.
#[derive(Debug)]
pub struct RelativePositions {
    /// `[classes, heads]`
    weight: Tensor,
    buckets: Buckets,
}

/// How distances are put into classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buckets {
    /// How many classes there are.
    pub count: i64,
    /// The distance from which on all are one class.
    pub max_distance: i64,
    /// Which keys a query may look at.
    pub sight: Sight,
}

/// Which keys a query may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// All: half of the classes are for what stands behind.
    Both,
    /// Those before it and its own.
    Back,
}

impl RelativePositions {
    /// Numbers `[classes, heads]` for these classes.
    pub fn new(weight: Tensor, buckets: Buckets) -> Self {
        Self { weight, buckets }
    }

    /// What is added to the scores of queries at positions `first` to `first + queries` for keys from 0 to `keys`,
    /// `[1, heads, queries, keys]`; minus infinity where a key may not be seen.
    pub fn bias(&self, first: i64, queries: i64, keys: i64) -> Result<Tensor> {
        let device = self.weight.device();
        let at = |from: i64, count: i64| Tensor::f_arange_start(from, from + count, (Kind::Int64, device));
        let distance = at(0, keys)?.f_unsqueeze(0)?.f_sub(&at(first, queries)?.f_unsqueeze(1)?)?;
        let classes = self.buckets.classes(&distance)?;
        let bias =
            Tensor::f_embedding(&self.weight, &classes, -1, false, false)?.f_permute([2, 0, 1])?.f_unsqueeze(0)?;
        match self.buckets.sight {
            Sight::Both => Ok(bias),
            Sight::Back => Ok(bias.f_masked_fill(&distance.f_gt(0)?, f64::NEG_INFINITY)?),
        }
    }
}

impl Buckets {
    /// The class of each distance, key minus query: small ones have a class each, larger ones share classes that grow
    /// with the logarithm.
    fn classes(self, distance: &Tensor) -> Result<Tensor> {
        let (count, beyond, distance) = match self.sight {
            Sight::Both => {
                let half = self.count / 2;
                let behind = distance.f_gt(0)?.f_to_kind(Kind::Int64)?.f_mul_scalar(half)?;
                (half, behind, distance.f_abs()?)
            }
            Sight::Back => (self.count, distance.f_zeros_like()?, distance.f_clamp_max(0)?.f_neg()?),
        };
        let exact = count / 2;
        let scale = (self.max_distance as f64 / exact as f64).ln();
        let large = distance
            .f_clamp_min(1)?
            .f_to_kind(Kind::Float)?
            .f_div_scalar(exact)?
            .f_log()?
            .f_div_scalar(scale)?
            .f_mul_scalar(count - exact)?
            .f_to_kind(Kind::Int64)?
            .f_add_scalar(exact)?
            .f_clamp_max(count - 1)?;
        Ok(distance.f_where_self(&distance.f_lt(exact)?, &large)?.f_add(&beyond)?)
    }
}

/// The mask of a text as numbers that are added to scores: zero, or minus infinity where a key may not be seen.
pub fn as_bias(mask: &Tensor, device: Device) -> Result<Tensor> {
    let zero = Tensor::f_zeros(mask.size(), (Kind::Float, device))?;
    Ok(zero.f_masked_fill(&mask.f_logical_not()?, f64::NEG_INFINITY)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(sight: Sight, count: i64, max_distance: i64, distances: &[i64]) -> Vec<i64> {
        let buckets = Buckets { count, max_distance, sight };
        Vec::try_from(buckets.classes(&Tensor::from_slice(distances)).unwrap()).unwrap()
    }

    #[test]
    fn distances_have_the_classes_of_the_published_code() {
        // By transformers' T5Attention._relative_position_bucket.
        let distances = [-200, -128, -127, -40, -16, -9, -8, -7, -1, 0, 1, 7, 8, 12, 30, 127, 500];
        assert_eq!(
            classes(Sight::Both, 32, 128, &distances),
            [15, 15, 15, 12, 10, 8, 8, 7, 1, 0, 17, 23, 24, 25, 27, 31, 31]
        );
        assert_eq!(classes(Sight::Back, 32, 128, &distances), [31, 31, 31, 23, 16, 9, 8, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
