//! The encoder that BERT and RoBERTa share: embeddings of tokens, positions and token types, and layers with a norm after
//! each sublayer. Devlin et al. (arXiv 1810.04805). Layers are named as in the checkpoints. Knows neither what a position
//! is called in a family, nor a head.

use std::rc::Rc;

use tch::{Kind, Tensor};

use super::Config;
use crate::adapters::{Attentions, Reading};
use crate::error::{Error, Result};
use crate::layers::{
    Activation, Activations, Block, Heads, Join, KeysBefore, LayerNorm, LinearMap, Lookup, Mode, Prefix, Sum, Unpadded,
    VirtualTokens, attend_blocks, dropped, of_layer,
};
use crate::models::{Builder, Texts};
use crate::sublayers::{Role as SublayerRole, Sublayer};
use crate::targets::Role;
use crate::weights::Init;

/// Embeddings and layers.
#[derive(Debug)]
pub struct Encoder {
    words: Rc<dyn Lookup>,
    /// Virtual tokens behind the first token of every text, whose state the heads read.
    prompt: Option<VirtualTokens>,
    /// Keys and values before those of every text.
    prefix: Option<Rc<Prefix>>,
    positions: Tensor,
    types: Tensor,
    norm: LayerNorm,
    layers: Vec<Rc<Layer>>,
    activations: Rc<Activations>,
    compute: Kind,
    padding: Padding,
    dropout: f64,
    /// Number of token ids.
    pub vocabulary: i64,
}

/// The ids of padding, whose embeddings get no gradient, as in transformers; −1 where there is none.
#[derive(Debug, Clone, Copy)]
pub struct Padding {
    /// Among the tokens.
    pub token: i64,
    /// Among the positions.
    pub position: i64,
}

/// Embedded texts.
struct Read {
    /// Their first states, `[1, tokens, width]`.
    x: Tensor,
    texts: Unpadded,
    /// Keys and values before those of every text, of each layer.
    before: Vec<KeysBefore>,
}

#[derive(Debug)]
struct Layer {
    q: Rc<dyn LinearMap>,
    k: Rc<dyn LinearMap>,
    v: Rc<dyn LinearMap>,
    o: Rc<dyn LinearMap>,
    attention_join: Rc<dyn Join>,
    up: Rc<dyn LinearMap>,
    down: Rc<dyn LinearMap>,
    mlp_join: Rc<dyn Join>,
    heads: Heads,
    activation: Activation,
    attention_dropout: f64,
    dropout: f64,
}

impl Encoder {
    /// Makes the encoder whose tensors' names begin with `name`, such as `bert`.
    pub fn new(name: &str, config: &Config, padding: Padding, builder: &mut Builder) -> Result<Self> {
        let (width, init) = (config.hidden_size, Init::Normal(config.initializer_range));
        // Numbers from 0 on, which some files hold though they are known.
        builder.accept(&format!("{name}.embeddings.position_ids"));
        builder.accept(&format!("{name}.embeddings.token_type_ids"));
        let mut table = |what: &str, rows| {
            builder.tensor(&format!("{name}.embeddings.{what}_embeddings.weight"), &[rows, width], init)
        };
        let weight = table("word", config.vocab_size)?;
        let positions = table("position", config.max_position_embeddings)?;
        let types = table("token_type", config.type_vocab_size)?;
        let words = builder.lookup(&format!("{name}.embeddings.word_embeddings"), &weight, padding.token)?;
        let norm = norm(&format!("{name}.embeddings.LayerNorm"), config, builder)?;
        let layers = (0..config.num_hidden_layers)
            .map(|index| Layer::new(&format!("{name}.encoder.layer.{index}"), index, config, builder).map(Rc::new))
            .collect::<Result<Vec<_>>>()?;
        let (dropout, vocabulary) = (config.hidden_dropout_prob, config.vocab_size);
        let (activations, compute) = (builder.activations(), builder.compute());
        let device = builder.device();
        let known = Some(config.max_position_embeddings - padding.position - 1);
        let (layers_count, Heads { keys, width: of_head, .. }) = (config.num_hidden_layers, config.heads());
        let attentions = Attentions { layers: layers_count, heads: keys, width: of_head, positions: known, stride: 1 };
        let prefix = builder.prefix(&attentions)?;
        let prompt = builder.prompt(&Reading {
            width,
            vocabulary,
            positions: known,
            after: 1,
            embed: &|ids| words.forward(&Tensor::f_from_slice(ids)?.f_to_device(device)?, Mode::Eval),
        })?;
        Ok(Self {
            words,
            prompt,
            prefix,
            positions,
            types,
            norm,
            layers,
            activations,
            compute,
            padding,
            dropout,
            vocabulary,
        })
    }

    /// One number for each token of texts, `[rows, length]`, with a one for each virtual token among them.
    pub fn with_virtual(&self, numbers: &Tensor) -> Result<Tensor> {
        match &self.prompt {
            Some(prompt) => prompt.marked(numbers, 1),
            None => Ok(numbers.shallow_clone()),
        }
    }

    /// Positions from 0 on, the same in every row, `[1, length]`; virtual tokens have some too.
    pub fn from_zero(&self, texts: &Texts) -> Result<Tensor> {
        let (first, length) = (self.keys_before(), texts.ids.size2()?.1 + self.virtual_tokens());
        Ok(Tensor::f_arange_start(first, first + length, (Kind::Int64, texts.ids.device()))?.f_unsqueeze(0)?)
    }

    /// How many keys stand before those of every text, and take a position each.
    pub fn keys_before(&self) -> i64 {
        self.prefix.as_ref().map_or(0, |prefix| prefix.count())
    }

    fn virtual_tokens(&self) -> i64 {
        self.prompt.as_ref().map_or(0, VirtualTokens::count)
    }

    /// The hidden states `[rows, length, width]` of texts whose tokens, virtual ones among them, stand at `positions`
    /// (`[rows or 1, …]`); of padding they are zero.
    pub fn hidden(&self, texts: &Texts, positions: &Tensor, mode: Mode) -> Result<Tensor> {
        let Read { mut x, texts: unpadded, before } = self.begin(texts, positions, mode)?;
        let blocks = Rc::new(unpadded.all(self.keys_before())?);
        for (index, layer) in self.layers.iter().enumerate() {
            x = self.layer(layer, &x, of_layer(&before, index)?, &blocks, mode)?;
        }
        let padded = unpadded.unpack(&x)?;
        match &self.prompt {
            Some(prompt) => prompt.remove(&padded),
            None => Ok(padded),
        }
    }

    /// The hidden states `[rows, width]` of the first token of each text alone; see [`hidden`](Self::hidden). The last layer
    /// computes keys and values of all tokens, and everything else of the first ones.
    pub fn first(&self, texts: &Texts, positions: &Tensor, mode: Mode) -> Result<Tensor> {
        let Read { mut x, texts: unpadded, before } = self.begin(texts, positions, mode)?;
        let blocks = Rc::new(unpadded.all(self.keys_before())?);
        let Some((last, layers)) = self.layers.split_last() else {
            return unpadded.of_rows(&x.f_index_select(1, unpadded.firsts())?);
        };
        for (index, layer) in layers.iter().enumerate() {
            x = self.layer(layer, &x, of_layer(&before, index)?, &blocks, mode)?;
        }
        let (layer, firsts) = (Rc::clone(last), unpadded.firsts().shallow_clone());
        let blocks = unpadded.first(self.keys_before())?;
        let compute = move |x: &Tensor, before: Option<(&Tensor, &Tensor)>| {
            layer.forward(&x.f_index_select(1, &firsts)?, x, before, &blocks, mode)
        };
        unpadded.of_rows(&self.activations.layer(&x, of_layer(&before, layers.len())?, mode, compute)?)
    }

    /// Embeds texts, one behind the other.
    fn begin(&self, texts: &Texts, positions: &Tensor, mode: Mode) -> Result<Read> {
        self.check(texts, positions)?;
        let added = usize::try_from(self.virtual_tokens()).unwrap_or_default();
        let lengths: Vec<usize> = texts.lengths.iter().map(|length| length + added).collect();
        let unpadded = Unpadded::new(&lengths, texts.ids.device())?;
        let words = match &self.prompt {
            Some(prompt) => unpadded.pack(&prompt.insert(&self.words.forward(&texts.ids, mode)?)?)?,
            None => self.words.forward(&unpadded.pack(&texts.ids)?, mode)?,
        };
        let types = match (&texts.types, &self.prompt) {
            (Some(types), Some(prompt)) => Some(prompt.marked(types, 0)?),
            (types, _) => types.as_ref().map(Tensor::shallow_clone),
        };
        let types = match types {
            Some(types) => Tensor::f_embedding(&self.types, &unpadded.pack(&types)?, -1, false, false)?,
            None => self.types.f_narrow(0, 0, 1)?,
        };
        let places = unpadded.pack(&positions.f_expand([lengths.len() as i64, -1], false)?)?;
        let places = Tensor::f_embedding(&self.positions, &places, self.padding.position, false, false)?;
        let x = self.norm.forward(&words.f_add(&types)?.f_add(&places)?.f_to_kind(self.compute)?)?;
        let before = match &self.prefix {
            Some(prefix) => prefix.of_layers(self.compute)?,
            None => Vec::new(),
        };
        Ok(Read { x: dropped(x, mode.dropout(self.dropout))?, texts: unpadded, before })
    }

    fn layer(
        &self,
        layer: &Rc<Layer>,
        x: &Tensor,
        before: Option<(&Tensor, &Tensor)>,
        blocks: &Rc<Vec<Block>>,
        mode: Mode,
    ) -> Result<Tensor> {
        let (layer, blocks) = (Rc::clone(layer), Rc::clone(blocks));
        self.activations.layer(x, before, mode, move |x, before| layer.forward(x, x, before, &blocks, mode))
    }

    fn check(&self, texts: &Texts, positions: &Tensor) -> Result<()> {
        let added = self.virtual_tokens() + self.keys_before();
        let (known, length) = (self.positions.size2()?.0, positions.size2()?.1 + self.keys_before());
        let first = self.padding.position + 1;
        if length + first > known {
            let (of, places) = (length - added, known - first);
            let (besides, hint) = match added {
                0 => (String::new(), "tokenize with this `max_length`".to_owned()),
                count => {
                    (format!(" and the adapter {count}"), format!("tokenize with `max_length: {}`", places - count))
                }
            };
            let problem = format!("a row has {of} tokens{besides}, the model has positions for {places}");
            return Err(Error::setting("max_length", problem, hint));
        }
        if let Some(types) = &texts.types
            && types.f_max()?.f_int64_value(&[])? >= self.types.size2()?.0
        {
            let problem = format!("the tokenizer makes pairs, the model has {} token types", self.types.size2()?.0);
            return Err(Error::setting("pair", problem, "tokenize with the tokenizer that belongs to the model"));
        }
        Ok(())
    }
}

impl Layer {
    fn new(name: &str, index: usize, config: &Config, builder: &mut Builder) -> Result<Self> {
        let (width, inner, init) =
            (config.hidden_size, config.intermediate_size, Init::Normal(config.initializer_range));
        let mut linear = |part: &str, role, inputs, outputs| {
            builder.linear(&format!("{name}.{part}"), role, inputs, outputs, true, init)
        };
        let q = linear("attention.self.query", Role::AttentionQ, width, width)?;
        let k = linear("attention.self.key", Role::AttentionK, width, width)?;
        let v = linear("attention.self.value", Role::AttentionV, width, width)?;
        let o = linear("attention.output.dense", Role::AttentionO, width, width)?;
        let up = linear("intermediate.dense", Role::MlpUp, width, inner)?;
        let down = linear("output.dense", Role::MlpDown, inner, width)?;
        let mut join = |module: &str, role| {
            let module = format!("{name}.{module}");
            let plain = Sum::normed(norm(&format!("{module}.LayerNorm"), config, builder)?);
            builder.join(Sublayer { name: module, role, layer: index, width }, plain)
        };
        Ok(Self {
            q,
            k,
            v,
            o,
            attention_join: join("attention.output", SublayerRole::Attention)?,
            up,
            down,
            mlp_join: join("output", SublayerRole::Mlp)?,
            heads: config.heads(),
            activation: config.hidden_act,
            attention_dropout: config.attention_probs_dropout_prob,
            dropout: config.hidden_dropout_prob,
        })
    }

    /// The states of `asked`, tokens among `x`, which are all tokens of the texts.
    fn forward(
        &self,
        asked: &Tensor,
        x: &Tensor,
        before: Option<(&Tensor, &Tensor)>,
        blocks: &[Block],
        mode: Mode,
    ) -> Result<Tensor> {
        let heads = |map: &Rc<dyn LinearMap>, x: &Tensor| self.heads.split(&map.forward(x, mode)?);
        let (q, k, v) = (heads(&self.q, asked)?, heads(&self.k, x)?, heads(&self.v, x)?);
        let seen = attend_blocks([&q, &k, &v], before, blocks, None, mode.dropout(self.attention_dropout))?;
        let attended = dropped(self.o.forward(&seen, mode)?, mode.dropout(self.dropout))?;
        let x = self.attention_join.forward(&attended, asked, mode)?;
        let inner = self.activation.apply(&self.up.forward(&x, mode)?)?;
        let made = dropped(self.down.forward(&inner, mode)?, mode.dropout(self.dropout))?;
        self.mlp_join.forward(&made, &x, mode)
    }
}

/// A norm; old files call its weight `gamma` and its bias `beta`.
fn norm(name: &str, config: &Config, builder: &mut Builder) -> Result<LayerNorm> {
    let width = [config.hidden_size];
    let mut tensor = |part: &str, older: &str, init| {
        builder.tensor_once_called(&format!("{name}.{part}"), &format!("{name}.{older}"), &width, init)
    };
    let weight = tensor("weight", "gamma", Init::Constant(1.0))?;
    let bias = tensor("bias", "beta", Init::Constant(0.0))?;
    Ok(LayerNorm::new(weight, bias, config.layer_norm_eps))
}
