//! VeRA: `y = W x + b + λ_b ⊙ B (λ_d ⊙ A x̃)`; A and B are random, frozen and shared by all maps, which take their first
//! columns and rows; λ_b and λ_d train. Kopiczko et al., VeRA: Vector-based Random Matrix Adaptation (arXiv 2310.11454),
//! equation 2, as PEFT has it. Computed as `(A x̃)ᵀ Δ` with the small Δ = λ_b B λ_d, so that A x̃ alone is kept.

use std::cell::{Cell, OnceCell, RefCell};
use std::path::Path;
use std::rc::{Rc, Weak};

use tch::{Device, Kind, Tensor};

use super::{Beside, Method};
use crate::error::{Error, Result};
use crate::layers::{Linear, LinearMap, Mode};
use crate::parameters::Stores;
use crate::peft::vera::{self, VeraConfig};
use crate::peft::{AdapterConfig, Saved};
use crate::targets::{Place, Targets};
use crate::weights::{Init, Twister};

/// VeRA.
#[derive(Debug)]
pub struct Vera {
    rank: i64,
    d_initial: f64,
    dropout: f64,
    seed: u64,
    targets: Targets,
    /// A and B, where a file holds them.
    saved: Option<(Tensor, Tensor)>,
    /// What the maps of the model share that is being made. It dies with its maps.
    shared: RefCell<Weak<Shared>>,
}

impl Vera {
    /// VeRA of this `rank` on `targets`: λ_d is `d_initial` at first; A and B depend on `seed`; `dropout` acts on A's input
    /// in training.
    pub fn new(rank: i64, d_initial: f64, dropout: f64, seed: u64, targets: Targets) -> Result<Self> {
        if rank < 1 {
            return Err(Error::setting("rank", format!("is {rank}"), "it must be at least 1"));
        }
        if !(d_initial.is_finite() && d_initial != 0.0) {
            let hint = "it must be a number other than zero, or λ_b would get no gradient; 0.1 is usual";
            return Err(Error::setting("d_initial", format!("is {d_initial}"), hint));
        }
        if !(0.0..1.0).contains(&dropout) {
            return Err(Error::setting("dropout", format!("is {dropout}"), "it must be at least 0 and below 1"));
        }
        let shared = RefCell::default();
        Ok(Self { rank, d_initial, dropout, seed, targets, saved: None, shared })
    }

    pub(super) fn from_peft(config: &AdapterConfig) -> Result<Option<Box<dyn Method>>> {
        let Some(settings) = VeraConfig::read(config)? else { return Ok(None) };
        let VeraConfig { r, d_initial, vera_dropout, projection_prng_key, .. } = settings;
        let method = Self::new(r, d_initial, vera_dropout, projection_prng_key, settings.targets()?)?;
        let saved = if settings.save_projection { Some(vera::projections(config, r)?) } else { None };
        Ok(Some(Box::new(Self { saved, ..method })))
    }

    /// A and B for maps with at most so many inputs and outputs: those of the file, or PEFT's own for this seed.
    fn projections(&self, inputs: i64, outputs: i64) -> Result<(Tensor, Tensor)> {
        let Some((a, b)) = &self.saved else {
            // Kaiming's bound for a rectifier: √6 / √inputs, of A and then of B.
            let mut numbers = Twister::new(self.seed);
            let mut draw = |rows: i64, columns: i64| numbers.uniform([rows, columns], (6.0 / columns as f64).sqrt());
            return Ok((draw(self.rank, inputs)?, draw(outputs, self.rank)?));
        };
        let (found, wanted) = ([b.size2()?.0, a.size2()?.1], [outputs, inputs]);
        match found.iter().zip(wanted).all(|(found, wanted)| *found >= wanted) {
            true => Ok((a.shallow_clone(), b.shallow_clone())),
            false => Err(Error::setting(
                "vera_A, vera_B",
                format!("are for maps of up to {found:?} outputs and inputs, the model's targets have {wanted:?}"),
                "check that the adapter belongs to this base model and these targets",
            )),
        }
    }
}

/// What all maps of a model share.
#[derive(Debug, Default)]
struct Shared {
    inputs: Cell<i64>,
    outputs: Cell<i64>,
    device: Cell<Option<Device>>,
    /// A `[rank, inputs]` and B `[outputs, rank]`.
    made: OnceCell<(Tensor, Tensor)>,
}

impl Shared {
    fn add(&self, [outputs, inputs]: [i64; 2], device: Device) {
        self.inputs.set(self.inputs.get().max(inputs));
        self.outputs.set(self.outputs.get().max(outputs));
        self.device.set(Some(device));
    }

    /// The part for a map of these sizes.
    fn part(&self, [outputs, inputs]: [i64; 2]) -> Result<(Tensor, Tensor)> {
        let (a, b) = self.made.get().ok_or_else(|| {
            Error::setting("vera", "is asked before its model is whole", "make the model with its builder's `finish`")
        })?;
        Ok((a.f_narrow(1, 0, inputs)?, b.f_narrow(0, 0, outputs)?))
    }
}

impl Method for Vera {
    fn name(&self) -> &'static str {
        "vera"
    }

    fn changes(&self, place: &Place) -> bool {
        self.targets.contain(place)
    }

    fn linear(&self, place: &Place, plain: Linear, stores: &mut Stores) -> Result<Rc<dyn LinearMap>> {
        let (outputs, inputs) = plain.weight.size2()?;
        let mut vector = |part: &str, length: i64, value: f64| -> Result<Tensor> {
            let name = format!("{}.{part}", place.name);
            let first = stores.fresh.draw(&name, &[length], Init::Constant(value))?;
            stores.trainable.add(&name, &first)
        };
        let lambda_b = vector("vera_lambda_b", outputs, 0.0)?;
        let lambda_d = vector("vera_lambda_d", self.rank, self.d_initial)?;
        let open = self.shared.borrow().upgrade().filter(|shared| shared.made.get().is_none());
        let shared = open.unwrap_or_default();
        *self.shared.borrow_mut() = Rc::downgrade(&shared);
        shared.add([outputs, inputs], plain.weight.device());
        Ok(Rc::new(VeraLinear { plain, shared, lambda_b, lambda_d, sizes: [outputs, inputs], dropout: self.dropout }))
    }

    fn finish(&self, stores: &mut Stores) -> Result<()> {
        let open = self.shared.borrow().upgrade().filter(|shared| shared.made.get().is_none());
        let Some(shared) = open else { return Ok(()) };
        let device = shared.device.get().unwrap_or(Device::Cpu);
        let (a, b) = self.projections(shared.inputs.get(), shared.outputs.get())?;
        let a = stores.freeze(vera::A, a.f_to_device(device)?)?;
        let b = stores.freeze(vera::B, b.f_to_device(device)?)?;
        let _ = shared.made.set((a, b));
        Ok(())
    }

    fn beside(&self, place: &Place) -> Option<Beside> {
        self.changes(place).then_some(Beside::Shared { rank: self.rank, dropout: self.dropout > 0.0 })
    }

    fn check(&self, places: &[&Place]) -> Result<()> {
        self.targets.check(places)?;
        let reason =
            "all maps share VeRA's B from its first row on, and PEFT's file has one `vera_lambda_d` for each module";
        self.targets.whole_maps_alone(places, reason)
    }

    fn knows(&self, key: &str) -> bool {
        vera::is_projection(key)
    }

    fn save(&self, saved: &Saved, folder: &Path) -> Result<()> {
        let Self { rank, d_initial, dropout, seed, .. } = *self;
        let config = VeraConfig::new(rank, d_initial, dropout, seed, &self.targets, saved.model);
        vera::write(&config, saved, folder)
    }
}

#[derive(Debug)]
struct VeraLinear {
    plain: Linear,
    shared: Rc<Shared>,
    /// `[outputs]`
    lambda_b: Tensor,
    /// `[rank]`
    lambda_d: Tensor,
    sizes: [i64; 2],
    dropout: f64,
}

/// `λ_b B λ_d`, `[outputs, rank]`.
fn around(b: &Tensor, lambda_b: &Tensor, lambda_d: &Tensor) -> Result<Tensor> {
    Ok(b.f_mul(&lambda_b.f_unsqueeze(1)?)?.f_mul(lambda_d)?)
}

impl LinearMap for VeraLinear {
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let kind = x.f_kind()?;
        let (a, b) = self.shared.part(self.sizes)?;
        let [outputs, _] = self.sizes;
        let y = self.plain.forward(x, mode)?;
        let low = match mode.dropout(self.dropout) {
            0.0 => x.f_linear(&a.f_to_kind(kind)?, None::<&Tensor>)?,
            dropout => x.f_dropout(dropout, true)?.f_linear(&a.f_to_kind(kind)?, None::<&Tensor>)?,
        };
        let between = around(&b, &self.lambda_b, &self.lambda_d)?.f_to_kind(kind)?;
        let sum = y
            .f_reshape([-1, outputs])?
            .f_addmm(&low.f_reshape([-1, self.lambda_d.size1()?])?, &between.f_transpose(0, 1)?)?;
        Ok(sum.f_view(y.size().as_slice())?)
    }

    fn merged(&self) -> Result<Tensor> {
        let (a, b) = self.shared.part(self.sizes)?;
        let product = around(&b, &self.lambda_b.f_detach()?, &self.lambda_d.f_detach()?)?.f_matmul(&a)?;
        let weight = self.plain.weight.f_detach()?;
        Ok(weight.f_to_kind(Kind::Float)?.f_add(&product)?.f_to_kind(weight.f_kind()?)?)
    }
}
