//! The self-attention of a decoder layer: projections, rotary positions, and norms of queries and keys where a family
//! has them. Knows no configuration.

use std::rc::Rc;

use tch::Tensor;

use super::{LastPass, Pass};
use crate::error::Result;
use crate::layers::{Angles, Cache, Heads, LinearMap, Mode, Norm, Several, View, attend, attend_blocks};
use crate::models::Builder;
use crate::targets::Role;
use crate::weights::Init;

/// Self-attention.
#[derive(Debug)]
pub struct SelfAttention {
    /// The maps to queries, keys and values, and out of the heads.
    pub maps: Projections,
    /// How the maps' outputs are heads.
    pub heads: Heads,
    /// Norms of each head of the queries and of the keys, before they are turned.
    pub norms: Option<[Box<dyn Norm>; 2]>,
    /// What scores are multiplied with; without it `1 / √width`.
    pub scale: Option<f64>,
    /// Dropout on attention weights in training.
    pub dropout: f64,
}

/// The linear maps of self-attention.
#[derive(Debug)]
pub struct Projections {
    /// To queries, keys and values.
    inputs: Several<3>,
    /// Out of the heads.
    output: Rc<dyn LinearMap>,
}

/// Which of the projections have biases.
#[derive(Debug, Clone, Copy)]
pub struct Biases {
    /// Those to queries, keys and values.
    pub inputs: bool,
    /// The one out of the heads.
    pub output: bool,
}

impl Biases {
    /// All or none.
    pub fn all(all: bool) -> Self {
        Self { inputs: all, output: all }
    }
}

impl Projections {
    /// The maps `<name>.q_proj` and so on, for hidden states of `width`.
    pub fn new(
        name: &str,
        width: i64,
        heads: Heads,
        biases: Biases,
        init: Init,
        builder: &mut Builder,
    ) -> Result<Self> {
        // Checkpoints of early converters hold the frequencies of the rotary embedding.
        builder.accept(&format!("{name}.rotary_emb.inv_freq"));
        let (queries, keys) = (heads.queries * heads.width, heads.keys * heads.width);
        let inputs = Several::Apart([
            builder.linear(&format!("{name}.q_proj"), Role::AttentionQ, width, queries, biases.inputs, init)?,
            builder.linear(&format!("{name}.k_proj"), Role::AttentionK, width, keys, biases.inputs, init)?,
            builder.linear(&format!("{name}.v_proj"), Role::AttentionV, width, keys, biases.inputs, init)?,
        ]);
        let output =
            builder.linear(&format!("{name}.o_proj"), Role::AttentionO, queries, width, biases.output, init)?;
        Ok(Self { inputs, output })
    }

    /// The same where queries, keys and values come out of one map, `<name>.qkv_proj`.
    pub fn fused(
        name: &str,
        width: i64,
        heads: Heads,
        biases: Biases,
        init: Init,
        builder: &mut Builder,
    ) -> Result<Self> {
        let (queries, keys) = (heads.queries * heads.width, heads.keys * heads.width);
        let parts = [("q", Role::AttentionQ, queries), ("k", Role::AttentionK, keys), ("v", Role::AttentionV, keys)];
        let inputs = builder.fused(&format!("{name}.qkv_proj"), parts, width, biases.inputs, init)?;
        let output =
            builder.linear(&format!("{name}.o_proj"), Role::AttentionO, queries, width, biases.output, init)?;
        Ok(Self { inputs, output })
    }
}

impl SelfAttention {
    /// Queries and keys, turned by their angles, and values, each `[rows, heads, length, width]`, of what the maps give.
    fn heads_of(&self, [q, k, v]: &[Tensor; 3], of_queries: &Angles, of_keys: &Angles) -> Result<[Tensor; 3]> {
        let (mut q, mut k, v) = (self.heads.split(q)?, self.heads.split(k)?, self.heads.split(v)?);
        if let Some([norm_of_queries, norm_of_keys]) = &self.norms {
            (q, k) = (norm_of_queries.forward(&q)?, norm_of_keys.forward(&k)?);
        }
        Ok([of_queries.turn(&q)?, of_keys.turn(&k)?, v])
    }

    /// For whole texts one behind the other, `[1, length, width]`, with the keys and values `before` those of each.
    pub fn forward(&self, x: &Tensor, before: Option<(&Tensor, &Tensor)>, pass: &Pass, mode: Mode) -> Result<Tensor> {
        let [q, k, v] = self.heads_of(&self.maps.inputs.forward(x, mode)?, &pass.angles, &pass.angles)?;
        let seen = attend_blocks([&q, &k, &v], before, &pass.blocks, self.scale, mode.dropout(self.dropout))?;
        self.maps.output.forward(&seen, mode)
    }

    /// The same for a few of their tokens, `[1, few, width]`.
    pub fn forward_few(
        &self,
        x: &Tensor,
        before: Option<(&Tensor, &Tensor)>,
        LastPass { all, few, of_few }: &LastPass,
        mode: Mode,
    ) -> Result<Tensor> {
        let maps = self.maps.inputs.forward_first_at(x, few, mode)?;
        let [q, k, v] = self.heads_of(&maps, &of_few.angles, &all.angles)?;
        let seen = attend_blocks([&q, &k, &v], before, &of_few.blocks, self.scale, mode.dropout(self.dropout))?;
        self.maps.output.forward(&seen, mode)
    }

    /// In evaluation for new columns of texts whose earlier keys and values are in `cache`, where this is `layer`.
    pub fn forward_next(
        &self,
        x: &Tensor,
        angles: &Angles,
        view: &View,
        layer: usize,
        cache: &mut Cache,
    ) -> Result<Tensor> {
        let [q, k, v] = self.heads_of(&self.maps.inputs.forward(x, Mode::Eval)?, angles, angles)?;
        let (keys, values) = cache.extend(layer, &k, &v, view)?;
        let seen = attend(&q, &keys, &values, &view.mask, self.scale, 0.0)?;
        self.maps.output.forward(&self.heads.join(&seen)?, Mode::Eval)
    }
}
