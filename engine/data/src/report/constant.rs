//! What the same answer to every row would score: the baselines that a report was asked for, whether they are answers at
//! all, and whether any row is better. Knows answers and figures; no training.

use spec::{
    job::{Failure, Job},
    stage::Baseline,
    suggest,
};

use super::{
    layout::{Group, Layout},
    recount::Recount,
    table,
};
use crate::metrics::{Figures, meaning};

/// What constant answers score on the rows of a group.
#[derive(Debug, Default)]
pub struct Constant {
    /// The figures, by the answer in words.
    pub answers: Vec<(String, Figures)>,
    /// What an answer must be one of, where the rows do not want any text.
    classes: Option<Vec<String>>,
}

impl Constant {
    /// Counts the baselines on a group's rows; nothing where they cannot be counted again.
    ///
    /// # Errors
    /// When the predictions cannot be read.
    pub fn of(group: &Group<'_>, baselines: &[Baseline]) -> Result<Self, Failure> {
        if baselines.is_empty() {
            return Ok(Self::default());
        }
        // All members of a group scored the same rows; one that answered none of them may not tell what these want.
        let mut members = group.members.iter().flatten();
        let Some(recount) = members.find_map(|member| Recount::read(member).transpose()).transpose()? else {
            return Ok(Self::default());
        };
        let mut answers: Vec<(String, Figures)> = Vec::new();
        for (said, figures) in baselines.iter().filter_map(|baseline| recount.always(baseline)) {
            if answers.iter().all(|(known, _)| *known != said) {
                answers.push((said, figures));
            }
        }
        Ok(Self { answers, classes: recount.classes().map(<[String]>::to_vec) })
    }
}

/// Whether each answer that the settings name is an answer to some group's rows.
///
/// # Errors
/// The first that is no class and no choice of any.
pub fn check(job: &Job, baselines: &[Baseline], groups: &[Constant]) -> Result<(), Failure> {
    let known: Vec<&[String]> = groups.iter().filter_map(|group| group.classes.as_deref()).collect();
    // An answer in words is one wherever texts are wanted.
    if known.is_empty() || groups.iter().any(|group| group.classes.is_none() && !group.answers.is_empty()) {
        return Ok(());
    }
    for (number, baseline) in baselines.iter().enumerate() {
        let Baseline::Answer(text) = baseline else { continue };
        if known.iter().any(|classes| classes.contains(text)) {
            continue;
        }
        let mut names: Vec<&str> = known.iter().copied().flatten().map(String::as_str).collect();
        names.dedup();
        let hint = match names.is_empty() {
            true => "the rows have different choices, which are no classes: use `majority`".to_owned(),
            false => suggest::did_you_mean(text, names),
        };
        return Err(Failure {
            message: format!("no class is named `{text}`, so it cannot be the answer to every row"),
            place: Some(format!("{}: baselines.{number}.answer", job.name)),
            hint: Some(hint),
        });
    }
    Ok(())
}

/// That no trained row is better by a figure than the best constant answer, in a sentence. Where nobody says which rows were
/// trained, all count.
pub fn sentence(layout: &Layout<'_>, group: &Group<'_>, figure: &str, constant: &Constant) -> Option<String> {
    let meaning = meaning(figure)?;
    let better = |one: f64, other: f64| if meaning.more_is_better { one > other } else { one < other };
    let mut best: Option<(&str, f64)> = None;
    for (said, figures) in &constant.answers {
        let Some(value) = figures.get(figure).copied() else { continue };
        if best.is_none_or(|(_, most)| better(value, most)) {
            best = Some((said, value));
        }
    }
    let (said, value) = best?;
    let ranked = table::ranked(group, figure);
    let is_trained = |row: &usize| !layout.trained_for(&group.members[*row]).is_empty();
    let trained = ranked.iter().copied().find(is_trained);
    let (whose, row) = match trained {
        Some(row) => ("trained row", row),
        None => ("row", ranked.first().copied()?),
    };
    let score = table::mean(&group.members[row], figure)?;
    if better(score, value) {
        return None;
    }
    let decimals = table::percent_decimals(group);
    let unit = if meaning.is_percent { " %" } else { "" };
    let [value, score] = [value, score].map(|value| table::written(Some(meaning), value, decimals));
    let title = table::titles(&[figure.to_owned()]).concat();
    Some(format!(
        "No {whose} is better than a constant answer: on {}, always {said} has {title} {value}{unit}, and the best \
         {whose}, {}, {score}{unit}.",
        group.name, layout.rows[row]
    ))
}
