//! A penalty on matrices whose columns or rows are not orthonormal, with its gradient. Knows one matrix at a time.

use tch::{Kind, Tensor};

use crate::error::Result;

/// `weight · ‖MᵀM − I‖²` or `weight · ‖MMᵀ − I‖²`, squared Frobenius norms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Orthogonality {
    /// What should be orthonormal.
    pub side: Side,
    /// What the squared distance is multiplied with.
    pub weight: f64,
}

/// The vectors of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Its rows.
    Rows,
    /// Its columns.
    Columns,
}

impl Orthogonality {
    /// The penalty of `matrix`, one number, and its gradient: `4 · weight · M(MᵀM − I)` or `4 · weight · (MMᵀ − I)M`.
    pub fn of(&self, matrix: &Tensor) -> Result<(Tensor, Tensor)> {
        let matrix = matrix.f_detach()?;
        let transposed = matrix.f_transpose(0, 1)?;
        let product = match self.side {
            Side::Rows => matrix.f_matmul(&transposed)?,
            Side::Columns => transposed.f_matmul(&matrix)?,
        };
        let identity = Tensor::f_eye(product.size2()?.0, (product.f_kind()?, product.device()))?;
        let distance = product.f_sub(&identity)?;
        let penalty = distance.f_square()?.f_sum(Kind::Float)?.f_mul_scalar(self.weight)?;
        let gradient = match self.side {
            Side::Rows => distance.f_matmul(&matrix)?,
            Side::Columns => matrix.f_matmul(&distance)?,
        };
        Ok((penalty, gradient.f_mul_scalar(4.0 * self.weight)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn the_gradient_is_that_of_the_formula() {
        let values: Vec<f64> = (0..12).map(|at| f64::from(at * 7 % 11) / 5.0 - 1.0).collect();
        let matrix = Tensor::from_slice(&values).view([4, 3]).set_requires_grad(true);
        for side in [Side::Rows, Side::Columns] {
            let penalty = Orthogonality { side, weight: 0.3 };
            let product = match side {
                Side::Rows => matrix.matmul(&matrix.tr()),
                Side::Columns => matrix.tr().matmul(&matrix),
            };
            let identity = Tensor::eye(product.size()[0], (Kind::Double, Device::Cpu));
            let expected = (product - identity).square().sum(Kind::Double) * 0.3;
            let gradient = Tensor::run_backward(&[&expected], &[&matrix], false, false).remove(0);
            let (value, found) = penalty.of(&matrix).unwrap();
            assert!((value.double_value(&[]) / expected.double_value(&[]) - 1.0).abs() < 1e-6);
            assert!((found - &gradient).abs().max().double_value(&[]) < 1e-12, "{side:?}");
        }
    }

    #[test]
    fn what_is_orthonormal_has_neither_penalty_nor_gradient() {
        let matrix = Tensor::eye(3, (Kind::Float, Device::Cpu)).narrow(1, 0, 2);
        let (value, gradient) = Orthogonality { side: Side::Columns, weight: 1.0 }.of(&matrix).unwrap();
        assert_eq!((value.double_value(&[]), gradient.abs().max().double_value(&[])), (0.0, 0.0));
    }
}
