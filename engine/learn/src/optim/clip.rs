//! Clipping by the norm of all gradients together, as `torch.nn.utils.clip_grad_norm_`, without waiting for the device.

use tch::Tensor;

use crate::error::Result;

/// What PyTorch adds to the norm before it divides.
const EPSILON: f64 = 1e-6;

/// Scales `gradients` in place so that their norm is at most `bound`, where there is one. Returns the norm before, a
/// tensor of one number on their device.
pub fn clip(gradients: &Tensor, bound: Option<f64>) -> Result<Tensor> {
    let _guard = tch::no_grad_guard();
    let norm = gradients.f_norm()?;
    if let Some(bound) = bound {
        let scale = norm.f_add_scalar(EPSILON)?.f_reciprocal()?.f_mul_scalar(bound)?.f_clamp_max(1.0)?;
        let _ = gradients.shallow_clone().f_mul_(&scale)?;
    }
    Ok(norm)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clipped(bound: Option<f64>) -> (f64, Vec<f32>) {
        let gradients = Tensor::from_slice(&[3f32, -4.0]);
        let norm = clip(&gradients, bound).unwrap();
        (norm.double_value(&[]), Vec::try_from(&gradients).unwrap())
    }

    #[test]
    fn a_large_norm_becomes_the_bound_and_a_small_one_stays() {
        assert_eq!(clipped(None), (5.0, vec![3.0, -4.0]));
        assert_eq!(clipped(Some(6.0)), (5.0, vec![3.0, -4.0]));
        let (norm, values) = clipped(Some(1.0));
        assert_eq!(norm, 5.0);
        for (value, wanted) in values.iter().zip([0.6, -0.8]) {
            assert!((f64::from(*value) - wanted).abs() < 1e-6, "{values:?}");
        }
    }
}
