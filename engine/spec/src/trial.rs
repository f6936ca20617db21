//! What `engine try` and `engine-worker` say to each other while a person asks a model: an evaluate stage's job in one
//! line, then for each typed row the folder with its token ids, and what the model answers, one [`Reply`] a line. Knows
//! neither how a model is asked nor how rows become ids.

use serde::{Deserialize, Serialize};

use crate::job::Failure;

/// What the worker says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// The model is loaded; or the answer is over.
    Ready,
    /// More of a text.
    Text {
        /// What follows the text so far.
        text: String,
    },
    /// The text is over.
    Ended {
        /// How many tokens it has.
        tokens: usize,
        /// Whether the model ended it by itself.
        ended: bool,
    },
    /// The classes with their probabilities, the likeliest first.
    Classes {
        /// Names and probabilities.
        classes: Vec<(String, f64)>,
    },
    /// A number.
    Number {
        /// The number.
        number: f64,
    },
    /// A part of the text.
    Span {
        /// It; nothing where there is no answer.
        text: Option<String>,
        /// Where it stands, in bytes.
        place: Option<(usize, usize)>,
        /// How much better no answer would be, where there may be none: above zero, there is none.
        none_is_better_by: Option<f64>,
    },
    /// The row cannot be asked, or the model not be loaded.
    Failed(Failure),
}
