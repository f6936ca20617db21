//! The gated feed-forward part of a decoder layer. Shazeer, GLU Variants Improve Transformer (arXiv 2002.05202),
//! equation 6. Knows no configuration.

use std::rc::Rc;

use tch::Tensor;

use crate::error::Result;
use crate::layers::{Activation, LinearMap, Mode, Several};
use crate::models::Builder;
use crate::targets::Role;
use crate::weights::Init;

/// `down(act(gate(x)) ⊙ up(x))`
#[derive(Debug)]
pub struct GatedMlp {
    /// The gate, and into the inner states.
    inputs: Several<2>,
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
        let inputs = Several::Apart([
            builder.linear(&format!("{name}.gate_proj"), Role::MlpGate, width, inner, bias, init)?,
            builder.linear(&format!("{name}.up_proj"), Role::MlpUp, width, inner, bias, init)?,
        ]);
        let down = builder.linear(&format!("{name}.down_proj"), Role::MlpDown, inner, width, bias, init)?;
        Ok(Self { inputs, down, activation })
    }

    /// The same where the gate and what it gates come out of one map, `<name>.gate_up_proj`.
    pub fn fused(
        name: &str,
        [width, inner]: [i64; 2],
        bias: bool,
        activation: Activation,
        init: Init,
        builder: &mut Builder,
    ) -> Result<Self> {
        let parts = [("gate", Role::MlpGate, inner), ("up", Role::MlpUp, inner)];
        let inputs = builder.fused(&format!("{name}.gate_up_proj"), parts, width, bias, init)?;
        let down = builder.linear(&format!("{name}.down_proj"), Role::MlpDown, inner, width, bias, init)?;
        Ok(Self { inputs, down, activation })
    }

    /// Maps `[…, width]` to `[…, width]`.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let gated = {
            let [gate, up] = self.inputs.forward(x, mode)?;
            self.activation.apply(&gate)?.f_mul(&up)?
        };
        self.down.forward(&gated, mode)
    }
}
