//! What a report's settings name must be there: figures, and the row to compare with. Knows names, no figure's value.

use std::collections::BTreeSet;

use spec::{
    job::{Failure, Job},
    stage, suggest,
};

use super::{layout::Layout, member::Member, table};
use crate::metrics::meaning;

/// Whether everything that is named is there. A row of others need not be among ours: it stands under its own name.
///
/// # Errors
/// The first name of nothing.
pub fn check(job: &Job, settings: &stage::Report, members: &[Member], layout: &Layout<'_>) -> Result<(), Failure> {
    let fault = |message: String, setting: String, hint: String| Failure {
        message,
        place: Some(format!("{}: {setting}", job.name)),
        hint: Some(hint),
    };
    let table = &settings.table;
    if let Some(figure) = &table.rank_by
        && layout.groups.iter().all(|group| table::ranked(group, figure).is_empty())
    {
        let mut known: Vec<String> = layout.groups.iter().flat_map(table::headline).collect();
        known.dedup();
        let hint = format!("name one of the figures: {}", known.join(", "));
        return Err(fault(format!("no row can be ranked by `{figure}`"), "table.rank_by".into(), hint));
    }
    if let Some(against) = table.against.as_ref().filter(|row| !layout.rows.contains(row)) {
        let hint = suggest::did_you_mean(against, &layout.rows);
        return Err(fault(format!("no row is named `{against}`"), "table.against".into(), hint));
    }
    let figures = members.iter().filter_map(|member| member.scored.as_ref()).flat_map(|scored| scored.figures.keys());
    let here: BTreeSet<&str> = figures.map(String::as_str).collect();
    for (number, published) in settings.published.iter().enumerate() {
        let named = published.rows.iter().flat_map(|(row, figures)| figures.keys().map(move |figure| (row, figure)));
        // A study may have published figures of a metric that is not counted here.
        let mut unknown = named.filter(|(_, name)| !here.contains(name.as_str()) && meaning(name).is_none());
        if let Some((row, figure)) = unknown.next() {
            return Err(fault(
                format!("no metric counts a figure `{figure}`"),
                format!("published.{number}.rows.{row}"),
                suggest::did_you_mean(figure, here.iter().copied()),
            ));
        }
    }
    Ok(())
}
