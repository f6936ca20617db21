//! The formats of files of rows, and what each may say. Knows no split.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Empty;

crate::one_of! {
    /// The format of a file of rows.
    pub enum Format {
        /// One JSON array of objects, or an object that holds one.
        json => Json(Empty),
        /// One JSON object a line.
        jsonl => Jsonl(Empty),
        /// SQuAD's nested JSON: articles, paragraphs, questions.
        squad => Squad(Squad),
        /// Fields separated by commas, a row a line. Every value is text.
        csv => Csv(Delimited),
        /// Fields separated by tabs, a row a line. Every value is text.
        tsv => Tsv(Delimited),
        /// A Parquet file of any plain columns, lists and structs.
        parquet => Parquet(Empty),
    }
}

/// How SQuAD's nested JSON becomes rows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Squad {
    /// What one row is.
    #[serde(default)]
    pub row: SquadRows,
}

/// What one row of SQuAD's nested JSON is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SquadRows {
    /// A question: `id`, `title`, `context`, `question`, `answers` (texts), `answer_starts`, `is_impossible`.
    #[default]
    Question,
    /// A paragraph: `title`, `context`, `qas` (a list of `id`, `question`, `answers`, `answer_starts`, `is_impossible`).
    Paragraph,
}

/// How lines of separated fields become rows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delimited {
    /// What a quotation mark is.
    #[serde(default)]
    pub quoting: Quoting,
    /// The columns' names, in order; then the first line is a row. Without it, the first line names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minItems" = 1, "uniqueItems" = true))]
    pub columns: Option<Vec<String>>,
    /// How many lines at the beginning are passed over; with `columns`, `skip: 1` renames the columns of a first line.
    #[serde(default)]
    pub skip: usize,
    /// What becomes of a row with fewer fields than columns.
    #[serde(default)]
    pub short_rows: ShortRows,
    /// What becomes of a row with more fields than columns.
    #[serde(default)]
    pub long_rows: LongRows,
}

/// What a quotation mark is in lines of separated fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Quoting {
    /// A field that begins with `"` ends at the next single one, and may hold separators, line breaks, and `""` for a `"`.
    #[default]
    Standard,
    /// A character like any other.
    None,
}

/// What becomes of a row with fewer fields than columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShortRows {
    /// The stage fails and names the line.
    #[default]
    Fail,
    /// The columns that are missing are null.
    Fill,
}

/// What becomes of a row with more fields than columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LongRows {
    /// The stage fails and names the line.
    #[default]
    Fail,
    /// The fields past the last column are left out.
    Cut,
}

impl Format {
    /// What is wrong with the format's own settings: the setting, what, and what to do.
    pub(super) fn fault(&self) -> Option<(String, String, &'static str)> {
        let (Self::Csv(settings) | Self::Tsv(settings)) = self else { return None };
        let columns = settings.columns.as_ref()?;
        let at = |below: String| format!("{}.columns{below}", self.name());
        if columns.is_empty() {
            return Some((at(String::new()), "no column".into(), "name each column, or leave `columns` out"));
        }
        let twice = columns.iter().enumerate().find(|(place, name)| columns[..*place].contains(name));
        twice.map(|(place, name)| {
            (at(format!(".{place}")), format!("`{name}` stands twice"), "give each column its own name")
        })
    }
}
