//! The protocol `choices`: the log-likelihood of each choice behind its prompt. Knows no metric.

use data::metrics::TokenScore;

use super::endings::{Ending, ending_scores};
use super::no_numbers;
use crate::choice_rows::{Choice, Question};
use crate::error::Result;
use crate::generate::{Beginning, Prompt, batches, check};
use crate::models::Model;
use crate::observer::Observer;

/// The scores of the choices of each question, in their order, by a causal language model; none of a question that failed.
/// `batch` questions are read at once, each with all of its choices: what these begin with alike is read once, and what all
/// questions begin with alike is read once for all of them.
pub fn likelihoods(
    model: &Model,
    questions: &[Question],
    batch: usize,
    observer: &mut dyn Observer,
) -> Result<Vec<Vec<TokenScore>>> {
    let network = model.network.causal_lm()?;
    let asked: Vec<usize> =
        (0..questions.len()).filter(|&at| questions.get(at).is_some_and(|q| q.failed.is_none())).collect();
    let endings: Vec<Vec<Ending>> = asked
        .iter()
        .filter_map(|&at| questions.get(at))
        .map(|question| question.choices.iter().map(ending).collect())
        .collect();
    // Questions with much in common are read together: they are sorted by their first choice.
    let prompt = |(endings, &at): (&Vec<Ending>, &usize)| Prompt {
        name: questions.get(at).map_or_else(String::new, |question| format!("row `{}`", question.id)),
        ids: endings.first().map(|ending| ending.read().to_vec()).unwrap_or_default(),
    };
    let prompts: Vec<Prompt> = endings.iter().zip(&asked).map(prompt).collect();
    check(&model.network, &prompts, batch)?;
    let beginning = Beginning::of(endings.iter().flatten().map(Ending::read));
    let mut likelihoods = vec![Vec::new(); questions.len()];
    let mut done = 0;
    for part in batches(&prompts, batch) {
        let together: Vec<&Ending> = part.iter().filter_map(|&at| endings.get(at)).flatten().collect();
        let mut scores = ending_scores(network, &together, beginning.as_ref(), model.device)?.into_iter();
        done += part.len() as u64;
        for at in part {
            let (Some(&question), Some(endings)) = (asked.get(at), endings.get(at)) else { continue };
            if let Some(slot) = likelihoods.get_mut(question) {
                *slot = scores.by_ref().take(endings.len()).collect();
            }
        }
        observer.progress(done, asked.len() as u64, "rows", &String::new);
    }
    let faulty = questions.iter().zip(&likelihoods).find(|(_, scores)| scores.iter().any(|score| score.nll.is_nan()));
    if let Some((question, _)) = faulty {
        return Err(no_numbers(&question.id));
    }
    Ok(likelihoods)
}

fn ending(choice: &Choice) -> Ending {
    Ending { ids: choice.ids.iter().map(|&id| i64::from(id)).collect(), start: choice.prompt_length }
}
