//! One buffer for all tensors that train, and one for their gradients, so that an optimiser step is a handful of
//! operations however many tensors there are. The tensors themselves become views of it. Knows names and places, no
//! formula.

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::fused::share_version;
use crate::parameters::Parameters;

/// Every tensor begins at a multiple of so many numbers, as the kernels like it. The numbers between stay zero.
const ALIGNMENT: i64 = 16;

/// The tensors that train, as views of one buffer.
#[derive(Debug)]
pub struct Flat {
    slices: Vec<Slice>,
    values: Tensor,
    gradients: Option<Tensor>,
}

#[derive(Debug)]
struct Slice {
    name: String,
    parameter: Tensor,
    shape: Vec<i64>,
    offset: i64,
    length: i64,
}

impl Slice {
    fn of(&self, buffer: &Tensor) -> Result<Tensor> {
        Ok(buffer.f_narrow(0, self.offset, self.length)?.f_view(self.shape.as_slice())?)
    }
}

impl Flat {
    /// Moves the parameters into one buffer. They stay the same leaves: the model sees what happens to the buffer, and
    /// their versions tell that something did.
    pub fn new(parameters: &Parameters) -> Result<Self> {
        let _guard = tch::no_grad_guard();
        let mut slices = Vec::new();
        let mut offset = 0;
        for (name, parameter) in parameters.iter() {
            let length = i64::try_from(parameter.numel()).unwrap_or(i64::MAX);
            let shape = parameter.size();
            slices.push(Slice { name: name.to_owned(), parameter: parameter.shallow_clone(), shape, offset, length });
            offset += (length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        }
        let device = slices.first().map_or(Device::Cpu, |slice| slice.parameter.device());
        let values = Tensor::f_zeros([offset], (Kind::Float, device))?;
        for slice in &mut slices {
            let mut view = slice.of(&values)?;
            view.f_copy_(&slice.parameter)?;
            slice.parameter.f_set_data(&view)?;
            share_version(&slice.parameter, &values)?;
        }
        Ok(Self { slices, values, gradients: None })
    }

    /// The buffer of all values.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// The names of the tensors that have no gradient after the first backward pass: nothing they do reaches the loss.
    pub fn without_gradient(&self) -> Vec<&str> {
        self.slices.iter().filter(|slice| !slice.parameter.grad().defined()).map(|slice| slice.name.as_str()).collect()
    }

    /// The buffer of all gradients. The first call, after a backward pass, moves them there.
    pub fn gradients(&mut self) -> Result<Tensor> {
        if let Some(gradients) = &self.gradients {
            return Ok(gradients.shallow_clone());
        }
        let _guard = tch::no_grad_guard();
        let gradients = self.values.f_zeros_like()?;
        for slice in &self.slices {
            let mut gradient = slice.parameter.grad();
            if gradient.defined() {
                let mut view = slice.of(&gradients)?;
                view.f_copy_(&gradient)?;
                gradient.f_set_data(&view)?;
            }
        }
        self.gradients = Some(gradients.shallow_clone());
        Ok(gradients)
    }

    /// The names of the tensors whose part of `buffer`, one of this layout, holds a number that is not finite.
    pub fn not_finite(&self, buffer: &Tensor) -> Result<Vec<&str>> {
        let mut names = Vec::new();
        for slice in &self.slices {
            if slice.of(buffer)?.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
                names.push(slice.name.as_str());
            }
        }
        Ok(names)
    }

    /// The parts of `buffer`, one of this layout, by the tensors' names.
    pub fn named(&self, buffer: &Tensor) -> Result<Vec<(String, Tensor)>> {
        self.slices.iter().map(|slice| Ok((slice.name.clone(), slice.of(buffer)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> (Parameters, Tensor, Tensor) {
        let mut parameters = Parameters::default();
        let a = parameters.add("a", &Tensor::from_slice(&[1f32, 2.0, 3.0])).unwrap();
        let b = parameters.add("b", &Tensor::from_slice(&[4f32, 5.0]).view([2, 1])).unwrap();
        (parameters, a, b)
    }

    #[test]
    fn the_model_sees_the_buffer_and_the_buffer_its_gradients() {
        let (parameters, a, b) = parameters();
        let mut flat = Flat::new(&parameters).unwrap();
        let backward = || ((&a * &a).sum(Kind::Float) + (&b * 10.0).sum(Kind::Float)).backward();
        backward();
        assert!(flat.without_gradient().is_empty());
        let first = flat.gradients().unwrap();
        backward();
        assert_eq!(first.sum(Kind::Float).double_value(&[]), 2.0 * (2.0 + 4.0 + 6.0 + 20.0), "passes add up");
        let _ = flat.gradients().unwrap().zero_();
        backward();
        let gradients = flat.gradients().unwrap();
        let named = flat.named(&gradients).unwrap();
        assert_eq!(Vec::<f32>::try_from(&named[0].1).unwrap(), [2.0, 4.0, 6.0]);
        assert_eq!(Vec::<f32>::try_from(named[1].1.view(-1)).unwrap(), [10.0, 10.0]);
        let _ = tch::no_grad(|| flat.values().shallow_clone().fill_(7.0));
        assert_eq!(Vec::<f32>::try_from(&a.detach()).unwrap(), [7.0; 3]);
        assert_eq!(parameters.get("b").unwrap().size(), [2, 1]);
    }

    #[test]
    fn a_tensor_out_of_reach_of_the_loss_is_named() {
        let (parameters, a, _) = parameters();
        let flat = Flat::new(&parameters).unwrap();
        a.sum(Kind::Float).backward();
        assert_eq!(flat.without_gradient(), ["b"]);
    }

    #[test]
    fn the_tensor_with_a_number_that_is_not_finite_is_named() {
        let (parameters, _, b) = parameters();
        let flat = Flat::new(&parameters).unwrap();
        let _ = tch::no_grad(|| b.get(1).fill_(f64::NAN));
        assert_eq!(flat.not_finite(flat.values()).unwrap(), ["b"]);
    }
}
