//! A change ΔW of a matrix W `[outputs, inputs]` in float64, in the form in which it was learned, and what every analysis
//! asks of it: sums over its rows, its singular values, and its main directions. Knows no file.

use tch::{Kind, Tensor};

use crate::error::Result;

/// What became of a matrix.
#[derive(Debug)]
pub enum Change {
    /// ΔW = BA.
    Factors(Factors),
    /// DoRA's: ΔW = diag(m / ‖W + BA‖) (W + BA) − W, with norms over output rows and the magnitudes m `[outputs]`.
    Decomposed(Factors, Tensor),
    /// The whole matrix as it is now: ΔW = W' − W.
    Whole(Tensor),
}

/// A product of two small matrices.
#[derive(Debug)]
pub struct Factors {
    /// `[rank, inputs]`
    pub a: Tensor,
    /// `[outputs, rank]`, the scale in it.
    pub b: Tensor,
}

/// Sums over the inputs of each output row n of W and of a change D of its direction: BA, or W' − W.
#[derive(Debug)]
pub struct Rows {
    /// ‖Wₙ‖²
    pub weight: Vec<f64>,
    /// ⟨Dₙ, Wₙ⟩
    pub product: Vec<f64>,
    /// ‖Dₙ‖²
    pub change: Vec<f64>,
    /// The magnitude that the row has instead of ‖Wₙ + Dₙ‖, where it has one of its own.
    pub magnitude: Option<Vec<f64>>,
}

/// The main directions of a matrix.
#[derive(Debug)]
pub struct Directions {
    /// Left singular vectors `[outputs, count]`.
    pub left: Tensor,
    /// Right singular vectors `[inputs, count]`.
    pub right: Tensor,
}

impl Directions {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.right.size().last().copied().unwrap_or_default().unsigned_abs()
    }
}

/// Singular values below this part of the largest are rounding.
const ROUNDING: f64 = 1e-10;

impl Change {
    /// The rank of its factors, where it has some.
    pub fn rank(&self) -> Option<u64> {
        self.a().and_then(|a| a.size().first().map(|rank| rank.unsigned_abs()))
    }

    /// Whether it has the shape of this matrix.
    pub fn fits(&self, weight: &Tensor) -> bool {
        let product = |Factors { a, b }: &Factors| match (b.size().as_slice(), a.size().as_slice()) {
            ([outputs, rank], [also_rank, inputs]) if rank == also_rank => vec![*outputs, *inputs],
            _ => Vec::new(),
        };
        let shape = match self {
            Self::Factors(factors) | Self::Decomposed(factors, _) => product(factors),
            Self::Whole(now) => now.size(),
        };
        let has_magnitudes = match self {
            Self::Decomposed(_, magnitude) => magnitude.size().first() == shape.first(),
            _ => true,
        };
        has_magnitudes && shape == weight.size()
    }

    /// A, where it has one.
    pub fn a(&self) -> Option<&Tensor> {
        match self {
            Self::Factors(factors) | Self::Decomposed(factors, _) => Some(&factors.a),
            Self::Whole(_) => None,
        }
    }

    /// Sums over the rows of `weight`, W, and of this change; for factors without BA itself: ⟨BA, W⟩ = Σ (WAᵀ) ⊙ B and
    /// ‖BA‖² = Σ (B AAᵀ) ⊙ B.
    pub fn rows(&self, weight: &Tensor) -> Result<Rows> {
        let sums = |one: &Tensor, other: &Tensor| -> Result<Vec<f64>> { numbers(&summed(&one.f_mul(other)?)?) };
        let squares = sums(weight, weight)?;
        let (product, change, magnitude) = match self {
            Self::Factors(Factors { a, b }) | Self::Decomposed(Factors { a, b }, _) => {
                let at = a.f_transpose(0, 1)?;
                let product = sums(&weight.f_matmul(&at)?, b)?;
                let change = sums(&b.f_matmul(&a.f_matmul(&at)?)?, b)?;
                let magnitude = match self {
                    Self::Decomposed(_, magnitude) => Some(numbers(magnitude)?),
                    _ => None,
                };
                (product, change, magnitude)
            }
            Self::Whole(now) => {
                let difference = now.f_sub(weight)?;
                (sums(&difference, weight)?, sums(&difference, &difference)?, None)
            }
        };
        let change = change.into_iter().map(|square| square.max(0.0)).collect();
        Ok(Rows { weight: squares, product, change, magnitude })
    }

    /// ΔW itself.
    pub fn dense(&self, weight: &Tensor) -> Result<Tensor> {
        match self {
            Self::Factors(Factors { a, b }) => Ok(b.f_matmul(a)?),
            Self::Decomposed(Factors { a, b }, magnitude) => {
                let sum = weight.f_add(&b.f_matmul(a)?)?;
                let norms = summed(&sum.f_mul(&sum)?)?.f_sqrt()?;
                // A row of zeros stays one.
                let ratio = magnitude.f_div(&norms)?.f_where_self(&norms.f_gt(0.0)?, &norms.f_ones_like()?)?;
                Ok(sum.f_mul(&ratio.f_unsqueeze(1)?)?.f_sub(weight)?)
            }
            Self::Whole(now) => Ok(now.f_sub(weight)?),
        }
    }

    /// The singular values of ΔW, falling. Those of factors are found from two QR decompositions of the factors' sizes.
    pub fn singular_values(&self, weight: &Tensor) -> Result<Vec<f64>> {
        let matrix = match self {
            Self::Factors(factors) => factors.core()?.1,
            _ => self.dense(weight)?,
        };
        let (_, values, _) = matrix.f_svd(true, false)?;
        numbers(&values)
    }

    /// The singular vectors of ΔW with the `most` largest singular values; fewer where it has no more directions.
    pub fn directions(&self, weight: &Tensor, most: u64) -> Result<Directions> {
        let (left, core, right) = match self {
            Self::Factors(factors) => factors.core()?,
            _ => {
                let (left, values, right) = self.dense(weight)?.f_svd(true, true)?;
                let count = count_of(&values, most)?;
                return Ok(Directions { left: left.f_narrow(1, 0, count)?, right: right.f_narrow(1, 0, count)? });
            }
        };
        let (u, values, v) = core.f_svd(true, true)?;
        let count = count_of(&values, most)?;
        let of = |orthogonal: Tensor, vectors: Tensor| -> Result<Tensor> {
            Ok(orthogonal.f_matmul(&vectors.f_narrow(1, 0, count)?)?)
        };
        Ok(Directions { left: of(left, u)?, right: of(right, v)? })
    }
}

impl Factors {
    /// Q₁, R₁R₂ᵀ and Q₂ with B = Q₁R₁ and Aᵀ = Q₂R₂: BA = Q₁ (R₁R₂ᵀ) Q₂ᵀ.
    fn core(&self) -> Result<(Tensor, Tensor, Tensor)> {
        let (left, r1) = Tensor::f_linalg_qr(&self.b, "reduced")?;
        let (right, r2) = Tensor::f_linalg_qr(&self.a.f_transpose(0, 1)?, "reduced")?;
        Ok((left, r1.f_matmul(&r2.f_transpose(0, 1)?)?, right))
    }
}

/// How many of these falling singular values are no rounding, at most so many.
pub(super) fn count_of(values: &Tensor, most: u64) -> Result<i64> {
    let values = numbers(values)?;
    let largest = values.first().copied().unwrap_or_default();
    let count = values.iter().filter(|value| **value > largest * ROUNDING).count() as u64;
    Ok(i64::try_from(count.min(most)).unwrap_or(i64::MAX))
}

fn summed(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Double)?)
}

/// The numbers of a float64 vector.
pub(super) fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(Vec::<f64>::try_from(&tensor.f_contiguous()?)?)
}

impl Rows {
    /// ‖W‖².
    pub fn weight_square(&self) -> f64 {
        self.weight.iter().sum()
    }

    /// ‖ΔW‖²: of a row Σ ((c − 1) Wₙ + c Dₙ)², where c is its magnitude over ‖Wₙ + Dₙ‖, and 1 without one.
    pub fn update_square(&self) -> f64 {
        let rows = self.each().map(|row| {
            let less = row.magnitude.filter(|_| row.norm() > 0.0).map_or(0.0, |m| (m - row.norm()) / row.norm());
            let ratio = 1.0 + less;
            less * less * row.weight + 2.0 * ratio * less * row.product + ratio * ratio * row.change
        });
        rows.sum::<f64>().max(0.0)
    }

    /// The rows one by one.
    pub(super) fn each(&self) -> impl Iterator<Item = Row> {
        let sums = self.weight.iter().zip(&self.product).zip(&self.change).enumerate();
        sums.map(|(index, ((&weight, &product), &change))| Row {
            weight,
            product,
            change,
            magnitude: self.magnitude.as_ref().and_then(|all| all.get(index).copied()),
        })
    }
}

/// The sums of one row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub weight: f64,
    pub product: f64,
    pub change: f64,
    pub magnitude: Option<f64>,
}

impl Row {
    /// ‖Wₙ + Dₙ‖.
    pub fn norm(&self) -> f64 {
        (self.weight + 2.0 * self.product + self.change).max(0.0).sqrt()
    }
}
