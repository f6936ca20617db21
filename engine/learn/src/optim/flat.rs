//! One buffer for all tensors that train, and one for their gradients, so that an optimiser step is a handful of
//! operations however many tensors there are. The tensors themselves become views of it. Knows names and places, no
//! formula.

use tch::{Device, Kind, Tensor};

use super::Orthogonality;
use crate::error::Result;
use crate::fused::share_version;
use crate::parameters::Parameters;

/// Every tensor begins at a multiple of so many numbers, as the kernels like it. The numbers between stay zero.
const ALIGNMENT: i64 = 16;

/// The tensors that train, as views of one buffer.
#[derive(Debug)]
pub struct Flat {
    slices: Vec<Slice>,
    groups: Vec<Group>,
    values: Tensor,
    gradients: Option<Tensor>,
}

/// A part of the buffer whose numbers have the same learning rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    /// Where it begins.
    pub offset: i64,
    /// How many numbers it has.
    pub length: i64,
    /// Its learning rate as a multiple of the optimiser's.
    pub rate: f64,
}

#[derive(Debug)]
struct Slice {
    name: String,
    parameter: Tensor,
    shape: Vec<i64>,
    offset: i64,
    length: i64,
    projection: Option<Tensor>,
    penalty: Option<Orthogonality>,
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
        let mut groups: Vec<Group> = Vec::new();
        let mut offset = 0;
        // Those of one learning rate stand together.
        let mut ordered: Vec<_> = parameters.learning().collect();
        ordered.sort_by(|(_, _, one), (_, _, other)| one.rate.total_cmp(&other.rate));
        for (name, parameter, learning) in ordered {
            let length = i64::try_from(parameter.numel()).unwrap_or(i64::MAX);
            slices.push(Slice {
                name: name.to_owned(),
                parameter: parameter.shallow_clone(),
                shape: parameter.size(),
                offset,
                length,
                projection: learning.projection.as_ref().map(Tensor::shallow_clone),
                penalty: learning.penalty,
            });
            let padded = (length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
            match groups.last_mut().filter(|group| group.rate == learning.rate) {
                Some(group) => group.length += padded,
                None => groups.push(Group { offset, length: padded, rate: learning.rate }),
            }
            offset += padded;
        }
        let device = slices.first().map_or(Device::Cpu, |slice| slice.parameter.device());
        let values = Tensor::f_zeros([offset], (Kind::Float, device))?;
        for slice in &mut slices {
            let mut view = slice.of(&values)?;
            view.f_copy_(&slice.parameter)?;
            slice.parameter.f_set_data(&view)?;
            share_version(&slice.parameter, &values)?;
        }
        Ok(Self { slices, groups, values, gradients: None })
    }

    /// The buffer of all values.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// Its parts by learning rate.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Adds the gradients of all penalties to `gradients`. Returns the sum of the penalties, one number, if there are any.
    pub fn penalize(&self, gradients: &Tensor) -> Result<Option<Tensor>> {
        let _guard = tch::no_grad_guard();
        let mut sum: Option<Tensor> = None;
        for slice in &self.slices {
            let Some(penalty) = &slice.penalty else { continue };
            let (value, gradient) = penalty.of(&slice.parameter)?;
            let _ = slice.of(gradients)?.f_add_(&gradient)?;
            sum = Some(match sum {
                Some(sum) => sum.f_add(&value)?,
                None => value,
            });
        }
        Ok(sum)
    }

    /// Projects those of `gradients` that have a projection.
    pub fn project(&self, gradients: &Tensor) -> Result<()> {
        let _guard = tch::no_grad_guard();
        for slice in &self.slices {
            if let Some(projection) = &slice.projection {
                let mut gradient = slice.of(gradients)?;
                let projected = gradient.f_matmul(projection)?;
                gradient.f_copy_(&projected)?;
            }
        }
        Ok(())
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
    use crate::optim::{AdamW, Moments, Side};
    use crate::parameters::Learning;

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
    fn each_learns_at_its_rate_by_its_projection_and_with_its_penalty() {
        let mut parameters = Parameters::default();
        let with = |rate, projection, penalty| Learning { rate, projection, penalty };
        let slow = |at: &[f32]| Tensor::from_slice(at).view([1, 2]);
        let penalty = Orthogonality { side: Side::Rows, weight: 0.5 };
        let _fast = parameters.add_learning("fast", &slow(&[1.0, 1.0]), with(4.0, None, None)).unwrap();
        let _one = parameters.add("one", &slow(&[1.0, 1.0])).unwrap();
        let _held = parameters.add_learning("held", &slow(&[2.0, 0.0]), with(1.0, None, Some(penalty))).unwrap();
        let turned = Tensor::from_slice(&[0f32, 2.0, 1.0, 0.0]).view([2, 2]);
        let _turned = parameters.add_learning("turned", &slow(&[0.0, 0.0]), with(4.0, Some(turned), None)).unwrap();
        let flat = Flat::new(&parameters).unwrap();
        let group = |offset, rate| Group { offset, length: 32, rate };
        assert_eq!(flat.groups(), [group(0, 1.0), group(32, 4.0)]);
        let gradients = flat.values().ones_like();
        let sum = flat.penalize(&gradients).unwrap().unwrap();
        assert_eq!(sum.double_value(&[]), 0.5 * 9.0);
        flat.project(&gradients).unwrap();
        let named: Vec<_> = flat.named(&gradients).unwrap();
        let of = |wanted: &str| {
            let (_, tensor) = named.iter().find(|(name, _)| name == wanted).unwrap();
            Vec::<f32>::try_from(tensor.view(-1)).unwrap()
        };
        assert_eq!(of("one"), [1.0, 1.0]);
        assert_eq!(of("held"), [1.0 + 2.0 * 3.0 * 2.0, 1.0], "4 · weight · (MMᵀ − I)M");
        assert_eq!(of("turned"), [1.0, 2.0]);
        let adamw = AdamW { weight_decay: 0.5, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
        let mut moments = Moments::zero(flat.values()).unwrap();
        adamw.step(flat.values(), &gradients, &mut moments, flat.groups(), 0.01).unwrap();
        let value = |name: &str| parameters.get(name).unwrap().double_value(&[0, 0]);
        assert!((value("one") - (0.995 - 0.01)).abs() < 1e-6, "{}", value("one"));
        assert!((value("fast") - (0.98 - 0.04)).abs() < 1e-6, "{}", value("fast"));
        assert_eq!(moments.steps, 1);
    }

    #[test]
    fn the_tensor_with_a_number_that_is_not_finite_is_named() {
        let (parameters, _, b) = parameters();
        let flat = Flat::new(&parameters).unwrap();
        let _ = tch::no_grad(|| b.get(1).fill_(f64::NAN));
        assert_eq!(flat.not_finite(flat.values()).unwrap(), ["b"]);
    }
}
