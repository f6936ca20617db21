//! What a train stage's objective learns of its rows, from the files that a tokenize stage left. Knows the words of
//! pipeline files and the files between stages; not what a loss is.

use std::path::Path;

use spec::files;
use spec::job::JobInput;
use spec::stage::{LossOn, Normalize as Written, Objective};

use super::special_ids::SpecialIds;
use crate::batches::LossRow;
use crate::error::{Error, Result};
use crate::models::Task;
use crate::objectives::{
    Classify, Examples, Labelled, LanguageModel, Normalize, Regress, Seq2Seq, SharedPrefix, Span, TextExamples,
    TextObjective,
};
use crate::observer::Observer;
use crate::rows::{TokenRow, read_tokens};
use crate::text_rows::{TextRecord, read_answered, read_text_rows};

/// The rows of a stage's data, as its objective sees them.
pub struct Rows<'a> {
    /// The stage's data.
    pub data: &'a JobInput,
    /// What is learned.
    pub objective: &'a Objective,
    /// The special tokens of the data.
    pub ids: &'a SpecialIds,
    /// The classes, where classes are learned.
    pub labels: &'a [String],
    /// Whether what rows of a language model have in common at their front is computed once.
    pub share_prefix: bool,
}

/// What a network is made for that learns this.
pub fn task(objective: &Objective, labels: &[String]) -> Task {
    match objective {
        Objective::LanguageModel(_) | Objective::Seq2Seq(_) => Task::LanguageModel,
        Objective::Classify(_) => Task::SequenceClassification { labels: labels.len() as i64 },
        Objective::Regress(_) => Task::SequenceClassification { labels: 1 },
        Objective::Span(_) => Task::QuestionAnswering,
    }
}

/// What the loss is a mean of.
pub fn normalize(objective: &Objective) -> Normalize {
    let written = match objective {
        Objective::LanguageModel(settings) => settings.normalize,
        Objective::Seq2Seq(settings) => settings.normalize,
        Objective::Classify(_) | Objective::Regress(_) | Objective::Span(_) => return Normalize::Rows,
    };
    match written {
        Written::Tokens => Normalize::Tokens,
        Written::Rows => Normalize::Rows,
        Written::Micro => Normalize::Micro,
    }
}

impl Rows<'_> {
    /// The examples of a split. What is left out is said.
    pub fn read(&self, split: &str, observer: &mut dyn Observer) -> Result<Box<dyn Examples>> {
        let path = self.data.file(&files::split(split));
        let mut left_out = LeftOut { path: &path, split, rows: 0, failed: 0, silent: 0 };
        let examples: Box<dyn Examples> = match self.objective {
            Objective::LanguageModel(settings) => {
                let rows = read_tokens(&path)?;
                left_out.rows = rows.len();
                let rows = left_out.without_failed(rows, |row| row.failed.is_some());
                let rows = rows.into_iter().filter_map(|row| with_loss(row, settings.loss_on)).collect();
                match self.share_prefix {
                    true => Box::new(SharedPrefix::new(rows)),
                    false => Box::new(LanguageModel::new(rows)),
                }
            }
            Objective::Seq2Seq(_) => {
                let rows = read_answered(&path)?;
                left_out.rows = rows.len();
                let rows = left_out.without_failed(rows, |(_, failed)| failed.is_some());
                let rows = rows.into_iter().map(|(row, _)| row).filter(|row| !row.answer.is_empty()).collect();
                Box::new(Seq2Seq::new(rows, self.ids.pad))
            }
            Objective::Classify(_) => self.texts::<Classify>(&mut left_out, |row| match &row.label {
                None => Ok(None),
                Some(label) => {
                    let class = self.labels.iter().position(|name| name == label);
                    class.map(|class| Some(class as i64)).ok_or_else(|| {
                        let hint = "tokenize the training and the validation rows in one stage";
                        Error::file(&path, format!("row `{}`: no class is named `{label}`", row.text.id), hint)
                    })
                }
            })?,
            Objective::Regress(_) => self.texts::<Regress>(&mut left_out, |row| match &row.label {
                None => Ok(None),
                Some(label) => Ok(Some(number(label, &row.text.id, &path)? as f32)),
            })?,
            Objective::Span(_) => self.texts::<Span>(&mut left_out, |row| Ok(row.answer))?,
        };
        left_out.silent = left_out.rows - left_out.failed - examples.len();
        left_out.say(examples.is_empty(), observer)?;
        Ok(examples)
    }

    fn texts<O: TextObjective + 'static>(
        &self,
        left_out: &mut LeftOut<'_>,
        target: impl Fn(&TextRecord) -> Result<Option<O::Target>>,
    ) -> Result<Box<dyn Examples>> {
        let rows = read_text_rows(left_out.path)?;
        left_out.rows = rows.len();
        let mut labelled = Vec::new();
        for row in left_out.without_failed(rows, |row| row.failed.is_some()) {
            if let Some(target) = target(&row)? {
                labelled.push(Labelled { text: row.text, target });
            }
        }
        Ok(Box::new(TextExamples::<O>::new(labelled, self.ids.pad)))
    }
}

/// The number that a label is.
pub fn number(label: &str, row: &str, path: &Path) -> Result<f64> {
    match label.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(Error::file(
            path,
            format!("row `{row}`: the label `{label}` is no number"),
            "use `classify` for names, or let the template's block `label` be a number",
        )),
    }
}

/// The row as it is learned from.
pub fn with_loss(row: TokenRow, loss_on: LossOn) -> Option<LossRow> {
    match loss_on {
        LossOn::Completion => LossRow::new(row.id, &row.ids, row.completion),
        LossOn::All => LossRow::new(row.id, &row.ids, vec![true; row.ids.len()]),
    }
}

/// Rows of a split that are not learned from.
struct LeftOut<'a> {
    path: &'a Path,
    split: &'a str,
    rows: usize,
    failed: usize,
    silent: usize,
}

impl LeftOut<'_> {
    fn without_failed<T>(&mut self, rows: Vec<T>, failed: impl Fn(&T) -> bool) -> Vec<T> {
        let count = rows.len();
        let kept: Vec<T> = rows.into_iter().filter(|row| !failed(row)).collect();
        self.failed = count - kept.len();
        kept
    }

    fn say(&self, none_is_left: bool, observer: &mut dyn Observer) -> Result<()> {
        let Self { path, split, rows, failed, silent } = *self;
        if none_is_left {
            let problem =
                format!("no token of the split `{split}` carries loss ({rows} rows, {failed} of them did not fit)");
            let hint = "check the template's blocks and the tokenize stage's `max_length` and `overflow`";
            return Err(Error::file(path, problem, hint));
        }
        if failed > 0 {
            observer.warning(format!("split `{split}`: {failed} of {rows} rows did not fit and are left out"));
        }
        if silent > 0 {
            observer.warning(format!("split `{split}`: {silent} of {rows} rows carry no loss and are left out"));
        }
        Ok(())
    }
}
