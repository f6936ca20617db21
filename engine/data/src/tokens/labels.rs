//! The classes that rows are labelled with, in the order of their numbers. Knows labels; no token.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use spec::stage::TextForm;

use super::source;
use crate::{Error, rows::row_name, table};

/// The most different labels that are taken for classes; more are numbers, or texts.
const MOST: usize = 1000;

/// The names of the classes, as `labels.json` keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// The names, in the order of their numbers.
    pub labels: Vec<String>,
}

impl Labels {
    /// Those that the settings state, else all labels of the splits, sorted. Nothing where the rows have no labels, or
    /// more different ones than there are classes anywhere.
    ///
    /// # Errors
    /// When a row has a label that is not among the stated ones; when a split cannot be read.
    pub fn of(form: &TextForm, splits: &BTreeMap<String, PathBuf>) -> Result<Option<Self>, Error> {
        let mut found = BTreeSet::new();
        for (split, path) in splits {
            let mut reader = table::open(path, Some(&["id", "row", "prompt", "label"]))?;
            while let Some(batch) = table::next(path, &mut reader)? {
                for row in source::rows(path, &batch)? {
                    let Some(label) = row.label else { continue };
                    if let Some(stated) = form.labels.as_ref().filter(|stated| !stated.contains(&label)) {
                        let name = row.number.map_or_else(|| row.id.clone(), |number| row_name(number, &row.id));
                        return Err(Error::new(format!("the label `{label}` is none of the stated ones"))
                            .at(format!("split `{split}`, {name}, setting `form.text.labels`"))
                            .hint(spec::suggest::did_you_mean(&label, stated)));
                    }
                    if found.len() <= MOST {
                        found.insert(label);
                    }
                }
            }
        }
        if let Some(stated) = &form.labels {
            return Ok(Some(Self { labels: stated.clone() }));
        }
        Ok((1..=MOST).contains(&found.len()).then(|| Self { labels: sorted(found) }))
    }
}

impl Labels {
    /// Classes whose names differ only in case or in spaces, which are most often one class: those that are alike, together.
    pub fn alike(&self) -> Vec<Vec<&str>> {
        let mut by_look: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for label in &self.labels {
            let look = label.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
            by_look.entry(look).or_default().push(label);
        }
        by_look.into_values().filter(|labels| labels.len() > 1).collect()
    }
}

/// By value where all are numbers, else by their letters.
fn sorted(labels: BTreeSet<String>) -> Vec<String> {
    let mut labels: Vec<String> = labels.into_iter().collect();
    let numbers: Option<Vec<f64>> = labels.iter().map(|label| label.parse().ok()).collect();
    if numbers.is_some_and(|numbers| numbers.iter().all(|number| number.is_finite())) {
        let value = |label: &String| label.parse::<f64>().unwrap_or_default();
        labels.sort_by(|one, other| value(one).total_cmp(&value(other)));
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_that_look_alike_are_found() {
        let labels = ["Sport", "World news", " sport", "business", "world  news", "sports"].map(str::to_owned).to_vec();
        assert_eq!(Labels { labels }.alike(), [vec!["Sport", " sport"], vec!["World news", "world  news"]]);
    }

    #[test]
    fn numbers_are_sorted_by_value_and_words_by_letters() {
        let of = |labels: &[&str]| sorted(labels.iter().map(|label| (*label).to_owned()).collect());
        assert_eq!(of(&["10", "9", "-1"]), ["-1", "9", "10"]);
        assert_eq!(of(&["10", "9", "none"]), ["10", "9", "none"]);
        assert_eq!(of(&["entailment", "contradiction"]), ["contradiction", "entailment"]);
    }
}
