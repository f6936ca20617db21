//! The layers of T5's encoder and decoder. Knows hidden states and masks; no token and no head.

use std::rc::Rc;

use tch::{Kind, Tensor};

use super::config::{Config, FeedForward};
use super::positions::{Buckets, RelativePositions, Sight, as_bias};
use crate::adapters::Attentions;
use crate::error::{Error, Result};
use crate::layers::{
    Activation, Activations, Columns, Heads, Join, KeysBefore, LinearMap, Mode, Norm, Prefix, RmsNorm, Sum,
    attend_unordered, dropped, in_front, of_layer,
};
use crate::models::Builder;
use crate::sublayers;
use crate::targets::{Map, Part, Role};
use crate::weights::Init;

/// What reads.
#[derive(Debug)]
pub struct Encoder {
    layers: Vec<Rc<EncoderLayer>>,
    positions: RelativePositions,
    norm: RmsNorm,
    dropout: f64,
    activations: Rc<Activations>,
}

/// What writes.
#[derive(Debug)]
pub struct Decoder {
    /// The layers.
    pub layers: Vec<Rc<DecoderLayer>>,
    /// What positions add to the scores of its own attention.
    pub positions: RelativePositions,
    /// Keys and values before those of every answer.
    prefix: Option<Rc<Prefix>>,
    norm: RmsNorm,
    dropout: f64,
    activations: Rc<Activations>,
}

#[derive(Debug)]
struct EncoderLayer {
    own: Sublayer<Attention>,
    mlp: Sublayer<Mlp>,
}

/// A layer of the decoder.
#[derive(Debug)]
pub struct DecoderLayer {
    own: Sublayer<Attention>,
    cross: Sublayer<Attention>,
    mlp: Sublayer<Mlp>,
}

/// What stands between a norm and the sum with its input.
#[derive(Debug)]
struct Sublayer<T> {
    norm: RmsNorm,
    inner: T,
    dropout: f64,
    join: Rc<dyn Join>,
}

#[derive(Debug)]
struct Attention {
    q: Rc<dyn LinearMap>,
    k: Rc<dyn LinearMap>,
    v: Rc<dyn LinearMap>,
    o: Rc<dyn LinearMap>,
    heads: Heads,
    dropout: f64,
}

#[derive(Debug)]
struct Mlp {
    gate: Option<Rc<dyn LinearMap>>,
    up: Rc<dyn LinearMap>,
    down: Rc<dyn LinearMap>,
    activation: Activation,
    dropout: f64,
}

/// Where a sublayer stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    stack: &'static str,
    block: usize,
    /// Its number in the block.
    number: usize,
    /// The number of its layer, the encoder's first.
    layer: usize,
}

impl Place {
    fn name(&self) -> String {
        format!("{}.block.{}.layer.{}", self.stack, self.block, self.number)
    }

    fn join(&self, role: sublayers::Role, width: i64, builder: &mut Builder) -> Result<Rc<dyn Join>> {
        builder.join(sublayers::Sublayer { name: self.name(), role, layer: self.layer, width }, Sum::plain())
    }
}

/// Keys and values, each `[rows, heads, length, width]`.
pub type KeysAndValues = (Tensor, Tensor);

impl Encoder {
    /// Makes the encoder that `config` describes from what `builder` gives.
    pub fn new(config: &Config, builder: &mut Builder) -> Result<Self> {
        let mut layers = Vec::new();
        for index in 0..config.num_layers {
            let at = |number| Place { stack: "encoder", block: index, number, layer: index };
            let own = Attention::sublayer(&at(0), "SelfAttention", Part::Encoder, config, builder)?;
            let mlp = Mlp::sublayer(&at(1), Part::Encoder, config, builder)?;
            layers.push(Rc::new(EncoderLayer { own, mlp }));
        }
        let positions = positions("encoder", Sight::Both, config, builder)?;
        let norm = norm("encoder.final_layer_norm", config, builder)?;
        Ok(Self { layers, positions, norm, dropout: config.dropout_rate, activations: builder.activations() })
    }

    /// The states `[rows, length, width]` of embedded texts, of whose tokens `mask` (`[rows, 1, 1, length]`) may be seen.
    pub fn forward(&self, x: &Tensor, mask: Option<&Tensor>, mode: Mode) -> Result<Tensor> {
        let length = x.size3()?.1;
        let mut bias = self.positions.bias(0, length, length)?;
        if let Some(mask) = mask {
            bias = bias.f_add(&as_bias(mask, x.device())?)?;
        }
        let bias = self.activations.cut(&bias.f_to_kind(x.f_kind()?)?)?;
        let mut x = dropped(x.shallow_clone(), mode.dropout(self.dropout))?;
        for layer in &self.layers {
            x = match mode {
                Mode::Eval => layer.forward(&x, &bias, mode)?,
                Mode::Train => {
                    let layer = Rc::clone(layer);
                    self.activations.segment([&x, &bias], move |[x, bias]| layer.forward(x, bias, mode))?
                }
            };
        }
        dropped(self.norm.forward(&x)?, mode.dropout(self.dropout))
    }
}

impl Decoder {
    /// Makes the decoder that `config` describes from what `builder` gives.
    pub fn new(config: &Config, builder: &mut Builder) -> Result<Self> {
        let mut layers = Vec::new();
        for index in 0..config.num_decoder_layers.unwrap_or(config.num_layers) {
            let layer = config.num_layers + index;
            let at = |number| Place { stack: "decoder", block: index, number, layer };
            layers.push(Rc::new(DecoderLayer {
                own: Attention::sublayer(&at(0), "SelfAttention", Part::Decoder, config, builder)?,
                cross: Attention::sublayer(&at(1), "EncDecAttention", Part::CrossAttention, config, builder)?,
                mlp: Mlp::sublayer(&at(2), Part::Decoder, config, builder)?,
            }));
        }
        let positions = positions("decoder", Sight::Back, config, builder)?;
        let norm = norm("decoder.final_layer_norm", config, builder)?;
        let (heads, count) = (config.heads(), config.num_layers);
        let attentions =
            Attentions { layers: count, heads: heads.keys, width: heads.width, positions: None, stride: 2 };
        let prefix = builder.prefix(&attentions)?;
        if prefix.is_some() && layers.len() != count {
            let problem = format!("the model has {count} layers that read and {} that write", layers.len());
            let hint = "PEFT's files have no place for it: use `prompt`, or a model with as many of both";
            return Err(Error::setting("adapter.prefix", problem, hint));
        }
        Ok(Self { layers, positions, prefix, norm, dropout: config.dropout_rate, activations: builder.activations() })
    }

    /// The states `[rows, length, width]` of embedded answers to texts with the encoder's states `encoded`, of which `mask`
    /// may be seen.
    pub fn forward(&self, x: &Tensor, encoded: &Tensor, mask: Option<&Tensor>, mode: Mode) -> Result<Tensor> {
        let length = x.size3()?.1;
        let (front, before) = self.before(x.f_kind()?)?;
        let bias = self.positions.bias(front, length, front + length)?;
        let bias = self.activations.cut(&bias.f_to_kind(x.f_kind()?)?)?;
        let encoded = self.activations.cut(encoded)?;
        let mask = mask.map(|mask| Rc::new(mask.shallow_clone()));
        let mut x = dropped(x.shallow_clone(), mode.dropout(self.dropout))?;
        for (index, layer) in self.layers.iter().enumerate() {
            x = match (mode, of_layer(&before, index)?) {
                (Mode::Eval, before) => layer.forward(&x, before, &encoded, &bias, mask.as_deref(), mode)?,
                (Mode::Train, None) => {
                    let (layer, mask) = (Rc::clone(layer), mask.clone());
                    self.activations.segment([&x, &encoded, &bias], move |[x, encoded, bias]| {
                        layer.forward(x, None, encoded, bias, mask.as_deref(), mode)
                    })?
                }
                (Mode::Train, Some((keys, values))) => {
                    let (layer, mask) = (Rc::clone(layer), mask.clone());
                    let inputs = [&x, keys, values, &encoded, &bias];
                    self.activations.segment(inputs, move |[x, keys, values, encoded, bias]| {
                        layer.forward(x, Some((keys, values)), encoded, bias, mask.as_deref(), mode)
                    })?
                }
            };
        }
        self.end(&x, mode)
    }

    /// How many keys stand before those of every answer, and they and their values, of each layer, in this kind.
    pub fn before(&self, kind: Kind) -> Result<(i64, Vec<KeysBefore>)> {
        match &self.prefix {
            Some(prefix) => Ok((prefix.count(), prefix.of_layers(kind)?)),
            None => Ok((0, Vec::new())),
        }
    }

    /// What the head reads of the last layer's states.
    pub fn end(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        dropped(self.norm.forward(x)?, mode.dropout(self.dropout))
    }
}

impl EncoderLayer {
    fn forward(&self, x: &Tensor, bias: &Tensor, mode: Mode) -> Result<Tensor> {
        let x = self.own.forward(x, mode, |own, x| own.forward(x, x, Some(bias), mode))?;
        self.mlp.forward(&x, mode, |mlp, x| mlp.forward(x, mode))
    }
}

impl DecoderLayer {
    fn forward(
        &self,
        x: &Tensor,
        before: Option<(&Tensor, &Tensor)>,
        encoded: &Tensor,
        bias: &Tensor,
        mask: Option<&Tensor>,
        mode: Mode,
    ) -> Result<Tensor> {
        let x = self.own.forward(x, mode, |own, x| {
            own.see(x, &in_front(before, own.keys_and_values(x, mode)?)?, Some(bias), mode)
        })?;
        let x = self.cross.forward(&x, mode, |cross, x| cross.forward(x, encoded, mask, mode))?;
        self.mlp.forward(&x, mode, |mlp, x| mlp.forward(x, mode))
    }

    /// The keys and values of the encoder's states, which stay the same while an answer is written.
    pub fn read(&self, encoded: &Tensor) -> Result<KeysAndValues> {
        self.cross.inner.keys_and_values(encoded, Mode::Eval)
    }

    /// The layer for one new token of each row, in evaluation. `own` are the keys and values of the columns `before` it, of
    /// which so many are `written` ones, to which it adds its own; `bias` is what positions add to the scores.
    pub fn next(
        &self,
        x: &Tensor,
        own: &mut Columns,
        (before, written): (i64, i64),
        bias: &Tensor,
        read: &KeysAndValues,
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let mode = Mode::Eval;
        let x = self.own.forward(x, mode, |attention, x| {
            let (k, v) = attention.keys_and_values(x, mode)?;
            attention.see(x, &own.extend(before, written, &k, &v)?, Some(bias), mode)
        })?;
        let x = self.cross.forward(&x, mode, |cross, x| cross.see(x, read, mask, mode))?;
        self.mlp.forward(&x, mode, |mlp, x| mlp.forward(x, mode))
    }
}

impl<T> Sublayer<T> {
    fn forward(&self, x: &Tensor, mode: Mode, inner: impl FnOnce(&T, &Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let made = dropped(inner(&self.inner, &self.norm.forward(x)?)?, mode.dropout(self.dropout))?;
        self.join.forward(&made, x, mode)
    }
}

impl Attention {
    fn sublayer(
        place: &Place,
        module: &str,
        part: Part,
        config: &Config,
        builder: &mut Builder,
    ) -> Result<Sublayer<Self>> {
        let (name, width, inner) = (place.name(), config.d_model, config.num_heads * config.d_kv);
        let deviation = |inputs: i64| Init::Normal(config.initializer_factor * (inputs as f64).sqrt().recip());
        let mut linear = |map: &str, role, inputs, outputs, init| {
            builder.linear(&format!("{name}.{module}.{map}"), Role::In(part, role), inputs, outputs, false, init)
        };
        let attention = Self {
            q: linear("q", Map::Q, width, inner, deviation(width * config.d_kv))?,
            k: linear("k", Map::K, width, inner, deviation(width))?,
            v: linear("v", Map::V, width, inner, deviation(width))?,
            o: linear("o", Map::O, inner, width, deviation(inner))?,
            heads: config.heads(),
            dropout: config.dropout_rate,
        };
        let norm = norm(&format!("{name}.layer_norm"), config, builder)?;
        let role = if place.number == 0 { sublayers::Role::Attention } else { sublayers::Role::CrossAttention };
        let join = place.join(role, width, builder)?;
        Ok(Sublayer { norm, inner: attention, dropout: config.dropout_rate, join })
    }

    fn keys_and_values(&self, x: &Tensor, mode: Mode) -> Result<KeysAndValues> {
        Ok((self.heads.split(&self.k.forward(x, mode)?)?, self.heads.split(&self.v.forward(x, mode)?)?))
    }

    /// Scores are not divided by √width: the weights were made for that.
    fn see(&self, x: &Tensor, (keys, values): &KeysAndValues, bias: Option<&Tensor>, mode: Mode) -> Result<Tensor> {
        let q = self.heads.split(&self.q.forward(x, mode)?)?;
        let seen = attend_unordered(&q, keys, values, bias, Some(1.0), mode.dropout(self.dropout))?;
        self.o.forward(&self.heads.join(&seen)?, mode)
    }

    fn forward(&self, x: &Tensor, read: &Tensor, bias: Option<&Tensor>, mode: Mode) -> Result<Tensor> {
        self.see(x, &self.keys_and_values(read, mode)?, bias, mode)
    }
}

impl Mlp {
    fn sublayer(place: &Place, part: Part, config: &Config, builder: &mut Builder) -> Result<Sublayer<Self>> {
        let (name, width, inner) = (place.name(), config.d_model, config.d_ff);
        let deviation = |inputs: i64| Init::Normal(config.initializer_factor * (inputs as f64).sqrt().recip());
        let mut linear = |map: &str, role, inputs, outputs| {
            let name = format!("{name}.DenseReluDense.{map}");
            builder.linear(&name, Role::In(part, role), inputs, outputs, false, deviation(inputs))
        };
        let (gate, up, activation) = match config.feed_forward()? {
            FeedForward::Plain(activation) => (None, linear("wi", Map::Up, width, inner)?, activation),
            FeedForward::Gated(activation) => {
                let gate = linear("wi_0", Map::Gate, width, inner)?;
                (Some(gate), linear("wi_1", Map::Up, width, inner)?, activation)
            }
        };
        let down = linear("wo", Map::Down, inner, width)?;
        let norm = norm(&format!("{name}.layer_norm"), config, builder)?;
        let dropout = config.dropout_rate;
        let join = place.join(sublayers::Role::Mlp, width, builder)?;
        Ok(Sublayer { norm, inner: Self { gate, up, down, activation, dropout }, dropout, join })
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let up = self.up.forward(x, mode)?;
        let inner = match &self.gate {
            Some(gate) => self.activation.apply(&gate.forward(x, mode)?)?.f_mul(&up)?,
            None => self.activation.apply(&up)?,
        };
        self.down.forward(&dropped(inner, mode.dropout(self.dropout))?, mode)
    }
}

/// The table stands in the first layer and serves all of them.
fn positions(stack: &str, sight: Sight, config: &Config, builder: &mut Builder) -> Result<RelativePositions> {
    let name = format!("{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
    let count = config.relative_attention_num_buckets;
    let init = Init::Normal(config.initializer_factor * (config.d_model as f64).sqrt().recip());
    let weight = builder.tensor(&name, &[count, config.num_heads], init)?;
    let max_distance = config.relative_attention_max_distance;
    Ok(RelativePositions::new(weight, Buckets { count, max_distance, sight }))
}

fn norm(name: &str, config: &Config, builder: &mut Builder) -> Result<RmsNorm> {
    let weight = builder.tensor(&format!("{name}.weight"), &[config.d_model], Init::Constant(1.0))?;
    Ok(RmsNorm::new(weight, config.layer_norm_epsilon))
}
