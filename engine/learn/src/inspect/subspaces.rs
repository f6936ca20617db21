//! How alike the directions are that two trainings learned. Hu et al., LoRA: Low-Rank Adaptation of Large Language Models
//! (arXiv 2106.09685), section 7.2, equation 4, and appendix G: φ(A₁, A₂, i, j) = ‖U₁,ᵢᵀ U₂,ⱼ‖² / min(i, j), where U₁,ᵢ are
//! the i right singular vectors of A₁ with the largest singular values. Knows vectors; no matrix of a model.

use tch::{Kind, Tensor};

use super::change::count_of;
use crate::error::Result;

/// The right singular vectors `[inputs, count]` of A `[rank, inputs]`, those of the largest singular values first.
pub fn right_vectors(a: &Tensor) -> Result<Tensor> {
    let (_, values, right) = a.f_svd(true, true)?;
    Ok(right.f_narrow(1, 0, count_of(&values, u64::MAX)?)?)
}

/// φ(i, j) of the vectors `[inputs, count]` of two trainings, a row for each i of the first one's numbers of directions.
/// Each is 1 or more and at most that one's count.
pub fn similarity(first: &Tensor, second: &Tensor, i: &[u64], j: &[u64]) -> Result<Vec<Vec<f64>>> {
    let product = first.f_transpose(0, 1)?.f_matmul(second)?;
    // ‖U₁,ᵢᵀ U₂,ⱼ‖² is the sum of the squares of the first i rows and j columns.
    let sums = product.f_square()?.f_cumsum(0, Kind::Double)?.f_cumsum(1, Kind::Double)?;
    let at = |i: u64, j: u64| -> Result<f64> {
        let place = [i, j].map(|number| i64::try_from(number.saturating_sub(1)).unwrap_or(i64::MAX));
        Ok(sums.f_double_value(&place)? / i.min(j).max(1) as f64)
    };
    i.iter().map(|&i| j.iter().map(|&j| at(i, j)).collect()).collect()
}

/// The numbers of directions that are looked at of `count`: 1 to 8, powers of two, and all.
pub fn usual_numbers(count: u64) -> Vec<u64> {
    let powers = (4..u64::BITS).map(|power| 1_u64 << power);
    let mut numbers: Vec<u64> = (1..=8).chain(powers).take_while(|number| *number < count).collect();
    if count > 0 {
        numbers.push(count);
    }
    numbers
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_of_directions() {
        assert_eq!(super::usual_numbers(0), [0; 0]);
        assert_eq!(super::usual_numbers(1), [1]);
        assert_eq!(super::usual_numbers(8), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(super::usual_numbers(20), [1, 2, 3, 4, 5, 6, 7, 8, 16, 20]);
        assert_eq!(super::usual_numbers(64), [1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64]);
    }
}
