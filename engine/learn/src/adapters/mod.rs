//! Fine-tuning methods: what each does to the base model's tensors and linear maps, what trains, how it merges, and how
//! it is saved. Knows no model family, no optimiser and no pipeline file.

mod dora;
mod frozen;
mod full;
mod lora;

use std::fmt::Debug;
use std::path::Path;
use std::rc::Rc;

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::layers::{Linear, LinearMap};
use crate::models::Model;
use crate::parameters::Stores;
use crate::peft::{self, AdapterConfig};
use crate::targets::Place;

pub use dora::Dora;
pub use frozen::Frozen;
pub use full::Full;
pub use lora::Lora;

/// A fine-tuning method.
pub trait Method: Debug {
    /// Its name in a pipeline file.
    fn name(&self) -> &'static str;

    /// The kind in which the base model's tensors are kept, where `frozen` is that of tensors that do not train.
    fn kept_as(&self, frozen: Kind) -> Kind {
        frozen
    }

    /// Takes over a tensor of the base model: puts it into one of the stores and returns the model's handle to it.
    /// Most methods freeze it.
    fn own(&self, name: &str, tensor: Tensor, stores: &mut Stores) -> Result<Tensor> {
        stores.freeze(name, tensor)
    }

    /// Takes over a tensor of the task's head. It trains whole: a head that was newly made knows nothing yet.
    fn own_head(&self, name: &str, tensor: Tensor, stores: &mut Stores) -> Result<Tensor> {
        stores.trainable.add(name, &tensor)
    }

    /// What becomes of the linear map at `place`. Its tensors are already in the stores; what the method adds goes into
    /// `stores.trainable`, named `<place>.<what>`.
    fn linear(&self, place: &Place, plain: Linear, stores: &mut Stores) -> Result<Rc<dyn LinearMap>> {
        let _ = (place, stores);
        Ok(Rc::new(plain))
    }

    /// What it puts beside the linear map at `place`, where it changes that one: the sizes of what `linear` makes.
    fn beside(&self, place: &Place) -> Option<Beside> {
        let _ = place;
        None
    }

    /// Checks, when all linear maps are known, that the method found what it is to change.
    fn check(&self, places: &[&Place]) -> Result<()> {
        let _ = places;
        Ok(())
    }

    /// Saves what was trained into `folder`, in the form that other tools read. `base` is the name or path of the base
    /// model, where it is known.
    fn save(&self, model: &Model, base: Option<&str>, folder: &Path) -> Result<()>;
}

/// What a method puts beside a linear map: two factors, `[rank, inputs]` and `[outputs, rank]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beside {
    /// The smaller size of both factors.
    pub rank: i64,
    /// Whether their input has dropout.
    pub dropout: bool,
    /// Whether there is a magnitude for each output.
    pub decomposed: bool,
}

impl Beside {
    /// The names and shapes of its tensors beside the map `name` with a weight `[outputs, inputs]`.
    pub fn tensors(&self, name: &str, [outputs, inputs]: [i64; 2]) -> Vec<(String, Vec<i64>)> {
        let mut tensors = vec![
            (format!("{name}.lora_A.weight"), vec![self.rank, inputs]),
            (format!("{name}.lora_B.weight"), vec![outputs, self.rank]),
        ];
        if self.decomposed {
            tensors.push((format!("{name}.lora_magnitude_vector"), vec![outputs]));
        }
        tensors
    }
}

/// Makes a method from PEFT's configuration, if it is the one that the configuration describes.
type FromPeft = fn(&AdapterConfig) -> Result<Option<Box<dyn Method>>>;

/// The methods that PEFT's files can hold.
const FROM_PEFT: &[FromPeft] = &[Lora::from_peft, Dora::from_peft];

/// The method that the adapter in `folder` was trained with, from its `adapter_config.json`. Make a model with it and
/// then [`peft::load`] the adapter's values.
pub fn saved_method(folder: &Path) -> Result<Box<dyn Method>> {
    let config = peft::read_config(folder)?;
    for from_peft in FROM_PEFT {
        if let Some(method) = from_peft(&config)? {
            return Ok(method);
        }
    }
    Err(Error::file(
        folder,
        format!("its adapter is of the type `{}`", config.peft_type),
        "adapters of LoRA and DoRA can be read",
    ))
}
