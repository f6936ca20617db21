//! `prompt`: prompt tuning (Lester et al. 2021, arXiv 2104.08691).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Size;
use crate::stage::{Empty, Fault};

/// Vectors that train stand at the front of every text, as if it began with so many tokens more; the model stays as it is.
/// In texts that are read whole (`form: text`) they stand behind the first token, whose state the head reads. An
/// encoder–decoder has them in the text that it reads. The tokens do not count in `max_length`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// How many vectors there are; or `{parameters_like: {…}}`, as large as another method.
    #[serde(default = "default_tokens")]
    pub tokens: Size,
    /// What they are before training.
    #[serde(default)]
    pub init: PromptInit,
}

fn default_tokens() -> Size {
    Size::Number(20)
}

crate::one_of! {
    /// What the vectors of a prompt are before training.
    pub enum PromptInit {
        /// Drawn with mean zero and deviation one.
        random => Random(Empty),
        /// The embeddings of tokens that are drawn from the vocabulary.
        vocabulary => Vocabulary(Empty),
        /// The embeddings of this text's tokens, by the tokenizer of `data`: its first ones, or all of them again and again.
        text => Text(String) where {"pattern": "\\S"},
    }
}

impl Default for PromptInit {
    fn default() -> Self {
        Self::Random(Empty {})
    }
}

impl Prompt {
    /// Mistakes that no type can express; paths begin at the method's name.
    pub fn faults(&self) -> Vec<Fault> {
        let hint = "give a number from 1 on; 20 is usual";
        let mut faults = self.tokens.faults("prompt.tokens", "a prompt of no token trains nothing", hint);
        if let PromptInit::Text(text) = &self.init
            && text.trim().is_empty()
        {
            let hint = "write what the model should do, or use `random` or `vocabulary`";
            faults.push(Fault::new("prompt.init.text", "a text without a word has no tokens to begin with", hint));
        }
        faults
    }
}
