//! The decoder that the families share: embedding, layers of self-attention and gated MLP, a last norm and the head. What
//! differs between families is which parts they put in. Knows no configuration, no checkpoint and no method.

pub mod attention;
pub mod config;
pub mod mlp;

use std::rc::Rc;

use tch::{Device, Kind, Tensor};

use self::attention::SelfAttention;
use self::config::Shape;
use self::mlp::GatedMlp;
use super::{Builder, CausalLm};
use crate::adapters::{Attentions, Reading};
use crate::error::{Error, Result};
use crate::layers::{
    Activation, Activations, Angles, Block, Cache, Front, Join, KeysBefore, LinearMap, Lookup, Mode, Norm, Packed,
    Prefix, RmsNorm, Rope, Sight, Sum, VirtualTokens, of_layer,
};
use crate::prefix_tree::Forest;
use crate::sublayers::{Role as SublayerRole, Sublayer};
use crate::targets::Role;
use crate::weights::Init;

/// A decoder.
#[derive(Debug)]
pub struct Decoder {
    /// Token ids to the first hidden states.
    pub embedding: Embedding,
    /// Virtual tokens at the front of every text, where a method puts some there.
    pub prompt: Option<VirtualTokens>,
    /// Keys and values before those of every text, where a method puts some there.
    pub prefix: Option<Rc<Prefix>>,
    /// How layers see a text; each layer names one of these by index.
    pub spans: Vec<Span>,
    /// The layers.
    pub layers: Vec<Rc<Layer>>,
    /// The norm before the head.
    pub norm: Box<dyn Norm>,
    /// The output head.
    pub head: Head,
    /// Number of token ids.
    pub vocabulary: i64,
    /// What training passes keep; each layer is a segment.
    pub activations: Rc<Activations>,
    /// Where its tensors are.
    pub device: Device,
}

/// How a layer sees a text.
#[derive(Debug)]
pub struct Span {
    /// Its rotary embedding.
    pub rope: Rope,
    /// How many positions each token sees, its own with them; without it, all before.
    pub window: Option<i64>,
}

/// A span for one batch of whole texts.
#[derive(Debug)]
pub struct Pass {
    /// The angles at all positions.
    pub angles: Angles,
    /// What each token sees.
    pub blocks: Vec<Block>,
}

/// The span of the last layer, where few of its states are asked for.
#[derive(Debug)]
pub struct LastPass {
    /// That of all tokens.
    pub all: Rc<Pass>,
    /// Where the few stand among them, `[few]`.
    pub few: Tensor,
    /// That of the few.
    pub of_few: Pass,
}

/// The embedding of tokens.
#[derive(Debug)]
pub struct Embedding {
    table: Rc<dyn Lookup>,
    scale: Option<f64>,
    compute: Kind,
}

/// A layer.
#[derive(Debug)]
pub struct Layer {
    /// Which of the decoder's spans it sees.
    pub span: usize,
    /// Its self-attention.
    pub attention: Residual<SelfAttention>,
    /// Its feed-forward part.
    pub mlp: Residual<GatedMlp>,
}

/// A part of a layer whose result is added to what came in.
#[derive(Debug)]
pub struct Residual<Part> {
    /// The norm of what comes in.
    pub before: Box<dyn Norm>,
    /// The part.
    pub part: Part,
    /// The norm of what the part gives, where a family has one.
    pub after: Option<Box<dyn Norm>>,
    /// How that joins what came in.
    pub join: Rc<dyn Join>,
}

/// The output head.
#[derive(Debug)]
pub struct Head {
    /// The map from hidden states to scores.
    pub map: Rc<dyn LinearMap>,
    /// Scores are squeezed between minus and plus this by `cap · tanh(x / cap)`, where it is given.
    pub cap: Option<f64>,
}

impl Embedding {
    /// An embedding by the rows of `table`, given as the kind `compute`.
    pub fn new(table: Rc<dyn Lookup>, compute: Kind) -> Self {
        Self { table, scale: None, compute }
    }

    /// With all rows multiplied by `scale`, rounded to the kind of the weight as transformers has it.
    pub fn scaled(self, scale: f64, kind: Kind) -> Result<Self> {
        let rounded = Tensor::from(scale as f32).f_to_kind(kind)?.f_double_value(&[])?;
        Ok(Self { scale: Some(rounded), ..self })
    }

    /// The virtual tokens that the method puts at the front of every text, if it does.
    pub fn prompt(&self, shape: &Shape, builder: &mut Builder) -> Result<Option<VirtualTokens>> {
        let device = builder.device();
        builder.prompt(&Reading {
            width: shape.hidden_size,
            vocabulary: shape.vocab_size,
            positions: Some(shape.max_position_embeddings),
            after: 0,
            embed: &|ids| self.forward(&Tensor::f_from_slice(ids)?.f_to_device(device)?, Mode::Eval),
        })
    }

    fn forward(&self, tokens: &Tensor, mode: Mode) -> Result<Tensor> {
        let rows = self.table.forward(tokens, mode)?;
        let rows = match self.scale {
            Some(scale) => rows.f_mul_scalar(scale)?,
            None => rows,
        };
        Ok(rows.f_to_kind(self.compute)?)
    }
}

impl<Part> Residual<Part> {
    fn forward(
        &self,
        x: &Tensor,
        mode: Mode,
        compute: impl FnOnce(&Part, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        self.joined(&compute(&self.part, &self.before.forward(x)?)?, x, mode)
    }

    /// The same where the part gives something for the tokens at the places `few` of `[1, length, width]` alone:
    /// `[1, few, width]`.
    fn forward_few(
        &self,
        x: &Tensor,
        few: &Tensor,
        mode: Mode,
        compute: impl FnOnce(&Part, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let y = compute(&self.part, &self.before.forward(x)?)?;
        self.joined(&y, &x.f_index_select(1, few)?, mode)
    }

    fn joined(&self, y: &Tensor, x: &Tensor, mode: Mode) -> Result<Tensor> {
        match &self.after {
            Some(norm) => self.join.forward(&norm.forward(y)?, x, mode),
            None => self.join.forward(y, x, mode),
        }
    }
}

impl Layer {
    fn forward(
        &self,
        x: &Tensor,
        mode: Mode,
        attention: impl FnOnce(&SelfAttention, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let x = self.attention.forward(x, mode, attention)?;
        self.mlp.forward(&x, mode, |mlp, x| mlp.forward(x, mode))
    }

    fn forward_whole(&self, x: &Tensor, before: Option<(&Tensor, &Tensor)>, pass: &Pass, mode: Mode) -> Result<Tensor> {
        self.forward(x, mode, |attention, x| attention.forward(x, before, pass, mode))
    }

    /// What comes out of the few tokens that are asked for, `[1, few, width]`: keys and values of all are computed, everything
    /// else of the few.
    fn forward_few(
        &self,
        x: &Tensor,
        before: Option<(&Tensor, &Tensor)>,
        pass: &LastPass,
        mode: Mode,
    ) -> Result<Tensor> {
        let attend = |attention: &SelfAttention, x: &Tensor| attention.forward_few(x, before, pass, mode);
        let x = self.attention.forward_few(x, &pass.few, mode, attend)?;
        self.mlp.forward(&x, mode, |mlp, x| mlp.forward(x, mode))
    }
}

impl Decoder {
    /// How many keys stand before those of every text, and they and their values, of each layer, in this kind.
    fn before(&self, kind: Kind) -> Result<(i64, Vec<KeysBefore>)> {
        match &self.prefix {
            Some(prefix) => Ok((prefix.count(), prefix.of_layers(kind)?)),
            None => Ok((0, Vec::new())),
        }
    }

    /// What the method puts before every text.
    fn front(&self) -> Front {
        let count = |count: i64| usize::try_from(count).unwrap_or_default();
        Front {
            tokens: self.prompt.as_ref().map_or(0, |prompt| count(prompt.count())),
            keys: self.prefix.as_ref().map_or(0, |prefix| count(prefix.count())),
        }
    }

    /// The states of packed texts that the head reads, those that are asked for: `[asked, width]`.
    fn read(&self, texts: &Packed, mode: Mode) -> Result<Tensor> {
        let mut x = texts.embedded(|ids| self.embedding.forward(ids, mode), self.prompt.as_ref())?;
        let (_, before) = self.before(x.f_kind()?)?;
        let last_span = self.layers.last().map(|layer| layer.span);
        let (mut passes, mut last_pass) = (Vec::new(), None);
        for (index, span) in self.spans.iter().enumerate() {
            let Sight { all, few } = texts.sight(span.window)?;
            let pass = Rc::new(Pass { angles: span.rope.angles(&texts.places)?, blocks: all });
            if let (Some(places), Some(blocks), true) = (texts.few(), few, Some(index) == last_span) {
                let of_few = Pass { angles: span.rope.angles(&texts.places.f_index_select(1, places)?)?, blocks };
                last_pass = Some(Rc::new(LastPass { all: Rc::clone(&pass), few: places.shallow_clone(), of_few }));
            }
            passes.push(pass);
        }
        for (index, layer) in self.layers.iter().enumerate() {
            let (layer, before) = (Rc::clone(layer), of_layer(&before, index)?);
            let last = last_pass.as_ref().filter(|_| index + 1 == self.layers.len());
            x = match last.map(Rc::clone) {
                Some(pass) => self
                    .activations
                    .layer(&x, before, mode, move |x, before| layer.forward_few(x, before, &pass, mode))?,
                None => {
                    let pass = Rc::clone(at(&passes, layer.span)?);
                    self.activations
                        .layer(&x, before, mode, move |x, before| layer.forward_whole(x, before, &pass, mode))?
                }
            };
        }
        self.norm.forward(&texts.asked(&x)?)
    }
}

impl CausalLm for Decoder {
    fn hidden(&self, tokens: &Tensor, mode: Mode) -> Result<Tensor> {
        let (rows, length) = tokens.size2()?;
        Ok(self.read(&Packed::rectangle(tokens, self.front())?, mode)?.f_view([rows, length, -1])?)
    }

    fn hidden_at_targets(&self, texts: &Forest, mode: Mode) -> Result<Tensor> {
        self.read(&Packed::new(texts, self.front(), self.device)?, mode)
    }

    fn hidden_next(&self, tokens: &Tensor, cache: &mut Cache) -> Result<Tensor> {
        let mut x = self.embedding.forward(tokens, Mode::Eval)?;
        // They stand before the first column, so the first pass alone reads them.
        let prompt = self.prompt.as_ref().filter(|_| cache.is_new());
        if let Some(prompt) = prompt {
            x = prompt.insert(&x)?;
            cache.lengthen(prompt.count());
        }
        let (rows, length, _) = x.size3()?;
        if cache.is_new() {
            cache.begin(&self.before(x.f_kind()?)?.1, rows)?;
        }
        let positions = cache.positions(length)?;
        let mut views = Vec::new();
        for span in &self.spans {
            views.push((span.rope.angles(&positions)?, cache.view(length, span.window)?));
        }
        for (index, layer) in self.layers.iter().enumerate() {
            let (angles, view) = at(&views, layer.span)?;
            x = layer.forward(&x, Mode::Eval, |attention, x| attention.forward_next(x, angles, view, index, cache))?;
        }
        cache.advance(length);
        if let Some(prompt) = prompt {
            x = prompt.remove(&x)?;
        }
        self.norm.forward(&x)
    }

    fn logits(&self, hidden: &Tensor, mode: Mode) -> Result<Tensor> {
        let scores = self.head.map.forward(hidden, mode)?;
        match self.head.cap {
            Some(cap) => Ok(scores.f_div_scalar(cap)?.f_tanh()?.f_mul_scalar(cap)?),
            None => Ok(scores),
        }
    }

    fn layers(&self) -> usize {
        self.layers.len()
    }

    fn vocabulary(&self) -> i64 {
        self.vocabulary
    }
}

fn at<T>(of_spans: &[T], span: usize) -> Result<&T> {
    of_spans.get(span).ok_or_else(|| {
        let problem = format!("a layer names span {span}, there are {}", of_spans.len());
        Error::setting("model", problem, "give the decoder a span for each index its layers use")
    })
}

/// What the families that came after Llama have kept of it: its names, two norms a layer, and a head without a cap. A
/// family adds what a layer sees and its self-attention.
pub fn like_llama(
    shape: &Shape,
    spans: Vec<Span>,
    mlp_bias: bool,
    builder: &mut Builder,
    attention: impl FnMut(usize, &str, &mut Builder) -> Result<(usize, SelfAttention)>,
) -> Result<Decoder> {
    let (sizes, init) = ([shape.hidden_size, shape.intermediate_size], Init::Normal(shape.initializer_range));
    let mlp = |name: &str, builder: &mut Builder| GatedMlp::new(name, sizes, mlp_bias, Activation::Silu, init, builder);
    like_llama_but(shape, spans, builder, attention, mlp)
}

/// The same but for the feed-forward part, which the family makes, too.
pub fn like_llama_but(
    shape: &Shape,
    spans: Vec<Span>,
    builder: &mut Builder,
    mut attention: impl FnMut(usize, &str, &mut Builder) -> Result<(usize, SelfAttention)>,
    mut mlp: impl FnMut(&str, &mut Builder) -> Result<GatedMlp>,
) -> Result<Decoder> {
    let (width, vocabulary) = (shape.hidden_size, shape.vocab_size);
    let init = Init::Normal(shape.initializer_range);
    let norm = |name: &str, builder: &mut Builder| rms_norm(name, width, shape.rms_norm_eps, builder);
    let weight = builder.tensor("model.embed_tokens.weight", &[vocabulary, width], init)?;
    let mut layers = Vec::new();
    for index in 0..shape.num_hidden_layers {
        let name = format!("model.layers.{index}");
        let before = norm(&format!("{name}.input_layernorm"), builder)?;
        let (span, part) = attention(index, &format!("{name}.self_attn"), builder)?;
        let join = end(&name, SublayerRole::Attention, index, width, builder)?;
        let attention = Residual { before, part, after: None, join };
        let before = norm(&format!("{name}.post_attention_layernorm"), builder)?;
        let part = mlp(&format!("{name}.mlp"), builder)?;
        let join = end(&name, SublayerRole::Mlp, index, width, builder)?;
        layers.push(Rc::new(Layer { span, attention, mlp: Residual { before, part, after: None, join } }));
    }
    let norm = norm("model.norm", builder)?;
    let map = if shape.tie_word_embeddings {
        builder.tied_linear("lm_head", Role::Head, &weight)?
    } else {
        builder.linear("lm_head", Role::Head, width, vocabulary, false, init)?
    };
    let table = builder.lookup("model.embed_tokens", &weight, shape.padding_id().unwrap_or(-1))?;
    let embedding = Embedding::new(table, builder.compute());
    let prompt = embedding.prompt(shape, builder)?;
    let prefix = prefix(shape, builder)?;
    let (head, activations, device) = (Head { map, cap: None }, builder.activations(), builder.device());
    Ok(Decoder { embedding, prompt, prefix, spans, layers, norm, head, vocabulary, activations, device })
}

/// The keys and values that the method puts before those of every text, if it does.
pub fn prefix(shape: &Shape, builder: &mut Builder) -> Result<Option<Rc<Prefix>>> {
    let heads = shape.heads();
    builder.prefix(&Attentions {
        layers: shape.num_hidden_layers,
        heads: heads.keys,
        width: heads.width,
        positions: Some(shape.max_position_embeddings),
        stride: 1,
    })
}

/// The end of a sublayer of the layer called `name`.
pub fn end(name: &str, role: SublayerRole, layer: usize, width: i64, builder: &mut Builder) -> Result<Rc<dyn Join>> {
    let module = if role == SublayerRole::Mlp { "mlp" } else { "self_attn" };
    builder.join(Sublayer { name: format!("{name}.{module}"), role, layer, width }, Sum::plain())
}

/// The norm `name` over vectors of `width`.
pub fn rms_norm(name: &str, width: i64, epsilon: f64, builder: &mut Builder) -> Result<Box<dyn Norm>> {
    let weight = builder.tensor(&format!("{name}.weight"), &[width], Init::Constant(1.0))?;
    Ok(Box::new(RmsNorm::new(weight, epsilon)))
}
