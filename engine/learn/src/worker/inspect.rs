//! The `inspect` stage: which members can be looked at, which matrix is compared with which, and what is left. Knows the words
//! of pipeline files and the files between stages; the formulas are elsewhere.

mod members;
mod tables;

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::json;
use spec::files;
use spec::inspection::{Amplified, Correlation, Inspected, Inspection, LeftOut, Matrix, Moved, Similarity, UpdateNorm};
use spec::job::Job;
use spec::stage::{Analysis, Inspect, Subspaces, SubspacesOf};
use tch::Tensor;

use self::members::{Bases, Member};
use crate::error::{Error, Result};
use crate::inspect::{
    Change, Rows, amplification, magnitude_direction, right_vectors, similarity, trend, update_norms, usual_numbers,
};
use crate::observer::Observer;
use crate::weights::write_json;

/// So many directions of a change that has no rank of its own are compared with those of others.
const UPDATE_DIRECTIONS: u64 = 64;

/// So many of them are set against the matrix.
const AMPLIFIED_DIRECTIONS: u64 = 8;

/// Does the job.
pub fn run(job: &Job, stage: &Inspect, observer: &mut dyn Observer) -> Result<()> {
    let started = Instant::now();
    let _guard = tch::no_grad_guard();
    let mut bases = Bases::default();
    let mut found = Inspection::default();
    let mut members: Vec<Member> = Vec::new();
    for input in job.inputs.get("models").into_iter().flatten() {
        let name = input.name();
        if members.iter().any(|member| member.name == name) || found.left_out.iter().any(|left| left.member == name) {
            continue;
        }
        match Member::open(input, &mut bases)? {
            Ok(member) => members.push(member),
            Err(reason) => found.left_out.push(LeftOut { member: name, analysis: None, reason }),
        }
    }
    if members.is_empty() {
        let reasons: Vec<_> = found.left_out.iter().map(|left| format!("{}: {}", left.member, left.reason)).collect();
        let hint = "name a stage that trains by `lora`, `lora_fa`, `dora`, or by `full` with `snapshots`";
        return Err(Error::stopped("no member can be looked at", Some(reasons.join("; ")), hint));
    }
    for member in &members {
        found.members.push(Inspected {
            name: member.name.clone(),
            stage: member.stage.clone(),
            coordinates: member.coordinates.clone(),
            method: member.method.to_owned(),
            steps: member.states.iter().map(|state| state.step).collect(),
            kept_step: member.kept_step,
        });
    }
    note_what_has_no_a(stage, &members, &mut found);
    let matrices = bases.matrices_of(&members);
    for (index, matrix) in (0_u64..).zip(&matrices) {
        look_at(matrix, stage, &members, &bases, &mut found)?;
        observer.progress(index + 1, matrices.len() as u64, "matrices", &String::new);
    }
    if stage.analyses.iter().any(|analysis| matches!(analysis, Analysis::MagnitudeDirection(_))) {
        found.correlations =
            members.iter().flat_map(|member| correlations(member, &found.magnitude_direction)).collect();
    }
    for LeftOut { member, analysis, reason } in &found.left_out {
        let of = analysis.as_ref().map(|analysis| format!(" of `{analysis}`")).unwrap_or_default();
        observer.warning(format!("`{member}` is left out{of}: {reason}"));
    }
    let position = |name: &String| members.iter().position(|member| member.name == *name);
    found.update_norms.sort_by_key(|entry| position(&entry.member));
    found.amplification.sort_by_key(|entry| position(&entry.member));
    found.magnitude_direction.sort_by_key(|entry| position(&entry.member));
    found.subspaces.sort_by(|one, other| {
        let key = |entry: &Similarity| (entry.of.clone(), position(&entry.first), position(&entry.second));
        key(one).cmp(&key(other))
    });
    let value = serde_json::to_value(&found).map_err(|error| {
        let problem = format!("what was found has no JSON form: {error}");
        Error::stopped(problem, Some(job.name.clone()), "look for numbers that are not finite in the adapters")
    })?;
    write_json(&job.result.join(files::INSPECTION), &value)?;
    tables::write(stage, &found, &job.result)?;
    let measured = json!({ "seconds": started.elapsed().as_secs_f64(), "device": "cpu", "threads": job.threads });
    write_json(&job.observed.join(files::MEASURED), &measured)
}

/// Full fine-tuning has no A whose directions could be compared.
fn note_what_has_no_a(stage: &Inspect, members: &[Member], found: &mut Inspection) {
    let of_a = |analysis: &Analysis| matches!(analysis, Analysis::Subspaces(Subspaces { of: SubspacesOf::A, .. }));
    if stage.analyses.iter().any(of_a) {
        found.left_out.extend(members.iter().filter(|member| member.method == "full").map(|member| LeftOut {
            member: member.name.clone(),
            analysis: Some("subspaces".to_owned()),
            reason: "full fine-tuning has no A; `{subspaces: {of: update}}` compares the directions of ΔW".to_owned(),
        }));
    }
}

/// Does all analyses of one matrix.
fn look_at(matrix: &Matrix, stage: &Inspect, members: &[Member], bases: &Bases, found: &mut Inspection) -> Result<()> {
    let mut weights: Vec<(usize, Tensor)> = Vec::new();
    let mut ends: Vec<Changed> = Vec::new();
    for (index, member) in members.iter().enumerate().filter(|(_, member)| member.changes(&matrix.module)) {
        let at = match weights.iter().position(|(base, _)| *base == member.base) {
            Some(at) => at,
            None => match bases.weight(member.base, &matrix.module)? {
                Some(weight) => {
                    weights.push((member.base, weight));
                    weights.len() - 1
                }
                None => continue,
            },
        };
        let Some((_, weight)) = weights.get(at) else { continue };
        let (mut begun, mut end) = (None, None);
        for state in &member.states {
            let Some(change) = state.change(&matrix.module, weight)? else { continue };
            let rows = change.rows(weight)?;
            let seen = Seen { matrix, member, step: state.step, change: &change, weight, rows: &rows };
            for analysis in &stage.analyses {
                seen.look(analysis, found)?;
            }
            if state.step == 0 {
                begun = change.a().map(Tensor::shallow_clone);
            }
            if state.step == member.kept_step {
                end = Some(change);
            }
        }
        ends.extend(end.map(|change| Changed { member: index, weight: at, change, begun }));
    }
    for analysis in &stage.analyses {
        let Analysis::Subspaces(settings) = analysis else { continue };
        let mut all = Vec::new();
        for end in &ends {
            let Some((member, (_, weight))) = members.get(end.member).zip(weights.get(end.weight)) else { continue };
            let Some(vectors) = compared(settings.of, &end.change, weight)? else { continue };
            let begun = match (settings.of, &end.begun) {
                (SubspacesOf::A, Some(a)) => Some(right_vectors(a)?),
                _ => None,
            };
            all.push(Learned { member, vectors, begun });
        }
        for (index, first) in all.iter().enumerate() {
            for second in all.iter().skip(index + 1) {
                found.subspaces.extend(alike(matrix, settings, first, second)?);
            }
        }
    }
    Ok(())
}

/// What a member left of one matrix.
struct Changed {
    /// Its place among the members.
    member: usize,
    /// The place of what it changed.
    weight: usize,
    change: Change,
    /// A before the first step, where it was kept.
    begun: Option<Tensor>,
}

/// The directions that a member learned on one matrix: `[inputs, count]`.
struct Learned<'a> {
    member: &'a Member,
    vectors: Tensor,
    /// Those that its A had before the first step.
    begun: Option<Tensor>,
}

/// A member's change of one matrix at one step.
struct Seen<'a> {
    matrix: &'a Matrix,
    member: &'a Member,
    step: u64,
    change: &'a Change,
    weight: &'a Tensor,
    rows: &'a Rows,
}

impl Seen<'_> {
    /// Does an analysis that looks at one member alone.
    fn look(&self, analysis: &Analysis, found: &mut Inspection) -> Result<()> {
        let Self { member, change, weight, rows, .. } = *self;
        let (name, matrix, step) = (member.name.clone(), self.matrix.clone(), self.step);
        match analysis {
            Analysis::UpdateNorms(_) => {
                let norms = update_norms(change, weight, rows)?;
                found.update_norms.push(UpdateNorm {
                    member: name,
                    matrix,
                    step,
                    norm: digits(norms.norm),
                    relative: norms.relative.map(digits),
                    spectral: digits(norms.spectral),
                    stable_rank: norms.stable_rank.map(digits),
                    effective_rank: norms.effective_rank.map(digits),
                });
            }
            Analysis::MagnitudeDirection(_) => {
                let moved = magnitude_direction(rows);
                let (magnitude, direction) = (digits(moved.magnitude), digits(moved.direction));
                found.magnitude_direction.push(Moved { member: name, matrix, step, magnitude, direction });
            }
            Analysis::Amplification(settings) if step == member.kept_step => {
                let most = settings.directions.or(change.rank()).unwrap_or(AMPLIFIED_DIRECTIONS);
                let found_here = amplification(change, weight, rows, most)?;
                found.amplification.push(Amplified {
                    member: name,
                    matrix,
                    directions: found_here.directions,
                    weight: digits(found_here.weight),
                    update: digits(found_here.update),
                    in_update: digits(found_here.in_update),
                    in_weight: digits(found_here.in_weight),
                    in_random: digits(found_here.in_random),
                    factor: found_here.factor.map(digits),
                });
            }
            Analysis::Amplification(_) | Analysis::Subspaces(_) => {}
        }
        Ok(())
    }
}

/// The vectors `[inputs, count]` of a change that are compared with those of others.
fn compared(of: SubspacesOf, change: &Change, weight: &Tensor) -> Result<Option<Tensor>> {
    match of {
        SubspacesOf::A => change.a().map(right_vectors).transpose(),
        SubspacesOf::Update => {
            let most = change.rank().unwrap_or(UPDATE_DIRECTIONS);
            Ok(Some(change.directions(weight, most)?.right))
        }
    }
}

/// How alike the directions of two members are; nothing where one has none, or their matrices have other inputs.
fn alike(
    matrix: &Matrix,
    settings: &Subspaces,
    first: &Learned<'_>,
    second: &Learned<'_>,
) -> Result<Option<Similarity>> {
    let ((inputs, count), (other_inputs, other_count)) = (first.vectors.size2()?, second.vectors.size2()?);
    let numbers = |count: i64| match settings.directions.as_slice() {
        [] => usual_numbers(count.unsigned_abs()),
        asked => asked.iter().copied().filter(|number| *number <= count.unsigned_abs()).collect(),
    };
    let (i, j) = (numbers(count), numbers(other_count));
    if inputs != other_inputs || i.is_empty() || j.is_empty() {
        return Ok(None);
    }
    let phi = similarity(&first.vectors, &second.vectors, &i, &j)?;
    let phi = phi.into_iter().map(|row| row.into_iter().map(digits).collect()).collect();
    let of = match settings.of {
        SubspacesOf::A => "a",
        SubspacesOf::Update => "update",
    };
    Ok(Some(Similarity {
        of: of.to_owned(),
        first: first.member.name.clone(),
        second: second.member.name.clone(),
        matrix: matrix.clone(),
        inputs: inputs.unsigned_abs(),
        i,
        j,
        phi,
        begun: first.begun.as_ref().zip(second.begun.as_ref()).map(|(one, other)| whole(one, other)).transpose()?,
    }))
}

/// φ of all directions of both.
fn whole(one: &Tensor, other: &Tensor) -> Result<f64> {
    let (count, other_count) = (one.size2()?.1.unsigned_abs(), other.size2()?.1.unsigned_abs());
    let phi = similarity(one, other, &[count], &[other_count])?;
    Ok(digits(phi.first().and_then(|row| row.first()).copied().unwrap_or_default()))
}

/// How magnitude and direction go together in a member, for each role and for all together.
fn correlations(member: &Member, moved: &[Moved]) -> Vec<Correlation> {
    let own: Vec<&Moved> = moved.iter().filter(|entry| entry.member == member.name && entry.step > 0).collect();
    let roles: BTreeSet<&str> = own.iter().map(|entry| entry.matrix.role.as_str()).collect();
    let of = |role: Option<&str>| {
        let wanted = own.iter().filter(|entry| role.is_none_or(|role| entry.matrix.role == role));
        let points: Vec<(f64, f64)> = wanted.map(|entry| (entry.direction, entry.magnitude)).collect();
        let trend = trend(&points);
        Correlation {
            member: member.name.clone(),
            role: role.map(str::to_owned),
            points: points.len() as u64,
            correlation: trend.map(|trend| digits(trend.correlation)),
            slope: trend.map(|trend| digits(trend.slope)),
        }
    };
    std::iter::once(None).chain(roles.into_iter().map(Some)).map(of).collect()
}

/// A number with nine digits: the last ones of float64 depend on how sums are split over threads.
fn digits(value: f64) -> f64 {
    format!("{value:.8e}").parse().unwrap_or(value)
}
