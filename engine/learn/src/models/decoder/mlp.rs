//! The gated feed-forward part of a decoder layer. Shazeer, GLU Variants Improve Transformer (arXiv 2002.05202),
//! equation 6. Knows no configuration.

use std::rc::Rc;

use tch::Tensor;

use crate::error::Result;
use crate::layers::{Activation, LinearMap, Mode};
use crate::models::Builder;
use crate::targets::Role;
use crate::weights::Init;

/// `down(act(gate(x)) ⊙ up(x))`
#[derive(Debug)]
pub struct GatedMlp {
    gate: Rc<dyn LinearMap>,
    up: Rc<dyn LinearMap>,
    down: Rc<dyn LinearMap>,
    activation: Activation,
}

impl GatedMlp {
    /// The maps `<name>.gate_proj` and so on, from `width` to `inner` and back.
    pub fn new(
        name: &str,
        [width, inner]: [i64; 2],
        bias: bool,
        activation: Activation,
        init: Init,
        builder: &mut Builder,
    ) -> Result<Self> {
        Ok(Self {
            gate: builder.linear(&format!("{name}.gate_proj"), Role::MlpGate, width, inner, bias, init)?,
            up: builder.linear(&format!("{name}.up_proj"), Role::MlpUp, width, inner, bias, init)?,
            down: builder.linear(&format!("{name}.down_proj"), Role::MlpDown, inner, width, bias, init)?,
            activation,
        })
    }

    /// Maps `[…, width]` to `[…, width]`.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let gate = self.activation.apply(&self.gate.forward(x, mode)?)?;
        self.down.forward(&gate.f_mul(&self.up.forward(x, mode)?)?, mode)
    }
}
