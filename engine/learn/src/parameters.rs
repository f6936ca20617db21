//! The two stores of a model's tensors: what is frozen and what trains. Freezing is which store a tensor is in; nothing
//! here looks at what a name means.

use std::collections::HashMap;

use tch::Tensor;

use crate::error::{Error, Result};
use crate::optim::Orthogonality;
use crate::weights::Fresh;

/// Tensors by name, in the order in which they were added.
#[derive(Debug, Default)]
pub struct Named {
    entries: Vec<(String, Tensor)>,
    places: HashMap<String, usize>,
}

impl Named {
    fn add(&mut self, name: &str, tensor: Tensor) -> Result<()> {
        if self.places.insert(name.to_owned(), self.entries.len()).is_some() {
            return Err(Error::setting(
                name,
                "two tensors of the model have this name",
                "give each layer of the model a name of its own",
            ));
        }
        self.entries.push((name.to_owned(), tensor));
        Ok(())
    }

    /// Puts another tensor in the place of the one called `name`, if there is one. Handles to that one keep it.
    pub fn replace(&mut self, name: &str, tensor: Tensor) {
        if let Some((_, entry)) = self.places.get(name).and_then(|&place| self.entries.get_mut(place)) {
            *entry = tensor;
        }
    }

    /// The tensor called `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.places.get(name).and_then(|&place| self.entries.get(place)).map(|(_, tensor)| tensor)
    }

    /// All tensors in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.entries.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many numbers the tensors hold together.
    pub fn elements(&self) -> usize {
        self.entries.iter().map(|(_, tensor)| tensor.numel()).sum()
    }
}

/// How a tensor learns, where it is told apart from the others.
#[derive(Debug)]
pub struct Learning {
    /// Its learning rate as a multiple of the optimiser's.
    pub rate: f64,
    /// What its gradient `[rows, columns]` is multiplied with from the right before the optimiser sees it, after clipping:
    /// `[columns, columns]`.
    pub projection: Option<Tensor>,
    /// What is added to the loss for its sake.
    pub penalty: Option<Orthogonality>,
}

impl Default for Learning {
    fn default() -> Self {
        Self { rate: 1.0, projection: None, penalty: None }
    }
}

/// The tensors that train. Each is a leaf that requires a gradient; the model holds handles to the same storage.
#[derive(Debug, Default)]
pub struct Parameters {
    named: Named,
    learning: Vec<Learning>,
    /// Of each tensor, the part of a combined method that added it.
    parts: Vec<usize>,
    part: usize,
}

impl Parameters {
    /// Adds a tensor that trains and returns the model's handle to it. The tensor's storage is taken over.
    pub fn add(&mut self, name: &str, tensor: &Tensor) -> Result<Tensor> {
        let leaf = tensor.f_detach()?.f_set_requires_grad(true)?;
        let handle = leaf.shallow_clone();
        self.named.add(name, leaf)?;
        self.learning.push(Learning::default());
        self.parts.push(self.part);
        Ok(handle)
    }

    /// The same for a tensor that learns in a way of its own.
    pub fn add_learning(&mut self, name: &str, tensor: &Tensor, learning: Learning) -> Result<Tensor> {
        let handle = self.add(name, tensor)?;
        if let Some(last) = self.learning.last_mut() {
            *last = learning;
        }
        Ok(handle)
    }

    /// All parameters in the model's order, with how each learns.
    pub fn learning(&self) -> impl Iterator<Item = (&str, &Tensor, &Learning)> {
        self.iter().zip(&self.learning).map(|((name, tensor), learning)| (name, tensor, learning))
    }

    /// What is added from now on belongs to this part of a combined method. The base model's own tensors and its head
    /// belong to the first.
    pub fn begin_part(&mut self, part: usize) {
        self.part = part;
    }

    /// The parameters that belong to a part, in the model's order.
    pub fn of_part(&self, part: usize) -> impl Iterator<Item = (&str, &Tensor)> {
        self.iter().zip(&self.parts).filter(move |(_, of)| **of == part).map(|(entry, _)| entry)
    }

    /// The parameter called `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.named.get(name)
    }

    /// All parameters in the model's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.named.iter()
    }

    /// How many parameter tensors there are.
    pub fn len(&self) -> usize {
        self.named.len()
    }

    /// Whether nothing trains.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// How many numbers train.
    pub fn elements(&self) -> usize {
        self.named.elements()
    }

    /// Overwrites the values of the parameter `name`; shape and name must be its own. The tensor stays the same leaf,
    /// so that the model and an optimiser see the new values.
    pub fn set(&mut self, name: &str, values: &Tensor) -> Result<()> {
        let Some(parameter) = self.get(name) else {
            let hint = match crate::error::nearest(name, self.iter().map(|(name, _)| name)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "check that the values belong to this model and this method".to_owned(),
            };
            return Err(Error::setting(name, "no tensor that trains has this name", hint));
        };
        if parameter.size() != values.size() {
            return Err(Error::setting(
                name,
                format!("has shape {:?}, the given values have {:?}", parameter.size(), values.size()),
                "check that the values belong to this model, with the same rank",
            ));
        }
        let _guard = tch::no_grad_guard();
        parameter.shallow_clone().f_copy_(values)?;
        Ok(())
    }
}

/// Both stores, and where the first values of new parameters come from. What a method gets to put tensors into.
#[derive(Debug)]
pub struct Stores<'a> {
    /// The tensors that never get a gradient.
    pub frozen: Named,
    /// The tensors that train.
    pub trainable: Parameters,
    /// The source of the first values of new parameters.
    pub fresh: &'a dyn Fresh,
}

impl<'a> Stores<'a> {
    /// Two empty stores; new parameters get their first values from `fresh`.
    pub fn new(fresh: &'a dyn Fresh) -> Self {
        Self { frozen: Named::default(), trainable: Parameters::default(), fresh }
    }

    /// Puts a tensor into the frozen store and returns the model's handle to it.
    pub fn freeze(&mut self, name: &str, tensor: Tensor) -> Result<Tensor> {
        let handle = tensor.shallow_clone();
        self.frozen.add(name, tensor)?;
        Ok(handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn a_parameter_and_its_handle_share_values_and_gradient() {
        let mut parameters = Parameters::default();
        let handle = parameters.add("w", &Tensor::ones([2], (Kind::Float, Device::Cpu))).unwrap();
        parameters.set("w", &Tensor::from_slice(&[3f32, 4.0])).unwrap();
        (&handle * &handle).sum(Kind::Float).backward();
        let gradient = Vec::<f32>::try_from(parameters.get("w").unwrap().grad()).unwrap();
        assert_eq!(gradient, [6.0, 8.0]);
    }

    #[test]
    fn a_wrong_name_or_shape_is_named() {
        let mut parameters = Parameters::default();
        let _handle = parameters.add("layer.lora_A", &Tensor::ones([2], (Kind::Float, Device::Cpu))).unwrap();
        let wrong = parameters.set("layer.lora_a", &Tensor::ones([2], (Kind::Float, Device::Cpu))).unwrap_err();
        assert_eq!(wrong.hint(), Some("did you mean `layer.lora_A`?"));
        let wrong = parameters.set("layer.lora_A", &Tensor::ones([3], (Kind::Float, Device::Cpu))).unwrap_err();
        assert_eq!(wrong.to_string(), "layer.lora_A: has shape [2], the given values have [3]");
    }
}
