//! T5, an encoder–decoder, v1.0 and v1.1: relative positions, norms before each sublayer, plain or gated MLP, tied and
//! scaled or untied head. Raffel et al. (arXiv 1910.10683). Layers are named as in the checkpoints. Knows nothing of
//! methods: its linear maps are what the builder returns.

mod config;
mod positions;
mod stack;
mod writing;

use std::rc::Rc;

use serde_json::Value;
use tch::{Kind, Tensor};

use super::{Builder, Network, Seq2SeqLm, Task, Texts, Writing};
use crate::adapters::Reading;
use crate::error::{Error, Result};
use crate::layers::{Linear, LinearMap, Mode, VirtualTokens};
use crate::targets::Role;
use crate::weights::Init;

pub use config::{Config, FeedForward};
use stack::{Decoder, Encoder};
use writing::Answers;

/// Makes a T5 as `config` (a `config.json`) describes it.
pub fn build(config: &Value, task: Task, builder: &mut Builder) -> Result<Option<Network>> {
    Ok(match task {
        Task::LanguageModel => Some(Network::Seq2SeqLm(Box::new(T5::new(&Config::read(config)?, builder)?))),
        Task::SequenceClassification { .. } | Task::QuestionAnswering => None,
    })
}

/// A T5.
#[derive(Debug)]
pub struct T5 {
    embedding: Tensor,
    /// Virtual tokens at the front of every text that is read.
    prompt: Option<VirtualTokens>,
    encoder: Encoder,
    decoder: Decoder,
    head: Rc<dyn LinearMap>,
    /// What the decoder's states are multiplied by before the head.
    scale: Option<f64>,
    start_id: i64,
    vocabulary: i64,
    compute: Kind,
}

impl T5 {
    /// Makes the model that `config` describes from what `builder` gives.
    pub fn new(config: &Config, builder: &mut Builder) -> Result<Self> {
        if builder.compute() == Kind::Half {
            let problem = "what the feed-forward layers of a T5 add up to overflows fp16";
            return Err(Error::setting("precision", problem, "use `bf16` or `float32`"));
        }
        let (width, vocabulary) = (config.d_model, config.vocab_size);
        let init = Init::Normal(config.initializer_factor);
        let embedding = builder.tensor("shared.weight", &[vocabulary, width], init)?;
        for name in ["shared", "encoder.embed_tokens", "decoder.embed_tokens"] {
            builder.fixed_lookup(name, "encoder and decoder of a T5 share it, and a checkpoint holds it once")?;
        }
        // The embedding again, and a table that old checkpoints hold and nothing reads.
        builder.leave_out("encoder.embed_tokens.weight");
        builder.leave_out("decoder.embed_tokens.weight");
        builder.leave_out("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight");
        let encoder = Encoder::new(config, builder)?;
        let decoder = Decoder::new(config, builder)?;
        // Newer files of v1.1 say that they are tied, and hold a head nevertheless.
        let own_head = !config.tie_word_embeddings || (!config.scaled() && builder.holds("lm_head.weight"));
        let head: Rc<dyn LinearMap> = match own_head {
            true => builder.linear("lm_head", Role::Head, width, vocabulary, false, init)?,
            // No method's to change: untied, it would lose the scale that belongs to it.
            false => {
                builder.fixed_linear(
                    "lm_head",
                    Role::Head,
                    "tied to the embedding, it is scaled; untied, it would not be",
                )?;
                builder.same_tensor("lm_head.weight", &embedding)?;
                Rc::new(Linear { weight: embedding.shallow_clone(), bias: None })
            }
        };
        let scale = config.scaled().then(|| (width as f64).sqrt().recip());
        let (start_id, compute) = (config.start_id(), builder.compute());
        let prompt = builder.prompt(&Reading {
            width,
            vocabulary,
            positions: None,
            after: 0,
            embed: &|ids| embed(&embedding, &Tensor::f_from_slice(ids)?.f_to_device(embedding.device())?, compute),
        })?;
        Ok(Self { embedding, prompt, encoder, decoder, head, scale, start_id, vocabulary, compute })
    }

    fn embed(&self, tokens: &Tensor) -> Result<Tensor> {
        embed(&self.embedding, tokens, self.compute)
    }

    /// Which of the encoder's states may be seen; virtual tokens have some too.
    fn mask(&self, texts: &Texts) -> Result<Option<Tensor>> {
        match (texts.mask()?, &self.prompt) {
            (Some(mask), Some(prompt)) => Ok(Some(prompt.seen(&mask)?)),
            (mask, _) => Ok(mask),
        }
    }
}

fn embed(table: &Tensor, tokens: &Tensor, compute: Kind) -> Result<Tensor> {
    Ok(Tensor::f_embedding(table, tokens, -1, false, false)?.f_to_kind(compute)?)
}

impl Seq2SeqLm for T5 {
    fn encode(&self, texts: &Texts, mode: Mode) -> Result<Tensor> {
        let embedded = self.embed(&texts.ids)?;
        let embedded = match &self.prompt {
            Some(prompt) => prompt.insert(&embedded)?,
            None => embedded,
        };
        self.encoder.forward(&embedded, self.mask(texts)?.as_ref(), mode)
    }

    fn hidden(&self, encoded: &Tensor, texts: &Texts, written: &Tensor, mode: Mode) -> Result<Tensor> {
        self.decoder.forward(&self.embed(written)?, encoded, self.mask(texts)?.as_ref(), mode)
    }

    fn begin<'a>(&'a self, texts: &Texts) -> Result<Box<dyn Writing + 'a>> {
        let encoded = self.encode(texts, Mode::Eval)?;
        Ok(Box::new(Answers::new(self, &encoded, self.mask(texts)?)?))
    }

    fn logits(&self, hidden: &Tensor, mode: Mode) -> Result<Tensor> {
        match self.scale {
            Some(scale) => self.head.forward(&hidden.f_mul_scalar(scale)?, mode),
            None => self.head.forward(hidden, mode),
        }
    }

    fn start_id(&self) -> i64 {
        self.start_id
    }

    fn vocabulary(&self) -> i64 {
        self.vocabulary
    }
}
