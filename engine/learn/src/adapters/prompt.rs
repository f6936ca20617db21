//! Prompt tuning: vectors that train in place of a written prompt, `[P; E(x)]`; nothing else of the model changes. Lester
//! et al., The Power of Scale for Parameter-Efficient Prompt Tuning (arXiv 2104.08691), section 2; initial values as PEFT's.

use std::path::Path;

use tch::Tensor;

use super::{Method, Reading};
use crate::error::{Error, Result};
use crate::layers::VirtualTokens;
use crate::parameters::Stores;
use crate::peft::prompt::{self, PromptConfig};
use crate::peft::{AdapterConfig, Saved};
use crate::weights::Init;

/// The name of the vectors, among the parameters and in PEFT's files.
const NAME: &str = "prompt_embeddings";

/// What the vectors are before training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Normal, with mean zero and deviation one.
    Random,
    /// The embeddings of tokens that are drawn from the vocabulary.
    Vocabulary,
    /// The embeddings of a text's tokens, again and again, or of its first ones, as many as there are vectors.
    Text {
        /// The text, for the record.
        text: String,
        /// Its tokens.
        ids: Vec<i64>,
    },
}

/// Prompt tuning.
#[derive(Debug)]
pub struct Prompt {
    tokens: i64,
    start: Start,
    /// Blocks of `tokens` vectors there are in the file; the first of them is read.
    blocks: i64,
    /// How many of a text's own tokens stand in front of the vectors, where a file says it.
    after: Option<i64>,
    /// PEFT's words for what it began with, where a file says them: how, and a text.
    begun: Option<(String, Option<String>)>,
}

impl Prompt {
    /// A prompt of so many virtual tokens.
    pub fn new(tokens: i64, start: Start) -> Result<Self> {
        if tokens < 1 {
            return Err(Error::setting("tokens", format!("is {tokens}"), "give a prompt at least one; 20 are usual"));
        }
        if let Start::Text { ids, .. } = &start
            && ids.is_empty()
        {
            return Err(Error::setting("init.text", "has no token", "give a text that the tokenizer knows tokens of"));
        }
        Ok(Self { tokens, start, blocks: 1, after: None, begun: None })
    }

    pub(super) fn from_peft(config: &AdapterConfig) -> Result<Option<Box<dyn Method>>> {
        let Some(config) = PromptConfig::read(config)? else { return Ok(None) };
        // Its values come from the file.
        let prompt = Self::new(config.num_virtual_tokens, Start::Random)?;
        let (blocks, after) = (config.num_transformer_submodules.unwrap_or(1), Some(config.virtual_tokens_after));
        let begun = config.prompt_tuning_init.map(|init| (init, config.prompt_tuning_init_text));
        Ok(Some(Box::new(Self { blocks, after, begun, ..prompt })))
    }

    /// The vectors before training, `[blocks · tokens, width]`.
    fn first_values(&self, reading: &Reading, stores: &Stores) -> Result<Tensor> {
        let count = self.tokens * self.blocks;
        let ids: Vec<i64> = match &self.start {
            Start::Random => return stores.fresh.draw(NAME, &[count, reading.width], Init::Normal(1.0)),
            Start::Vocabulary => {
                let drawn = stores.fresh.draw("prompt_embeddings.ids", &[count], Init::Uniform(0.5))?;
                let drawn = Vec::<f32>::try_from(drawn.f_contiguous()?)?;
                let id = |at: f32| ((f64::from(at) + 0.5) * reading.vocabulary as f64) as i64;
                drawn.into_iter().map(|at| id(at).clamp(0, reading.vocabulary - 1)).collect()
            }
            Start::Text { ids, .. } => {
                if let Some(id) = ids.iter().find(|&&id| !(0..reading.vocabulary).contains(&id)) {
                    let problem = format!("has a token of the id {id}, the model knows {} ids", reading.vocabulary);
                    return Err(Error::setting("init.text", problem, "use the tokenizer that belongs to the model"));
                }
                ids.iter().copied().cycle().take(usize::try_from(count).unwrap_or(0)).collect()
            }
        };
        Ok((reading.embed)(&ids)?.f_to_kind(tch::Kind::Float)?)
    }
}

impl Method for Prompt {
    fn name(&self) -> &'static str {
        "prompt"
    }

    fn prompt(&self, reading: &Reading, stores: &mut Stores) -> Result<Option<VirtualTokens>> {
        if let Some(positions) = reading.positions.filter(|&positions| self.tokens >= positions) {
            let problem = format!("are {}, the model has positions for {positions} and a text needs some", self.tokens);
            return Err(Error::setting("adapter.prompt.tokens", problem, "give the prompt fewer tokens; 20 are usual"));
        }
        if let Some(after) = self.after.filter(|&after| after != reading.after) {
            let problem = format!(
                "the prompt was trained behind {after} of a text's own tokens, this model has it behind {}: its head \
                 would read another token than it was trained to read",
                reading.after
            );
            return Err(Error::setting("adapter", problem, "train the prompt with this engine"));
        }
        let vectors = self.first_values(reading, stores)?;
        let vectors = stores.trainable.add(NAME, &vectors)?;
        Ok(Some(VirtualTokens::new(vectors, self.tokens, reading.after)))
    }

    fn merges(&self) -> bool {
        false
    }

    fn parameter(&self, key: &str) -> Option<String> {
        prompt::name_of(key, NAME)
    }

    fn key(&self, parameter: &str) -> String {
        prompt::key_of(parameter, NAME)
    }

    fn save(&self, saved: &Saved, folder: &Path) -> Result<()> {
        let (init, text) = match (&self.begun, &self.start) {
            (Some((init, text)), _) => (init.as_str(), text.as_deref()),
            (None, Start::Random) => ("RANDOM", None),
            (None, Start::Vocabulary) => ("SAMPLE_VOCAB", None),
            (None, Start::Text { text, .. }) => ("TEXT", Some(text.as_str())),
        };
        let config = PromptConfig {
            prompt_tuning_init: Some(init.to_owned()),
            prompt_tuning_init_text: text.map(str::to_owned),
            num_virtual_tokens: self.tokens,
            num_transformer_submodules: Some(self.blocks),
            virtual_tokens_after: saved.model.virtual_tokens_after,
        };
        prompt::write(saved, folder, &config.to_json(saved)?, NAME)
    }
}
