//! Prefix tuning: keys and values that train stand before those of the text in the attention of each layer, as if each
//! text began with so many tokens whose states were chosen freely. Li and Liang, Prefix-Tuning (arXiv 2101.00190), section
//! 4; sizes, order and initial values as PEFT's.

use std::path::Path;

use tch::Tensor;

use super::{Attentions, Method};
use crate::error::{Error, Result};
use crate::layers::{Linear, PrefixSizes, Values};
use crate::parameters::Stores;
use crate::peft::prefix::PrefixConfig;
use crate::peft::prompt;
use crate::peft::{AdapterConfig, Saved};
use crate::weights::Init;

/// The name of what trains where nothing is projected.
const NAME: &str = "prefix_embeddings";
/// What begins the names of a projection's maps.
const PROJECTION: &str = "prefix_projection";

/// Prefix tuning.
#[derive(Debug)]
pub struct Prefix {
    tokens: i64,
    /// The inner width of the projection, where there is one.
    projection: Option<i64>,
    /// Whether a file says that the numbers came from a projection.
    was_projected: bool,
    /// The inner width that a file or the projection has.
    inner: Option<i64>,
}

impl Prefix {
    /// A prefix of so many keys and values. With a projection of this inner width they are computed from smaller vectors
    /// while they train, which makes training steadier; what is saved is the result.
    pub fn new(tokens: i64, projection: Option<i64>) -> Result<Self> {
        if tokens < 1 {
            return Err(Error::setting("tokens", format!("is {tokens}"), "give a prefix at least one; 20 are usual"));
        }
        match projection {
            Some(width) if width < 1 => {
                Err(Error::setting("projection", format!("is {width}"), "give its inner width, such as 512"))
            }
            _ => Ok(Self { tokens, projection, was_projected: projection.is_some(), inner: projection }),
        }
    }

    pub(super) fn from_peft(config: &AdapterConfig) -> Result<Option<Box<dyn Method>>> {
        let Some(config) = PrefixConfig::read(config)? else { return Ok(None) };
        let prefix = Self::new(config.num_virtual_tokens, None)?;
        let inner = config.encoder_hidden_size;
        Ok(Some(Box::new(Self { was_projected: config.prefix_projection, inner, ..prefix })))
    }

    fn sizes(&self, attentions: &Attentions) -> PrefixSizes {
        let Attentions { layers, heads, width, .. } = *attentions;
        PrefixSizes { count: self.tokens, layers, heads, width }
    }

    fn values(&self, sizes: PrefixSizes, stores: &mut Stores) -> Result<Values> {
        // As torch.nn.Embedding and torch.nn.Linear begin.
        let mut embedding = |width: i64| -> Result<Tensor> {
            let drawn = stores.fresh.draw(NAME, &[self.tokens, width], Init::Normal(1.0))?;
            stores.trainable.add(NAME, &drawn)
        };
        let Some(inner) = self.projection else { return Ok(Values::Plain(embedding(sizes.numbers())?)) };
        let width = sizes.heads * sizes.width;
        let embedding = embedding(width)?;
        let mut linear = |number: u32, inputs: i64, outputs: i64| -> Result<Linear> {
            let mut tensor = |part: &str, shape: &[i64]| -> Result<Tensor> {
                let name = format!("{PROJECTION}.{number}.{part}");
                let drawn = stores.fresh.draw(&name, shape, Init::Uniform((inputs as f64).sqrt().recip()))?;
                stores.trainable.add(&name, &drawn)
            };
            Ok(Linear { weight: tensor("weight", &[outputs, inputs])?, bias: Some(tensor("bias", &[outputs])?) })
        };
        let (first, second) = (linear(0, width, inner)?, linear(2, inner, sizes.numbers())?);
        Ok(Values::Projected { embedding, first, second })
    }
}

impl Method for Prefix {
    fn name(&self) -> &'static str {
        "prefix"
    }

    fn prefix(&self, attentions: &Attentions, stores: &mut Stores) -> Result<Option<(PrefixSizes, Values)>> {
        if let Some(positions) = attentions.positions.filter(|&positions| self.tokens >= positions) {
            let problem = format!("are {}, the model has positions for {positions} and a text needs some", self.tokens);
            return Err(Error::setting("adapter.prefix.tokens", problem, "give the prefix fewer tokens; 20 are usual"));
        }
        let sizes = self.sizes(attentions);
        Ok(Some((sizes, self.values(sizes, stores)?)))
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
        let Some(prefix) = &saved.model.prefix else {
            return Err(Error::file(folder, "the model has no prefix to save", "report this model's family"));
        };
        let config = PrefixConfig {
            num_virtual_tokens: self.tokens,
            prefix_projection: self.was_projected,
            encoder_hidden_size: self.inner,
        };
        let heads = saved.parameters().filter(|(name, _)| *name != NAME && !name.starts_with(PROJECTION));
        let mut tensors: Vec<(String, Tensor)> =
            heads.map(|(name, tensor)| (self.key(name), tensor.shallow_clone())).collect();
        tensors.push((self.key(NAME), tch::no_grad(|| prefix.numbers())?));
        crate::peft::write(folder, &config.to_json(saved, prefix), &tensors)
    }
}
