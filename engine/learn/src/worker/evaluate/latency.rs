//! `measure: {latency: …}`: which rows and which network an evaluate stage measures, and the file that it leaves. Knows the
//! words of pipeline files; not how a pass is measured.

use spec::files;
use spec::observed;
use spec::protocol::{Perplexity, Protocol};
use spec::stage::Evaluate;

use super::Asked;
use crate::choice_rows::read_questions;
use crate::error::Result;
use crate::evaluate::{Passes, latency};
use crate::models::Task;
use crate::objectives::TextRow;
use crate::observer::Observer;
use crate::rows::{TokenRow, has_column, read_tokens};
use crate::text_rows::{read_answered, read_text_rows};
use crate::weights::write_json;
use crate::worker::special_ids::SpecialIds;
use crate::worker::{device, labels, model_source};

/// Measures what the stage asks for, when its rows are scored, and leaves it beside what is observed.
pub(super) fn observe(
    asked: &Asked<'_>,
    stage: &Evaluate,
    ids: &SpecialIds,
    observer: &mut dyn Observer,
) -> Result<()> {
    let Some(measure) = &stage.measure else { return Ok(()) };
    let settings = &measure.latency;
    let most = settings.batch.iter().max().copied().unwrap_or_default();
    let mut rows = texts(asked)?;
    rows.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    if rows.is_empty() {
        observer.warning("no latency is measured: no row of the split can be read".to_owned());
        return Ok(());
    }
    let numerics = device::numerics(stage.precision, asked.device);
    let (model, weights) = model_source::unmerged(asked.job, task(asked)?, numerics)?;
    let passes = Passes { warmup: settings.warmup, iterations: settings.iterations };
    let batches = latency(&model, &rows, &settings.batch, passes, ids.pad, observer)?;
    let found = observed::Latency { weights, warmup: passes.warmup, iterations: passes.iterations, batches };
    write_json(&asked.job.observed.join(files::LATENCY), &serde_json::json!(found))
}

/// What the network of the stage's protocol is made for.
fn task(asked: &Asked<'_>) -> Result<Task> {
    Ok(match asked.protocol {
        Protocol::Generate(_) | Protocol::Perplexity(_) | Protocol::Choices(_) => Task::LanguageModel,
        Protocol::Classify(_) => Task::SequenceClassification { labels: labels::of_data(asked.data)?.len() as i64 },
        Protocol::Regress(_) => Task::SequenceClassification { labels: 1 },
        Protocol::Span(_) => Task::QuestionAnswering,
    })
}

/// The texts that the protocol lets the model read, in the order of the split; without rows that failed.
fn texts(asked: &Asked<'_>) -> Result<Vec<TextRow>> {
    let mut texts: Vec<TextRow> = match asked.protocol {
        Protocol::Generate(_) | Protocol::Perplexity(_) if has_column(asked.path, "target_ids")? => {
            let rows = read_answered(asked.path)?.into_iter();
            rows.filter(|(_, failed)| failed.is_none()).map(|(row, _)| row.text).collect()
        }
        protocol @ (Protocol::Generate(_) | Protocol::Perplexity(_)) => {
            let window = match protocol {
                Protocol::Perplexity(Perplexity { window: Some(window), .. }) => window.length,
                _ => u64::MAX,
            };
            let window = usize::try_from(window).unwrap_or(usize::MAX);
            let prompt = |TokenRow { id, mut ids, prompt_length, failed, .. }: TokenRow| {
                if prompt_length > 0 {
                    ids.truncate(prompt_length);
                }
                ids.truncate(window);
                failed.is_none().then_some(TextRow { id, ids, types: Vec::new() })
            };
            read_tokens(asked.path)?.into_iter().filter_map(prompt).collect()
        }
        Protocol::Choices(_) => {
            let questions = read_questions(asked.path)?.into_iter().filter(|question| question.failed.is_none());
            let prompt = |ids: &[i32], length: usize| ids.iter().take(length).copied().collect();
            questions
                .filter_map(|question| {
                    let first = question.choices.first()?;
                    Some(TextRow { id: question.id, ids: prompt(&first.ids, first.prompt_length), types: Vec::new() })
                })
                .collect()
        }
        Protocol::Classify(_) | Protocol::Regress(_) | Protocol::Span(_) => {
            let rows = read_text_rows(asked.path)?.into_iter();
            rows.filter(|row| row.failed.is_none()).map(|row| row.text).collect()
        }
    };
    texts.retain(|text| !text.ids.is_empty());
    Ok(texts)
}
