//! The Llama family, 1 to 3: grouped-query attention, rotary embedding with llama3 scaling, gated MLP, tied or untied
//! head. Touvron et al. (arXiv 2302.13971), The Llama 3 Herd of Models (arXiv 2407.21783). Layers are named as in the
//! checkpoints. Knows nothing of methods: its linear maps are what the builder returns.

mod config;

use std::rc::Rc;

use serde_json::Value;
use tch::{Kind, Tensor};

use super::{Builder, CausalLm, Network, Task};
use crate::error::Result;
use crate::layers::{Angles, Cache, Heads, LinearMap, Mode, RmsNorm, Rope, attend};
use crate::targets::Role;
use crate::weights::Init;

pub use config::Config;

/// Makes a Llama as `config` (a `config.json`) describes it.
pub fn build(config: &Value, task: Task, builder: &mut Builder) -> Result<Option<Network>> {
    Ok(match task {
        Task::LanguageModel => Some(Network::CausalLm(Box::new(Llama::new(&Config::read(config)?, builder)?))),
        _ => None,
    })
}

/// A Llama.
#[derive(Debug)]
pub struct Llama {
    embedding: Tensor,
    padding_id: i64,
    layers: Vec<Layer>,
    norm: RmsNorm,
    head: Rc<dyn LinearMap>,
    rope: Rope,
    vocabulary: i64,
}

#[derive(Debug)]
struct Layer {
    input_norm: RmsNorm,
    attention: Attention,
    post_attention_norm: RmsNorm,
    mlp: Mlp,
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
    gate: Rc<dyn LinearMap>,
    up: Rc<dyn LinearMap>,
    down: Rc<dyn LinearMap>,
}

impl Llama {
    /// Makes the model that `config` describes from what `builder` gives.
    pub fn new(config: &Config, builder: &mut Builder) -> Result<Self> {
        let (width, vocabulary) = (config.hidden_size, config.vocab_size);
        let init = Init::Normal(config.initializer_range);
        let embedding = builder.tensor("model.embed_tokens.weight", &[vocabulary, width], init)?;
        let layers = (0..config.num_hidden_layers)
            .map(|index| Layer::new(config, index, builder))
            .collect::<Result<Vec<_>>>()?;
        let norm = norm("model.norm", config, builder)?;
        let head = if config.tie_word_embeddings {
            builder.tied_linear("lm_head", Role::Head, &embedding)?
        } else {
            builder.linear("lm_head", Role::Head, width, vocabulary, false, init)?
        };
        let rope = Rope::new(config.head_dim(), config.rope_theta()?, config.rope_scaling()?, builder.device())?;
        let padding_id = config.pad_token_id.filter(|&id| id < vocabulary).unwrap_or(-1);
        Ok(Self { embedding, padding_id, layers, norm, head, rope, vocabulary })
    }

    /// The embedded tokens; the padding token's row gets no gradient here, as in transformers.
    fn embed(&self, tokens: &Tensor) -> Result<Tensor> {
        Ok(Tensor::f_embedding(&self.embedding, tokens, self.padding_id, false, false)?)
    }
}

impl CausalLm for Llama {
    fn hidden(&self, tokens: &Tensor, mode: Mode) -> Result<Tensor> {
        let (_, length) = tokens.size2()?;
        let positions = Tensor::f_arange(length, (Kind::Int64, tokens.device()))?.f_unsqueeze(0)?;
        let angles = self.rope.angles(&positions)?;
        let mut x = self.embed(tokens)?;
        for layer in &self.layers {
            x = layer.forward(&x, mode, |attention, x| attention.forward(x, &angles, mode))?;
        }
        self.norm.forward(&x)
    }

    fn hidden_next(&self, tokens: &Tensor, cache: &mut Cache) -> Result<Tensor> {
        let (_, length) = tokens.size2()?;
        let angles = self.rope.angles(&cache.start(length)?)?;
        let mut x = self.embed(tokens)?;
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, Mode::Eval, |attention, x| attention.forward_next(x, &angles, index, cache))?;
        }
        cache.advance(length);
        self.norm.forward(&x)
    }

    fn logits(&self, hidden: &Tensor, mode: Mode) -> Result<Tensor> {
        self.head.forward(hidden, mode)
    }

    fn layers(&self) -> usize {
        self.layers.len()
    }

    fn vocabulary(&self) -> i64 {
        self.vocabulary
    }
}

impl Layer {
    fn new(config: &Config, index: usize, builder: &mut Builder) -> Result<Self> {
        let name = format!("model.layers.{index}");
        let input_norm = norm(&format!("{name}.input_layernorm"), config, builder)?;
        let attention = Attention::new(&format!("{name}.self_attn"), config, builder)?;
        let post_attention_norm = norm(&format!("{name}.post_attention_layernorm"), config, builder)?;
        let mlp = Mlp::new(&format!("{name}.mlp"), config, builder)?;
        Ok(Self { input_norm, attention, post_attention_norm, mlp })
    }

    fn forward(
        &self,
        x: &Tensor,
        mode: Mode,
        attention: impl FnOnce(&Attention, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let x = x.f_add(&attention(&self.attention, &self.input_norm.forward(x)?)?)?;
        Ok(x.f_add(&self.mlp.forward(&self.post_attention_norm.forward(&x)?, mode)?)?)
    }
}

impl Attention {
    fn new(name: &str, config: &Config, builder: &mut Builder) -> Result<Self> {
        let heads = config.heads();
        let (width, bias) = (config.hidden_size, config.attention_bias);
        let (queries, keys) = (heads.queries * heads.width, heads.keys * heads.width);
        let init = Init::Normal(config.initializer_range);
        // Checkpoints of early converters hold the frequencies of the rotary embedding.
        builder.accept(&format!("{name}.rotary_emb.inv_freq"))?;
        Ok(Self {
            q: builder.linear(&format!("{name}.q_proj"), Role::AttentionQ, width, queries, bias, init)?,
            k: builder.linear(&format!("{name}.k_proj"), Role::AttentionK, width, keys, bias, init)?,
            v: builder.linear(&format!("{name}.v_proj"), Role::AttentionV, width, keys, bias, init)?,
            o: builder.linear(&format!("{name}.o_proj"), Role::AttentionO, queries, width, bias, init)?,
            heads,
            dropout: config.attention_dropout,
        })
    }

    /// Queries and keys, turned by their positions, and values, each `[rows, heads, length, width]`.
    fn project(&self, x: &Tensor, angles: &Angles, mode: Mode) -> Result<[Tensor; 3]> {
        let q = angles.turn(&self.heads.split(&self.q.forward(x, mode)?)?)?;
        let k = angles.turn(&self.heads.split(&self.k.forward(x, mode)?)?)?;
        let v = self.heads.split(&self.v.forward(x, mode)?)?;
        Ok([q, k, v])
    }

    fn forward(&self, x: &Tensor, angles: &Angles, mode: Mode) -> Result<Tensor> {
        let [q, k, v] = self.project(x, angles, mode)?;
        let seen = attend(&q, &k, &v, None, mode.dropout(self.dropout))?;
        self.o.forward(&self.heads.join(&seen)?, mode)
    }

    fn forward_next(&self, x: &Tensor, angles: &Angles, layer: usize, cache: &mut Cache) -> Result<Tensor> {
        let [q, k, v] = self.project(x, angles, Mode::Eval)?;
        let (keys, values) = cache.extend(layer, &k, &v)?;
        let seen = attend(&q, &keys, &values, cache.mask(), 0.0)?;
        self.o.forward(&self.heads.join(&seen)?, Mode::Eval)
    }
}

impl Mlp {
    fn new(name: &str, config: &Config, builder: &mut Builder) -> Result<Self> {
        let (width, inner, bias) = (config.hidden_size, config.intermediate_size, config.mlp_bias);
        let init = Init::Normal(config.initializer_range);
        Ok(Self {
            gate: builder.linear(&format!("{name}.gate_proj"), Role::MlpGate, width, inner, bias, init)?,
            up: builder.linear(&format!("{name}.up_proj"), Role::MlpUp, width, inner, bias, init)?,
            down: builder.linear(&format!("{name}.down_proj"), Role::MlpDown, inner, width, bias, init)?,
        })
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let gate = self.gate.forward(x, mode)?.f_silu()?;
        self.down.forward(&gate.f_mul(&self.up.forward(x, mode)?)?, mode)
    }
}

fn norm(name: &str, config: &Config, builder: &mut Builder) -> Result<RmsNorm> {
    let weight = builder.tensor(&format!("{name}.weight"), &[config.hidden_size], Init::Constant(1.0))?;
    Ok(RmsNorm::new(weight, config.rms_norm_eps))
}
