//! Bottlenecks on linear maps, without biases, as the authors of LLM-Adapters have them for decoders: in series, of what
//! comes into the maps that lead into a sublayer and of what comes out of those that lead out of it; or in parallel. Hu et
//! al., LLM-Adapters (arXiv 2304.01933), equations 3 and 4.

use std::path::Path;
use std::rc::Rc;

use tch::Tensor;

use super::neck::{Block, First, Neck, Norms};
use crate::adapters::{Beside, Method};
use crate::error::{Error, Result};
use crate::layers::{Activation, Linear, LinearMap, Mode};
use crate::parameters::Stores;
use crate::peft::bottleneck::BottleneckConfig;
use crate::peft::{AdapterConfig, Saved};
use crate::targets::{Map, Place, Role, Targets};

/// Where a bottleneck stands on a linear map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `W (x + a(x)) + b`
    Before,
    /// `y + a(y)` with y = W x + b
    Behind,
    /// `W x + b + a(x)`
    Parallel,
}

/// Bottlenecks on linear maps.
#[derive(Debug)]
pub struct LinearBottleneck {
    parallel: bool,
    neck: Neck,
    targets: Targets,
}

impl LinearBottleneck {
    /// Bottlenecks of `size` numbers in series with the maps of `targets`; `dropout` acts on their inputs in training.
    pub fn series(size: i64, activation: Activation, scale: f64, dropout: f64, targets: Targets) -> Result<Self> {
        Self::new(false, size, activation, scale, dropout, targets)
    }

    /// The same beside the maps.
    pub fn parallel(size: i64, activation: Activation, scale: f64, dropout: f64, targets: Targets) -> Result<Self> {
        Self::new(true, size, activation, scale, dropout, targets)
    }

    fn new(
        parallel: bool,
        size: i64,
        activation: Activation,
        scale: f64,
        dropout: f64,
        targets: Targets,
    ) -> Result<Self> {
        let (norms, first) = (Norms::default(), First::Bert);
        let neck = Neck { size, activation, scale, dropout, norms, bias: false, first };
        neck.check()?;
        Ok(Self { parallel, neck, targets })
    }

    pub(in crate::adapters) fn from_peft(config: &AdapterConfig) -> Result<Option<Box<dyn Method>>> {
        let Some(config) = BottleneckConfig::read(config)? else { return Ok(None) };
        let make = if config.use_parallel_adapter { Self::parallel } else { Self::series };
        let (activation, targets) = (config.non_linearity, config.targets()?);
        let made = make(config.bottleneck_size, activation, config.scaling, config.adapter_dropout, targets)?;
        Ok(Some(Box::new(made)))
    }

    fn form(&self, role: Role) -> Form {
        let leads_out = match role {
            Role::AttentionO | Role::MlpDown => true,
            Role::In(_, map) => matches!(map, Map::O | Map::Down),
            _ => false,
        };
        match (self.parallel, leads_out) {
            (true, _) => Form::Parallel,
            (false, true) => Form::Behind,
            (false, false) => Form::Before,
        }
    }

    fn sizes(form: Form, [outputs, inputs]: [i64; 2]) -> [i64; 2] {
        match form {
            Form::Before => [inputs, inputs],
            Form::Behind => [outputs, outputs],
            Form::Parallel => [outputs, inputs],
        }
    }
}

impl Form {
    /// Outputs and inputs of the bottleneck on a map with these.
    pub fn sizes(self, map: [i64; 2]) -> [i64; 2] {
        LinearBottleneck::sizes(self, map)
    }
}

impl Method for LinearBottleneck {
    fn name(&self) -> &'static str {
        "bottleneck"
    }

    fn changes(&self, place: &Place) -> bool {
        self.targets.contain(place)
    }

    fn linear(&self, place: &Place, plain: Linear, stores: &mut Stores) -> Result<Rc<dyn LinearMap>> {
        let (form, (outputs, inputs)) = (self.form(place.role), plain.weight.size2()?);
        let block = self.neck.create(&place.name, form.sizes([outputs, inputs]), stores)?;
        Ok(match form {
            Form::Before => Rc::new(Before { block, plain }),
            Form::Behind => Rc::new(Behind { block, plain }),
            Form::Parallel => Rc::new(Parallel { block, plain }),
        })
    }

    fn beside(&self, place: &Place) -> Option<Beside> {
        self.changes(place).then(|| Beside::Neck { form: self.form(place.role), neck: self.neck })
    }

    fn merges(&self) -> bool {
        false
    }

    fn check(&self, places: &[&Place]) -> Result<()> {
        self.targets.check(places)?;
        let reason = "the files of LLM-Adapters have a bottleneck for each module";
        self.targets.whole_maps_alone(places, reason)
    }

    fn save(&self, saved: &Saved, folder: &Path) -> Result<()> {
        let config = BottleneckConfig::new(&self.neck, self.parallel, &self.targets, saved.model);
        saved.write(folder, &config.to_json(saved))
    }
}

fn not_linear() -> Error {
    Error::setting("model", "a bottleneck is no linear map: it cannot be merged", "use the adapter beside its model")
}

#[derive(Debug)]
struct Before {
    block: Block,
    plain: Linear,
}

impl LinearMap for Before {
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.plain.forward(&x.f_add(&self.block.forward_dropped(x, mode)?)?, mode)
    }

    fn merged(&self) -> Result<Tensor> {
        Err(not_linear())
    }
}

#[derive(Debug)]
struct Behind {
    block: Block,
    plain: Linear,
}

impl LinearMap for Behind {
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let y = self.plain.forward(x, mode)?;
        Ok(y.f_add(&self.block.forward_dropped(&y, mode)?)?)
    }

    fn merged(&self) -> Result<Tensor> {
        Err(not_linear())
    }
}

#[derive(Debug)]
struct Parallel {
    block: Block,
    plain: Linear,
}

impl LinearMap for Parallel {
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        Ok(self.plain.forward(x, mode)?.f_add(&self.block.forward_dropped(x, mode)?)?)
    }

    fn merged(&self) -> Result<Tensor> {
        Err(not_linear())
    }
}
