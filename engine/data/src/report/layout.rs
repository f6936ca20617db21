//! How members become the rows and groups of a report: which row a member stands in, which evaluations stand
//! together, which training run belongs to a score. Knows coordinates, not figures.

use std::collections::BTreeSet;

use spec::stage::Table;

use super::member::Member;

/// The axis that a list of models makes.
const MODEL: &str = "model";

/// Where every member stands.
#[derive(Debug)]
pub struct Layout<'a> {
    /// The names of the rows, in the order in which their members come.
    pub rows: Vec<String>,
    /// The evaluations: one a stage, or one for each label of the axes that make neither rows nor means.
    pub groups: Vec<Group<'a>>,
    /// The training runs, one a stage.
    pub trainings: Vec<Group<'a>>,
}

/// Members that are set side by side.
#[derive(Debug)]
pub struct Group<'a> {
    /// The stage, and the labels that set it apart: `scores[data=shuffled]`.
    pub name: String,
    /// The members of each row of the layout, by the row's index.
    pub members: Vec<Vec<&'a Member>>,
}

impl<'a> Group<'a> {
    /// The rows that hold a member, as (index, members).
    pub fn filled(&self) -> impl Iterator<Item = (usize, &[&'a Member])> {
        self.members
            .iter()
            .enumerate()
            .map(|(index, members)| (index, members.as_slice()))
            .filter(|(_, m)| !m.is_empty())
    }
}

impl<'a> Layout<'a> {
    /// Sorts members into rows and groups.
    pub fn new(members: &'a [Member], table: &Table) -> Self {
        let is_averaged = |axis: &str| table.mean_over.iter().any(|name| name == axis);
        let is_row = |axis: &str| {
            axis != MODEL
                && if table.rows.is_empty() { !is_averaged(axis) } else { table.rows.iter().any(|name| name == axis) }
        };
        let mut layout = Self { rows: Vec::new(), groups: Vec::new(), trainings: Vec::new() };
        let mut stages: Vec<&str> = Vec::new();
        for member in members {
            if !stages.contains(&member.input.stage.as_str()) {
                stages.push(&member.input.stage);
            }
        }
        let mut placed: Vec<(bool, String, String, &Member)> = Vec::new();
        for stage in stages {
            let of_stage: Vec<&Member> = members.iter().filter(|member| member.input.stage == stage).collect();
            let has_row = |member: &Member| member.input.coordinates.iter().any(|(axis, _)| is_row(axis));
            let varies = |axis: &str| {
                let labels: BTreeSet<_> =
                    of_stage.iter().filter(|member| has_row(member)).map(|member| member.label(axis)).collect();
                labels.len() > 1
            };
            for member in &of_stage {
                let coordinates = &member.input.coordinates;
                let is_facet = |axis: &str| axis != MODEL && !is_row(axis) && !is_averaged(axis) && varies(axis);
                let labels = |wanted: &dyn Fn(&str) -> bool| -> Vec<String> {
                    coordinates.iter().filter(|(axis, _)| wanted(axis)).map(|(_, label)| label.clone()).collect()
                };
                let row = if has_row(member) {
                    let mut ordered: Vec<String> = match table.rows.as_slice() {
                        [] => labels(&is_row),
                        axes => axes.iter().filter_map(|axis| member.label(axis)).map(str::to_owned).collect(),
                    };
                    ordered.extend(labels(&|axis| axis == MODEL && varies(axis)));
                    ordered.join(" · ")
                } else {
                    let own = member.label(MODEL).unwrap_or(&member.input.stage).to_owned();
                    let rest = labels(&|axis| axis != MODEL && !is_averaged(axis) && !is_facet(axis));
                    std::iter::once(own).chain(rest).collect::<Vec<_>>().join(" · ")
                };
                let facets: Vec<(String, String)> =
                    coordinates.iter().filter(|(axis, _)| is_facet(axis)).cloned().collect();
                let name = spec::job::member_name(stage, &facets);
                if member.scored.is_some() {
                    placed.push((true, name, row, member));
                } else if member.trained.is_some() {
                    placed.push((false, name, row, member));
                }
            }
        }
        // Rows in the order of the evaluations, so that what is not tuned comes first where it is scored first.
        for (_, _, row, _) in placed.iter().filter(|entry| entry.0).chain(placed.iter().filter(|entry| !entry.0)) {
            if !layout.rows.contains(row) {
                layout.rows.push(row.clone());
            }
        }
        for (is_scored, name, row, member) in placed {
            let groups = if is_scored { &mut layout.groups } else { &mut layout.trainings };
            let index = groups.iter().position(|group| group.name == name).unwrap_or_else(|| {
                groups.push(Group { name, members: vec![Vec::new(); layout.rows.len()] });
                groups.len() - 1
            });
            if let Some(row) = layout.rows.iter().position(|known| *known == row) {
                groups[index].members[row].push(member);
            }
        }
        layout
    }

    /// The training runs that made what these evaluations scored.
    pub fn trained_for(&self, scored: &[&'a Member]) -> Vec<&'a Member> {
        let mut found: Vec<&Member> = Vec::new();
        let runs: Vec<&Member> =
            self.trainings.iter().flat_map(|group| group.members.iter().flatten()).copied().collect();
        for member in scored {
            for run in &runs {
                if belongs(run, member, runs.len()) && !found.iter().any(|known| std::ptr::eq(*known, *run)) {
                    found.push(run);
                }
            }
        }
        found
    }
}

/// Whether an evaluation scored what a run trained: the model's name is the run's stage, and every axis of the run
/// has the same label in the evaluation. An evaluation of one model alone has no axis for it, so the labels decide.
fn belongs(run: &Member, scored: &Member, runs: usize) -> bool {
    let axes_agree =
        run.input.coordinates.iter().all(|(axis, label)| scored.label(axis).is_some_and(|found| found == label));
    let named = scored.label(MODEL).map(|name| name.split(['[', '/']).next().unwrap_or(name) == run.input.stage);
    axes_agree && named.unwrap_or(!run.input.coordinates.is_empty() || runs == 1)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use spec::job::JobInput;

    use super::*;
    use crate::report::member::{Measured, Scored, Trained};

    fn member(stage: &str, coordinates: &[(&str, &str)], is_scored: bool) -> Member {
        Member {
            input: JobInput {
                stage: stage.into(),
                kind: if is_scored { "evaluate" } else { "train" }.into(),
                coordinates: coordinates.iter().map(|(a, l)| ((*a).into(), (*l).into())).collect(),
                part: None,
                result: PathBuf::new(),
                observed: PathBuf::new(),
                carried: None,
                made: None,
            },
            trained: (!is_scored).then(Trained::default),
            scored: is_scored.then(Scored::default),
            measured: Measured::default(),
            latency: None,
            selected: None,
        }
    }

    fn study() -> Vec<Member> {
        let mut members = vec![member("base", &[], false)];
        for (method, seed) in [("lora", "0"), ("lora", "1"), ("dora", "0"), ("dora", "1")] {
            members.push(member("tuned", &[("method", method), ("seed", seed)], false));
        }
        for data in ["plain", "shuffled"] {
            members.push(member("scores", &[("data", data), ("model", "base")], true));
            for (method, seed) in [("lora", "0"), ("lora", "1"), ("dora", "0"), ("dora", "1")] {
                let coordinates = [("data", data), ("model", "tuned"), ("method", method), ("seed", seed)];
                members.push(member("scores", &coordinates, true));
            }
        }
        members
    }

    #[test]
    fn seeds_share_a_row_and_other_axes_make_groups() {
        let members = study();
        let layout = Layout::new(
            &members,
            &Table { rows: vec!["method".into()], mean_over: vec!["seed".into()], rank_by: None, against: None },
        );
        assert_eq!(layout.rows, ["base", "lora", "dora"]);
        let names: Vec<_> = layout.groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["scores[data=plain]", "scores[data=shuffled]"]);
        assert_eq!(layout.groups[0].members.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 2]);
        assert_eq!(layout.trainings.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["base", "tuned"]);
    }

    #[test]
    fn a_score_finds_its_own_training() {
        let members = study();
        let layout = Layout::new(
            &members,
            &Table { rows: vec!["method".into()], mean_over: vec!["seed".into()], rank_by: None, against: None },
        );
        let runs = |row: usize| -> Vec<String> {
            layout.trained_for(&layout.groups[0].members[row]).iter().map(|run| run.input.name()).collect()
        };
        assert_eq!(runs(0), ["base"]);
        assert_eq!(runs(2), ["tuned[method=dora,seed=0]", "tuned[method=dora,seed=1]"]);
    }

    #[test]
    fn without_rows_every_axis_that_is_not_averaged_makes_rows() {
        let members = [
            member("scores", &[("method", "lora"), ("rank", "4"), ("seed", "0")], true),
            member("scores", &[("method", "lora"), ("rank", "8"), ("seed", "0")], true),
        ];
        let layout = Layout::new(
            &members,
            &Table { rows: Vec::new(), mean_over: vec!["seed".into()], rank_by: None, against: None },
        );
        assert_eq!(layout.rows, ["lora · 4", "lora · 8"]);
        assert_eq!(layout.groups.len(), 1);
    }
}
