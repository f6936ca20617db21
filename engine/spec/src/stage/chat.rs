//! How rows become chats that the tokenizer's own template writes. Knows roles, not templates.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Rows as chats, written by the tokenizer's own template (`chat_template.jinja`, or `chat_template` of its configuration).
///
/// Each prompt is one message, each completion the answer to it. A row begins with the BOS that the template writes, and
/// with none where it writes none; a completion ends with the first special token that the template writes after it, which
/// carries loss and ends generation. Special tokens that prompts and completions spell out are text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Chat {
    /// The role that says the prompt.
    #[serde(default = "user")]
    pub prompt: String,
    /// The role that says the completion.
    #[serde(default = "assistant")]
    pub completion: String,
    /// What a message with the role `system` says before all others. Without it, there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// What else the template may read, by name: `{enable_thinking: false}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, serde_json::Value>,
}

fn user() -> String {
    "user".to_owned()
}

fn assistant() -> String {
    "assistant".to_owned()
}
