//! What `inspect` stages found, as tables and plots of a report. Knows what the figures mean; the pictures are drawn beside.

use std::collections::BTreeMap;

use spec::{
    files,
    inspection::{Inspected, Inspection, Similarity},
    job::{Failure, JobInput},
};

use super::{
    Part, Section, inspection_plots,
    member::{malformed, unreadable},
    numbers,
    table::{Cell, Line, Sheet},
};

/// What was found by those of the inputs that are `inspect` stages.
///
/// # Errors
/// When a file cannot be read or is not what such a stage leaves, or when a plot cannot be drawn.
pub fn sections<'a>(inputs: impl Iterator<Item = &'a JobInput>) -> Result<Vec<Section>, Failure> {
    let mut sections = Vec::new();
    for input in inputs.filter(|input| input.kind == "inspect") {
        let path = input.file(files::INSPECTION);
        let text = std::fs::read(&path).map_err(|error| unreadable(&path, &error))?;
        let found = serde_json::from_slice(&text).map_err(|error| malformed(&path, error.line(), &error))?;
        sections.push(section(input.name(), &found)?);
    }
    Ok(sections)
}

fn section(name: String, found: &Inspection) -> Result<Section, Failure> {
    let names = Names::new(&found.members);
    let sheets = [norms(found, &names), by_role(found, &names), subspaces(found, &names, "a")];
    let more = [subspaces(found, &names, "update"), amplification(found, &names), directions(found, &names)];
    let said = found.left_out.iter().map(|left| {
        let of = left.analysis.as_ref().map(|analysis| format!(" of `{analysis}`")).unwrap_or_default();
        format!("Left out{of}: {}. {}.", left.member, sentence(&left.reason))
    });
    let mut parts: Vec<Part> =
        sheets.into_iter().chain(more).flatten().map(|sheet| Part { sheet, plots: Vec::new() }).collect();
    if let Some(last) = parts.last_mut() {
        last.sheet.notes.extend(said);
        last.plots = inspection_plots::all(found, &names)?;
    }
    Ok(Section { title: format!("What training did to weights: {name}"), parts })
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Short names of members: what tells them apart.
#[derive(Debug)]
pub struct Names<'a> {
    order: Vec<&'a str>,
    short: BTreeMap<&'a str, String>,
}

impl<'a> Names<'a> {
    /// Of these members.
    pub fn new(members: &'a [Inspected]) -> Self {
        let label = |member: &'a Inspected, axis: &str| {
            member.coordinates.iter().find(|(name, _)| name == axis).map(|(_, label)| label.as_str())
        };
        let differs = |axis: &str| members.iter().any(|member| label(member, axis) != label(&members[0], axis));
        let several = members.iter().any(|member| member.stage != members[0].stage);
        let short = |member: &'a Inspected| {
            let labels = member.coordinates.iter().filter(|(axis, _)| differs(axis)).map(|(_, label)| label.as_str());
            let parts: Vec<&str> = several.then_some(member.stage.as_str()).into_iter().chain(labels).collect();
            if parts.is_empty() { member.stage.clone() } else { parts.join(" · ") }
        };
        Self {
            order: members.iter().map(|member| member.name.as_str()).collect(),
            short: members.iter().map(|member| (member.name.as_str(), short(member))).collect(),
        }
    }

    /// The short name of a member.
    pub fn of(&self, name: &str) -> String {
        self.short.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }

    /// Which of the members it is, for its colour.
    pub fn place(&self, name: &str) -> usize {
        self.order.iter().position(|known| *known == name).unwrap_or_default()
    }
}

/// The mean of figures; nothing of none.
pub fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    numbers::mean_and_deviation(&values.collect::<Vec<_>>()).map(|(mean, _)| mean)
}

fn cell(value: Option<f64>) -> Cell {
    Cell { text: value.map(numbers::plain).unwrap_or_default(), ..Cell::default() }
}

fn percent(value: Option<f64>) -> Cell {
    Cell {
        text: value.map(|value| format!("{} %", numbers::plain(100.0 * value))).unwrap_or_default(),
        ..Cell::default()
    }
}

fn line(label: String, cells: Vec<Cell>) -> Line {
    Line { label, aside: None, row: None, cells }
}

fn columns(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// How large the changes are, a line a member.
fn norms(found: &Inspection, names: &Names<'_>) -> Option<Sheet> {
    let mut sheet = Sheet {
        title: "Size of the change".to_owned(),
        columns: columns(&[
            "Method",
            "Step",
            "Matrices",
            "‖ΔW‖",
            "‖ΔW‖ / ‖W‖",
            "Spectral norm",
            "Stable rank",
            "Effective rank",
        ]),
        ..Sheet::default()
    };
    for member in &found.members {
        let own = || {
            let of = found.update_norms.iter();
            of.filter(|entry| entry.member == member.name && entry.step == member.kept_step)
        };
        if own().next().is_none() {
            continue;
        }
        let text = |text: String| Cell { text, ..Cell::default() };
        let cells = vec![
            text(member.method.clone()),
            text(numbers::count(member.kept_step)),
            text(numbers::count(own().count() as u64)),
            cell(mean(own().map(|entry| entry.norm))),
            percent(mean(own().filter_map(|entry| entry.relative))),
            cell(mean(own().map(|entry| entry.spectral))),
            cell(mean(own().filter_map(|entry| entry.stable_rank))),
            cell(mean(own().filter_map(|entry| entry.effective_rank))),
        ];
        sheet.lines.push(line(names.of(&member.name), cells));
    }
    sheet.notes.push("Means over the matrices that a member changed, as it left them.".to_owned());
    (!sheet.lines.is_empty()).then_some(sheet)
}

/// The roles of matrices in the order in which they come.
pub fn roles(found: &Inspection) -> Vec<&str> {
    let mut roles: Vec<&str> = Vec::new();
    for entry in &found.update_norms {
        if !roles.contains(&entry.matrix.role.as_str()) {
            roles.push(&entry.matrix.role);
        }
    }
    roles
}

/// How large the changes are by what a matrix does.
fn by_role(found: &Inspection, names: &Names<'_>) -> Option<Sheet> {
    let roles = roles(found);
    if roles.len() < 2 {
        return None;
    }
    let mut sheet =
        Sheet {
            title: "‖ΔW‖ / ‖W‖ by what a matrix does".to_owned(), columns: columns(&roles), ..Sheet::default()
        };
    for member in &found.members {
        let of = |role: &&str| {
            let own = found.update_norms.iter().filter(|entry| {
                entry.member == member.name && entry.step == member.kept_step && entry.matrix.role == *role
            });
            percent(mean(own.filter_map(|entry| entry.relative)))
        };
        sheet.lines.push(line(names.of(&member.name), roles.iter().map(of).collect()));
    }
    sheet.notes.push("Means over layers.".to_owned());
    Some(sheet)
}

/// The entries of each pair of members, in the order in which they come.
pub fn pairs<'a>(found: &'a Inspection, of: &str) -> Vec<Vec<&'a Similarity>> {
    let mut pairs: Vec<Vec<&Similarity>> = Vec::new();
    for entry in found.subspaces.iter().filter(|entry| entry.of == of) {
        let same = |known: &&mut Vec<&Similarity>| {
            known.first().is_some_and(|first| first.first == entry.first && first.second == entry.second)
        };
        match pairs.iter_mut().find(same) {
            Some(pair) => pair.push(entry),
            None => pairs.push(vec![entry]),
        }
    }
    pairs
}

/// How alike directions are, a line a pair.
fn subspaces(found: &Inspection, names: &Names<'_>, of: &str) -> Option<Sheet> {
    let whose = if of == "a" { "A" } else { "ΔW" };
    let mut sheet = Sheet {
        title: format!("Directions in common, of {whose}"),
        columns: columns(&["Matrices", "φ(1, 1)", "φ(all, all)", "by chance", "before training"]),
        ..Sheet::default()
    };
    for pair in pairs(found, of) {
        let Some(first) = pair.first() else { continue };
        let corner = |entry: &&Similarity| entry.phi.last().and_then(|row| row.last()).copied();
        let ones = |entry: &&Similarity| {
            let has_one = entry.i.first() == Some(&1) && entry.j.first() == Some(&1);
            entry.phi.first().and_then(|row| row.first()).copied().filter(|_| has_one)
        };
        let chance = |entry: &&Similarity| {
            let most = entry.i.last().max(entry.j.last())?;
            Some(*most as f64 / entry.inputs.max(1) as f64)
        };
        let count = Cell { text: numbers::count(pair.len() as u64), ..Cell::default() };
        let means = [
            mean(pair.iter().filter_map(ones)),
            mean(pair.iter().filter_map(corner)),
            mean(pair.iter().filter_map(chance)),
            mean(pair.iter().filter_map(|entry| entry.begun)),
        ];
        let cells = std::iter::once(count).chain(means.map(cell)).collect();
        sheet.lines.push(line(format!("{} and {}", names.of(&first.first), names.of(&first.second)), cells));
    }
    sheet.notes.push(
        "φ is 1 where one span lies within the other and 0 where they share nothing (Hu et al. 2021, equation 4); means over \
         matrices. By chance: of as many directions that were drawn. Before training: φ(all, all) of what both began with; \
         adapters of one seed begin alike."
            .to_owned(),
    );
    (!sheet.lines.is_empty()).then_some(sheet)
}

/// How changes compare with what they change, a line a member.
fn amplification(found: &Inspection, names: &Names<'_>) -> Option<Sheet> {
    let mut sheet = Sheet {
        title: "What the change amplifies".to_owned(),
        columns: columns(&["Directions", "‖ΔW‖", "‖UᵀWV‖ of ΔW", "of W", "of random", "Factor"]),
        ..Sheet::default()
    };
    for member in &found.members {
        let own: Vec<_> = found.amplification.iter().filter(|entry| entry.member == member.name).collect();
        let most = own.iter().map(|entry| entry.directions).max();
        let Some(most) = most else { continue };
        let directions = Cell { text: numbers::count(most), ..Cell::default() };
        let means = [
            mean(own.iter().map(|entry| entry.update)),
            mean(own.iter().map(|entry| entry.in_update)),
            mean(own.iter().map(|entry| entry.in_weight)),
            mean(own.iter().map(|entry| entry.in_random)),
            mean(own.iter().filter_map(|entry| entry.factor)),
        ];
        let cells = std::iter::once(directions).chain(means.map(cell)).collect();
        sheet.lines.push(line(names.of(&member.name), cells));
    }
    sheet.notes.push(
        "W in the main directions of the change, in its own, and in drawn ones; the factor is ‖ΔW‖ over the first (Hu et al. \
         2021, section 7.3). Means over matrices."
            .to_owned(),
    );
    (!sheet.lines.is_empty()).then_some(sheet)
}

/// Magnitude and direction, a line a member.
fn directions(found: &Inspection, names: &Names<'_>) -> Option<Sheet> {
    let mut sheet = Sheet {
        title: "Magnitude and direction".to_owned(),
        columns: columns(&["ΔM", "ΔD", "Points", "Correlation", "Slope"]),
        ..Sheet::default()
    };
    for member in &found.members {
        let whole = found.correlations.iter().find(|entry| entry.member == member.name && entry.role.is_none());
        let Some(whole) = whole else { continue };
        let own = || {
            let of = found.magnitude_direction.iter();
            of.filter(|entry| entry.member == member.name && entry.step == member.kept_step)
        };
        let cells = vec![
            cell(mean(own().map(|entry| entry.magnitude))),
            cell(mean(own().map(|entry| entry.direction))),
            Cell { text: numbers::count(whole.points), ..Cell::default() },
            cell(whole.correlation),
            cell(whole.slope),
        ];
        sheet.lines.push(line(names.of(&member.name), cells));
    }
    sheet.notes.push(
        "ΔM and ΔD as left, means over matrices; correlation and slope of ΔM over ΔD across matrices and steps (Liu et al. \
         2024, section 3.2: negative for full fine-tuning and DoRA, positive for LoRA)."
            .to_owned(),
    );
    (!sheet.lines.is_empty()).then_some(sheet)
}

#[cfg(test)]
mod tests {
    use spec::inspection::{LeftOut, Matrix, Similarity, UpdateNorm};

    use super::*;
    use crate::report::{html, markdown};

    fn member(stage: &str, coordinates: &[(&str, &str)]) -> Inspected {
        let coordinates: Vec<(String, String)> =
            coordinates.iter().map(|(axis, label)| ((*axis).to_owned(), (*label).to_owned())).collect();
        let name = spec::job::member_name(stage, &coordinates);
        Inspected {
            name,
            stage: stage.to_owned(),
            coordinates,
            method: "lora".to_owned(),
            steps: vec![0, 10],
            kept_step: 10,
        }
    }

    #[test]
    fn members_are_called_by_what_tells_them_apart() {
        let members =
            [member("tuned", &[("rank", "2"), ("seed", "0")]), member("tuned", &[("rank", "4"), ("seed", "0")])];
        let names = Names::new(&members);
        assert_eq!([&members[0].name, &members[1].name].map(|name| names.of(name)), ["2", "4"]);
        assert_eq!(names.place(&members[1].name), 1);
        let members = [member("tuned", &[("rank", "2")]), member("other", &[])];
        let names = Names::new(&members);
        assert_eq!([&members[0].name, &members[1].name].map(|name| names.of(name)), ["tuned · 2", "other"]);
        let alone = [member("tuned", &[("rank", "2")])];
        assert_eq!(Names::new(&alone).of(&alone[0].name), "tuned");
    }

    fn found() -> Inspection {
        let members = vec![member("tuned", &[("rank", "<2>")]), member("tuned", &[("rank", "4")])];
        let names: Vec<String> = members.iter().map(|member| member.name.clone()).collect();
        let matrix =
            |layer| Matrix { module: format!("layers.{layer}.q"), role: "attention.q".into(), layer: Some(layer) };
        let mut found = Inspection { members, ..Inspection::default() };
        for (index, name) in (1..).zip(&names) {
            for layer in 0..2 {
                for step in [0, 10] {
                    let size = (step * index * (layer + 1)) as f64;
                    found.update_norms.push(UpdateNorm {
                        member: name.clone(),
                        matrix: matrix(layer),
                        step,
                        norm: size,
                        relative: Some(size / 1000.0),
                        spectral: size / 2.0,
                        stable_rank: (step > 0).then_some(4.0),
                        effective_rank: (step > 0).then_some(5.0),
                    });
                }
            }
        }
        for (layer, phi) in [(0, 0.25), (1, 0.75)] {
            found.subspaces.push(Similarity {
                of: "a".to_owned(),
                first: names[0].clone(),
                second: names[1].clone(),
                matrix: matrix(layer),
                inputs: 16,
                i: vec![1, 2],
                j: vec![1, 4],
                phi: vec![vec![1.0, phi], vec![0.5, phi]],
                begun: Some(phi / 2.0),
            });
        }
        let reason = "`prompt` adds no matrix".to_owned();
        found.left_out.push(LeftOut { member: "tuned[x=y]".to_owned(), analysis: None, reason });
        found
    }

    #[test]
    fn a_section_says_means_at_the_kept_step() {
        let report = crate::report::Report {
            title: String::new(),
            summary: Vec::new(),
            rows: &[],
            sections: vec![section("looked_at".to_owned(), &found()).unwrap()],
            samples: Vec::new(),
            samples_note: String::new(),
            members: Sheet::default(),
            facts: Vec::new(),
        };
        let text = markdown::page(&report);
        let has = |line: &str| assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
        has("| &lt;2&gt; | lora | 10 | 2 | 15.00 | 1.500 % | 7.500 | 4.000 | 5.000 |");
        has("| 4 | lora | 10 | 2 | 30.00 | 3.000 % | 15.00 | 4.000 | 5.000 |");
        has("| &lt;2&gt; and 4 | 2 | 1.000 | 0.500 | 0.250 | 0.250 |");
        assert!(text.contains("Left out: tuned\\[x=y\\]. \\`prompt\\` adds no matrix."), "{text}");
        let page = html::page(&report);
        for word in
            ["φ(1, 4) = 0.500", "fill-opacity=\"0.520\"", "of attention.q by layer", "by step", "&lt;2&gt; (i), 4 (j)"]
        {
            assert!(page.contains(word), "no `{word}` in\n{page}");
        }
        assert!(!page.contains("<2>") && !page.contains("ΔM"), "only what was found");
    }

    #[test]
    fn a_file_that_is_no_inspection_is_said() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(files::INSPECTION), "{\n\"members\": 3}").unwrap();
        let input = JobInput {
            stage: "looked_at".to_owned(),
            kind: "inspect".to_owned(),
            coordinates: Vec::new(),
            part: None,
            result: folder.path().to_owned(),
            observed: folder.path().to_owned(),
            carried: None,
            made: None,
        };
        let failure = sections([&input].into_iter()).unwrap_err();
        assert!(failure.place.unwrap().ends_with("inspection.json:2"), "{}", failure.message);
    }
}
