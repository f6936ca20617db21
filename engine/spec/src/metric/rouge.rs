//! `rouge`: ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum as `rouge_score` counts them: the mean over rows of the best reference's F1, in
/// percent, with precision and recall.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rouge {
    /// How texts become words; the signature says which was used.
    #[serde(default)]
    pub tokenizer: RougeTokenizer,
}

/// How texts become words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RougeTokenizer {
    /// `unicode_stem` where a reference has a letter beyond ASCII, else `google`.
    #[default]
    Auto,
    /// That of `rouge_score`: runs of `a` to `z` and `0` to `9` in lower case. A Russian text has no word.
    Google,
    /// The same with Porter's stems of words above three letters.
    GoogleStem,
    /// Lower case, divided at white space and at all punctuation of Unicode, as XL-Sum's `BasicTokenizer`.
    Unicode,
    /// The same with Snowball's stems of Russian words above three letters; other words stay.
    UnicodeStem,
    /// White space alone divides words.
    Whitespace,
}
