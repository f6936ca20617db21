//! What was found as tables for people and other programs: one CSV file an analysis, a figure a line. Knows columns; no
//! formula.

use std::path::Path;

use spec::inspection::{Inspection, Matrix};
use spec::stage::{Analysis, Inspect};

use crate::error::{Error, Result};

/// Writes a table for each analysis that was asked for.
pub fn write(stage: &Inspect, found: &Inspection, folder: &Path) -> Result<()> {
    let mut tables: Vec<(&str, String)> = Vec::new();
    for analysis in &stage.analyses {
        let own = match analysis {
            Analysis::UpdateNorms(_) => vec![("update_norms.csv", update_norms(found))],
            Analysis::Subspaces(_) => vec![("subspaces.csv", subspaces(found))],
            Analysis::Amplification(_) => vec![("amplification.csv", amplification(found))],
            Analysis::MagnitudeDirection(_) => {
                vec![("magnitude_direction.csv", magnitude_direction(found)), ("correlations.csv", correlations(found))]
            }
        };
        tables.extend(own);
    }
    for (name, text) in tables {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| Error::io("write", &path, error))?;
    }
    Ok(())
}

fn update_norms(found: &Inspection) -> String {
    let columns = ["step", "kept", "norm", "relative", "spectral", "stable_rank", "effective_rank"];
    let lines = found.update_norms.iter().map(|entry| {
        let kept = is_kept(found, &entry.member, entry.step);
        let figures = [Some(entry.norm), entry.relative, Some(entry.spectral), entry.stable_rank, entry.effective_rank];
        let figures = figures.map(number);
        let own = [entry.step.to_string(), kept].into_iter().chain(figures);
        of_matrix(&entry.member, &entry.matrix).chain(own).collect()
    });
    table(matrix_columns("member").chain(columns.map(String::from)), lines)
}

fn subspaces(found: &Inspection) -> String {
    let mut lines: Vec<Vec<String>> = Vec::new();
    for entry in &found.subspaces {
        for (i, row) in entry.i.iter().zip(&entry.phi) {
            for (j, phi) in entry.j.iter().zip(row) {
                let by_chance = *i.max(j) as f64 / entry.inputs.max(1) as f64;
                let own = [entry.second.clone(), i.to_string(), j.to_string(), phi.to_string(), by_chance.to_string()];
                let first = std::iter::once(entry.of.clone()).chain(of_matrix(&entry.first, &entry.matrix));
                lines.push(first.chain(own).collect());
            }
        }
    }
    let columns = ["second", "i", "j", "phi", "by_chance"].map(String::from);
    table(std::iter::once("of".to_owned()).chain(matrix_columns("first")).chain(columns), lines.into_iter())
}

fn amplification(found: &Inspection) -> String {
    let columns = ["directions", "weight", "update", "in_update", "in_weight", "in_random", "factor"];
    let lines = found.amplification.iter().map(|entry| {
        let figures = [entry.weight, entry.update, entry.in_update, entry.in_weight, entry.in_random].map(Some);
        let figures = figures.into_iter().chain([entry.factor]).map(number);
        let own = std::iter::once(entry.directions.to_string()).chain(figures);
        of_matrix(&entry.member, &entry.matrix).chain(own).collect()
    });
    table(matrix_columns("member").chain(columns.map(String::from)), lines)
}

fn magnitude_direction(found: &Inspection) -> String {
    let columns = ["step", "kept", "magnitude", "direction"];
    let lines = found.magnitude_direction.iter().map(|entry| {
        let kept = is_kept(found, &entry.member, entry.step);
        let own = [entry.step.to_string(), kept, entry.magnitude.to_string(), entry.direction.to_string()];
        of_matrix(&entry.member, &entry.matrix).chain(own).collect()
    });
    table(matrix_columns("member").chain(columns.map(String::from)), lines)
}

fn correlations(found: &Inspection) -> String {
    let columns = ["member", "role", "points", "correlation", "slope"];
    let lines = found.correlations.iter().map(|entry| {
        let role = entry.role.clone().unwrap_or_else(|| "all".to_owned());
        let figures = [entry.correlation, entry.slope].map(number);
        [entry.member.clone(), role, entry.points.to_string()].into_iter().chain(figures).collect()
    });
    table(columns.map(String::from).into_iter(), lines)
}

fn matrix_columns(member: &str) -> impl Iterator<Item = String> {
    [member, "module", "role", "layer"].map(str::to_owned).into_iter()
}

fn of_matrix(member: &str, matrix: &Matrix) -> impl Iterator<Item = String> {
    let layer = matrix.layer.map(|layer| layer.to_string()).unwrap_or_default();
    [member.to_owned(), matrix.module.clone(), matrix.role.clone(), layer].into_iter()
}

fn is_kept(found: &Inspection, member: &str, step: u64) -> String {
    found.members.iter().any(|known| known.name == member && known.kept_step == step).to_string()
}

fn number(value: Option<f64>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn table(columns: impl Iterator<Item = String>, lines: impl Iterator<Item = Vec<String>>) -> String {
    let quoted = |field: &String| match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.clone(),
    };
    let line = |fields: Vec<String>| fields.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n";
    std::iter::once(columns.collect()).chain(lines).map(line).collect()
}
