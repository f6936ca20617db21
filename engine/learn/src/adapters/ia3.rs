//! (IA)³: `y = l ⊙ (W x + b)`, and of maps in the feed-forward part `y = W (l ⊙ x) + b`; l trains, at first 1. Liu et al.,
//! Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning (arXiv 2205.05638), section
//! 3.3, as PEFT has it, which scales the bias too.

use std::path::Path;
use std::rc::Rc;

use tch::{Kind, Tensor};

use super::{Beside, Method, Scale};
use crate::error::{Error, Result};
use crate::layers::{Linear, LinearMap, Mode};
use crate::parameters::Stores;
use crate::peft::ia3::Ia3Config;
use crate::peft::slices::Slices;
use crate::peft::{self, AdapterConfig, PREFIX, Saved};
use crate::targets::{Place, Role, Targets};
use crate::weights::Init;

/// (IA)³.
#[derive(Debug)]
pub struct Ia3 {
    targets: Targets,
    feedforward: Option<Targets>,
}

impl Ia3 {
    /// (IA)³ on `targets`. Of those that `feedforward` means, what goes in is scaled, of the others what comes out; without
    /// it, of those that lead out of an MLP.
    pub fn new(targets: Targets, feedforward: Option<Targets>) -> Self {
        Self { targets, feedforward }
    }

    pub(super) fn from_peft(config: &AdapterConfig) -> Result<Option<Box<dyn Method>>> {
        let Some(read) = Ia3Config::read(config)? else { return Ok(None) };
        let targets = Slices::read(config.folder())?.targets(read.targets()?);
        Ok(Some(Box::new(Self::new(targets, Some(read.feedforward()?)))))
    }

    fn scales_inputs(&self, place: &Place) -> bool {
        match &self.feedforward {
            Some(feedforward) => feedforward.contain(place),
            None => Role::MlpDown.covers(place.role),
        }
    }
}

impl Method for Ia3 {
    fn name(&self) -> &'static str {
        "ia3"
    }

    fn changes(&self, place: &Place) -> bool {
        self.targets.contain(place)
    }

    fn linear(&self, place: &Place, plain: Linear, stores: &mut Stores) -> Result<Rc<dyn LinearMap>> {
        let (outputs, inputs) = plain.weight.size2()?;
        let name = format!("{}.ia3_l", place.name);
        let of_inputs = self.scales_inputs(place);
        let shape = if of_inputs { [1, inputs] } else { [outputs, 1] };
        let scales = stores.trainable.add(&name, &stores.fresh.draw(&name, &shape, Init::Constant(1.0))?)?;
        Ok(match of_inputs {
            true => Rc::new(Inputs { plain, scales }),
            false => Rc::new(Outputs { plain, scales }),
        })
    }

    fn beside(&self, place: &Place) -> Option<Beside> {
        self.changes(place).then(|| Beside::Scales { inputs: self.scales_inputs(place) })
    }

    fn check(&self, places: &[&Place]) -> Result<()> {
        self.targets.check(places)?;
        let scaled_inputs = |place: &&&Place| place.slice.is_some() && self.changes(place) && self.scales_inputs(place);
        if let Some(slice) = places.iter().find(scaled_inputs) {
            let problem =
                format!("means `{}`, a slice of a map whose inputs are those of other slices, too", slice.name);
            return Err(Error::setting("feedforward", problem, "leave it out: the outputs of slices can be scaled"));
        }
        let Some(feedforward) = &self.feedforward else { return Ok(()) };
        match places.iter().find(|place| feedforward.contain(place) && !self.targets.contain(place)) {
            Some(place) => Err(Error::setting(
                "feedforward",
                format!("means `{}`, which is no target", place.name),
                "name maps that are among `targets`",
            )),
            None => Ok(()),
        }
    }

    fn save(&self, saved: &Saved, folder: &Path) -> Result<()> {
        let model = saved.model;
        let slices: Vec<&Place> = model.slices().filter(|place| self.changes(place)).collect();
        let is_whole = |place: &Place| slices.iter().any(|slice| slice.whole().as_ref() == Some(place));
        let changed = model.places().filter(|place| self.changes(place) || is_whole(place));
        let (inputs, outputs) = changed.partition(|place| self.scales_inputs(place));
        let config = Ia3Config::new(inputs, outputs, model).to_json(saved);
        let keyed = saved.parameters().map(|(name, tensor)| (format!("{PREFIX}{name}"), tensor.shallow_clone()));
        let slices = Slices::of(slices.into_iter(), |_| None);
        let tensors = slices.write(keyed.collect(), Scale::Standard, model, folder)?;
        peft::write(folder, &config, &tensors)
    }
}

/// Scales what goes in.
#[derive(Debug)]
struct Inputs {
    plain: Linear,
    /// l, `[1, inputs]`
    scales: Tensor,
}

impl LinearMap for Inputs {
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let scales = self.scales.f_reshape(-1)?.f_to_kind(x.f_kind()?)?;
        self.plain.forward(&x.f_mul(&scales)?, mode)
    }

    fn merged(&self) -> Result<Tensor> {
        scaled(&self.plain.weight, &self.scales)
    }
}

/// Scales what comes out.
#[derive(Debug)]
struct Outputs {
    plain: Linear,
    /// l, `[outputs, 1]`
    scales: Tensor,
}

impl LinearMap for Outputs {
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let scales = self.scales.f_reshape(-1)?.f_to_kind(x.f_kind()?)?;
        Ok(self.plain.forward(x, mode)?.f_mul(&scales)?)
    }

    fn merged(&self) -> Result<Tensor> {
        scaled(&self.plain.weight, &self.scales)
    }

    fn merged_bias(&self) -> Result<Option<Tensor>> {
        self.plain.bias.as_ref().map(|bias| scaled(bias, &self.scales.f_reshape(-1)?)).transpose()
    }
}

/// The product in float32, in the kind of `tensor`, without gradient.
fn scaled(tensor: &Tensor, scales: &Tensor) -> Result<Tensor> {
    let product = tensor.f_detach()?.f_to_kind(Kind::Float)?.f_mul(&scales.f_detach()?.f_to_kind(Kind::Float)?)?;
    Ok(product.f_to_kind(tensor.f_kind()?)?)
}
