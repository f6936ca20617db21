//! What `select` stages may yield: for each the combinations of labels that may win, with the values these stand for.
//! Knows no figure and no winner.

use std::collections::{BTreeMap, BTreeSet};

use crate::matrix::AxisEntry;

/// One combination that may win: axes and their entries.
pub type Yield = Vec<(String, AxisEntry)>;

/// What each `select` stage may yield.
#[derive(Debug, Clone, Default)]
pub struct Yields(BTreeMap<String, Vec<Yield>>);

/// One label that a `select` stage must have chosen for a stage's settings to hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Choice {
    /// The `select` stage.
    pub select: String,
    /// The axis that was chosen on.
    pub axis: String,
    /// The label that won.
    pub label: String,
}

impl Yields {
    /// Notes what a stage may yield; without any combination, it yields nothing in one way.
    pub fn insert(&mut self, select: impl Into<String>, mut rows: Vec<Yield>) {
        if rows.is_empty() {
            rows.push(Yield::new());
        }
        self.0.insert(select.into(), rows);
    }

    /// What a stage may yield; nothing for one that is not known.
    pub fn of(&self, select: &str) -> &[Yield] {
        self.0.get(select).map(Vec::as_slice).unwrap_or_default()
    }

    /// Every way in which stages may choose on the axes that are used, (stage, axis): for each stage one of its
    /// combinations. Combinations that differ on other axes alone count once.
    pub(crate) fn ways<'y>(&'y self, used: &BTreeSet<(String, String)>) -> Vec<Vec<(&'y str, &'y Yield)>> {
        let mut ways: Vec<Vec<(&str, &Yield)>> = vec![Vec::new()];
        for (select, rows) in self.0.iter().filter(|(select, _)| used.iter().any(|(stage, _)| stage == *select)) {
            let mut seen = BTreeSet::new();
            let distinct: Vec<&Yield> = rows
                .iter()
                .filter(|row| {
                    let on_used = row.iter().filter(|(axis, _)| used.contains(&(select.clone(), axis.clone())));
                    seen.insert(on_used.map(|(axis, entry)| (axis, &entry.label)).collect::<Vec<_>>())
                })
                .collect();
            ways = ways
                .into_iter()
                .flat_map(|way| {
                    distinct.iter().map(move |row| {
                        let mut longer = way.clone();
                        longer.push((select.as_str(), *row));
                        longer
                    })
                })
                .collect();
        }
        ways
    }
}
