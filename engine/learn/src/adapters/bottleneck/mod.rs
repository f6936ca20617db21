//! Bottleneck adapters at the ends of sublayers: the styles of Houlsby, of Pfeiffer and the parallel one, each in a file
//! of its own, and bottlenecks on linear maps. Which sublayers and how large; the mathematics is beside.

mod houlsby;
mod maps;
mod neck;
mod parallel;
mod pfeiffer;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

pub use maps::{Form, LinearBottleneck};
pub use neck::{First, Neck, Norms, Size};

use super::Method;
use crate::error::{Error, Result};
use crate::layers::{Activation, Join, Sum};
use crate::parameters::{Parameters, Stores};
use crate::peft::{AdapterConfig, Saved, adapter_hub};
use crate::sublayers::{Role, Sublayer};
use crate::targets::{self, Place};

/// Where a bottleneck stands at the end of a sublayer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Of what the sublayer gave.
    Houlsby,
    /// Of the sum with what came in, normed where the family has a norm there.
    Pfeiffer,
    /// Of what came in.
    Parallel,
}

/// Bottleneck adapters at the ends of sublayers.
#[derive(Debug, Clone, PartialEq)]
pub struct Bottleneck {
    /// Where each stands.
    pub style: Style,
    /// Numbers in the middle.
    pub size: Size,
    /// What stands there.
    pub activation: Activation,
    /// What their results are multiplied with.
    pub scale: f64,
    /// Dropout of their results in training.
    pub dropout: f64,
    /// New layer norms before and behind them.
    pub norms: Norms,
    /// Their first values.
    pub first: First,
    /// The sublayers that have one.
    pub sublayers: Vec<Role>,
    /// The numbers of layers that have none.
    pub leave_out: Vec<usize>,
    /// Whether an output head with weights of its own trains too, as it does in adapter-hub's library.
    pub output_head: bool,
}

impl Bottleneck {
    /// The settings, when they make sense.
    pub fn checked(self) -> Result<Self> {
        self.size.check()?;
        self.neck(i64::MAX).check()?;
        match self.sublayers.is_empty() {
            true => Err(Error::setting("sublayers", "names none: nothing would train", "name `mlp` or `attention`")),
            false => Ok(self),
        }
    }

    pub(super) fn from_saved(config: &AdapterConfig) -> Result<Option<Box<dyn Method>>> {
        match adapter_hub::read(config)? {
            Some(method) => Ok(Some(Box::new(method.checked()?))),
            None => Ok(None),
        }
    }

    /// The bottleneck for hidden states of `width`.
    fn neck(&self, width: i64) -> Neck {
        let Self { activation, scale, dropout, norms, first, .. } = *self;
        Neck { size: self.size.of(width), activation, scale, dropout, norms, bias: true, first }
    }
}

impl Method for Bottleneck {
    fn name(&self) -> &'static str {
        "bottleneck"
    }

    fn trains(&self, _name: &str, of: Option<&Place>) -> bool {
        self.output_head && of.is_some_and(|place| place.role == targets::Role::Head)
    }

    fn joins(&self, sublayer: &Sublayer) -> bool {
        self.sublayers.contains(&sublayer.role) && !self.leave_out.contains(&sublayer.layer)
    }

    fn join(&self, sublayer: &Sublayer, plain: Sum, stores: &mut Stores) -> Result<Rc<dyn Join>> {
        let width = sublayer.width;
        let block = self.neck(width).create(&sublayer.name, [width, width], stores)?;
        Ok(match self.style {
            Style::Houlsby => Rc::new(houlsby::Behind { block, plain }),
            Style::Pfeiffer => Rc::new(pfeiffer::BehindNorm { block, plain }),
            Style::Parallel => Rc::new(parallel::Beside { block, plain }),
        })
    }

    fn neck(&self, sublayer: &Sublayer) -> Option<(Style, Neck)> {
        self.joins(sublayer).then(|| (self.style, self.neck(sublayer.width)))
    }

    fn merges(&self) -> bool {
        false
    }

    fn check_sublayers(&self, sublayers: &[Sublayer]) -> Result<()> {
        let has = |role: Role| sublayers.iter().any(|sublayer| sublayer.role == role);
        if let Some(role) = self.sublayers.iter().find(|role| !has(**role)) {
            let roles = [Role::Attention, Role::CrossAttention, Role::Mlp].into_iter().filter(|role| has(*role));
            let roles: Vec<_> = roles.map(Role::name).collect();
            let problem = format!("the model has no sublayer `{role}`");
            return Err(Error::setting("sublayers", problem, format!("it has: {}", roles.join(", "))));
        }
        let layers: BTreeSet<usize> = sublayers.iter().map(|sublayer| sublayer.layer).collect();
        if let Some(layer) = self.leave_out.iter().find(|layer| !layers.contains(layer)) {
            let problem = format!("the model has no layer {layer}");
            return Err(Error::setting("leave_out", problem, format!("its layers are 0 to {}", layers.len() - 1)));
        }
        match sublayers.iter().any(|sublayer| self.joins(sublayer)) {
            true => Ok(()),
            false => Err(Error::setting("leave_out", "leaves out every layer: nothing would train", "leave out fewer")),
        }
    }

    fn parameter(&self, key: &str) -> Option<String> {
        adapter_hub::parameter(key, self.norms.before)
    }

    fn key(&self, parameter: &str) -> String {
        adapter_hub::key(parameter, self.norms.before)
    }

    fn file(&self, folder: &Path) -> PathBuf {
        adapter_hub::file(folder)
    }

    fn load(
        &self,
        folder: &Path,
        wanted: &dyn Fn(&str) -> bool,
        parameters: &mut Parameters,
    ) -> Result<BTreeSet<String>> {
        adapter_hub::load(folder, self, wanted, parameters)
    }

    fn save(&self, saved: &Saved, folder: &Path) -> Result<()> {
        adapter_hub::write(self, saved, folder)
    }
}
