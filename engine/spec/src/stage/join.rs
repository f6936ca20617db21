//! How rows of another stage are put into rows. Knows columns by name, not files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fault, Format, SplitNames};
use crate::reference::Reference;

/// Rows of another stage, put into these: each row gets the other row whose value in a column is its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The stage that left the files of the other rows.
    pub with: Reference,
    /// The files of the other rows, named as in a split's `from`.
    pub from: SplitNames,
    /// How these files are read. Without it, each file's name and beginning decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The column whose values are compared: equal ones belong together. A number and its digits as text are equal.
    pub on: String,
    /// The column of the other rows, where it has another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub their: Option<String>,
    /// The column that holds the other row: with `as: answer`, a template writes `{{ answer.text }}`.
    #[serde(rename = "as")]
    #[schemars(length(min = 1))]
    pub column: String,
    /// How many of these rows may share one of the others.
    #[serde(default)]
    pub relation: Relation,
    /// What becomes of a row without a partner.
    #[serde(default)]
    pub missing: Missing,
}

/// How many rows may share one row of the other stage. No two of the other rows may have the same value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// Any number: many questions about one passage.
    #[default]
    ManyToOne,
    /// One: a question and its answer.
    OneToOne,
}

/// What becomes of a row without a partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The stage fails and names the row.
    #[default]
    Fail,
    /// The row is left out and counted.
    Drop,
    /// The column is null.
    Keep,
}

impl Join {
    pub(super) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.from.0.is_empty() {
            faults.push(Fault::new("join.from", "an empty list", "name the file the other rows come from"));
        }
        if self.column.is_empty() {
            faults.push(Fault::new("join.as", "an empty name", "name a column, such as `answer`"));
        }
        faults
    }
}
