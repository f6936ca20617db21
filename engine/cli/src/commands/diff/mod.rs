//! `engine diff`: two revisions or two files, settings that differ beside figures that differ. From pipeline files and
//! locks alone: nothing is run, and the store is not needed.

mod sides;
mod table;

use std::{collections::BTreeSet, path::Path};

use clap::Args;
use plan::compare::Comparison;
use serde_json::json;
use spec::job::Failure;

use self::sides::{Files, Named, Side};
use crate::{Exit, project::root_above, render};

/// Set changed settings beside changed figures: of two revisions, or of two pipeline files.
///
/// `engine diff HEAD~3` compares every pipeline that has a lock with the working tree, `engine diff v1 HEAD` two
/// revisions, `engine diff HEAD~3 pipelines/x.yaml` one pipeline, `engine diff a.yaml b.yaml` two files.
#[derive(Debug, Args)]
pub struct Diff {
    /// The older one: a revision, a file, or REVISION:FILE.
    #[arg(value_name = "A")]
    old: String,
    /// The newer one; the working tree where left out.
    #[arg(value_name = "B")]
    new: Option<String>,
    /// Compare only this pipeline of the two revisions.
    #[arg(value_name = "FILE")]
    file: Option<String>,
    /// Apply this profile on both sides.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Print one JSON object a pipeline.
    #[arg(long)]
    json: bool,
}

/// One pipeline on both sides.
struct Pair {
    name: String,
    old: Side,
    new: Side,
}

/// Compares and prints.
pub fn run(diff: &Diff) -> Exit {
    match pairs(diff).and_then(|pairs| print(diff, &pairs)) {
        Ok(()) => Exit::Done,
        Err(failure) => {
            render::failure(None, &failure);
            Exit::Mistake
        }
    }
}

/// What the words of the command line name.
fn pairs(diff: &Diff) -> Result<Vec<Pair>, Failure> {
    let here = root_above(Path::new("."));
    let old = Named::read(&here, &diff.old)?;
    let words = [diff.new.as_deref(), diff.file.as_deref()];
    let [new, file] = words.map(|word| word.map(|word| Named::read(&here, word)).transpose());
    let profile = diff.profile.as_deref();
    let work = || Files::working_tree(&here);
    let one = |name: &str, old: Side, new: Side| vec![Pair { name: name.to_owned(), old, new }];
    match (old, new?, file?) {
        (Named::Revision(old), None, None) => all(&old, &work(), profile),
        (Named::Revision(old), Some(Named::Revision(new)), None) => all(&old, &new, profile),
        (Named::Revision(old), Some(Named::File(work, file)), None) => {
            Ok(one(&file, Side::of_file(&old, &file, profile)?, Side::of_file(&work, &file, profile)?))
        }
        (Named::Revision(old), Some(Named::Revision(new)), Some(Named::File(_, file))) => {
            Ok(one(&file, Side::of_file(&old, &file, profile)?, Side::of_file(&new, &file, profile)?))
        }
        (Named::File(work, file), None, None) if !diff.old.contains(':') => {
            let head = Files::revision(&here, "HEAD")?;
            Ok(one(&file, Side::of_file(&head, &file, profile)?, Side::of_file(&work, &file, profile)?))
        }
        (Named::File(old, file), None, None) => {
            Ok(one(&file, Side::of_file(&old, &file, profile)?, Side::of_file(&work(), &file, profile)?))
        }
        (Named::File(old, file), Some(Named::File(new, other)), None) => {
            let name = if file == other { file.clone() } else { format!("{file} → {other}") };
            Ok(one(&name, Side::of_file(&old, &file, profile)?, Side::of_file(&new, &other, profile)?))
        }
        _ => Err(Failure {
            message: "these do not go together".into(),
            place: None,
            hint: Some("name one or two revisions and perhaps a pipeline file, or two files".into()),
        }),
    }
}

/// Every pipeline, in each of its variants, that has a lock on one of the sides.
fn all(old: &Files, new: &Files, profile: Option<&str>) -> Result<Vec<Pair>, Failure> {
    let mut locks: BTreeSet<String> = old.locks();
    locks.extend(new.locks());
    if let Some(profile) = profile {
        locks.retain(|lock| lock.ends_with(&format!(".{profile}.lock.yaml")));
    }
    if locks.is_empty() {
        return Err(Failure {
            message: format!("no pipeline has a lock, neither in {} nor in {}", old.label, new.label),
            place: None,
            hint: Some("a lock is written beside the pipeline by `engine run`; commit both".into()),
        });
    }
    let pair = |lock: String| {
        let name = lock.trim_end_matches(".lock.yaml").to_owned();
        Pair { old: Side::of_lock(old, &lock), new: Side::of_lock(new, &lock), name }
    };
    Ok(locks.into_iter().map(pair).collect())
}

fn print(diff: &Diff, pairs: &[Pair]) -> Result<(), Failure> {
    let mut same = Vec::new();
    for Pair { name, old, new } in pairs {
        let comparison = Comparison::of(&old.version, &new.version);
        if diff.json {
            let side = |side: &Side| json!({"label": side.label, "lock": side.lock, "notes": side.notes});
            outln!(
                "{}",
                json!({"pipeline": name, "old": side(old), "new": side(new), "differs": !comparison.is_empty(),
                    "stages": comparison.stages, "same": comparison.same, "other_contents": comparison.other_contents})
            );
        } else if comparison.is_empty() && pairs.len() > 1 && old.notes.is_empty() && new.notes.is_empty() {
            same.push(name.as_str());
        } else {
            table::print(name, old, new, &comparison);
        }
    }
    if !same.is_empty() {
        outln!("the same: {}", same.join(", "));
    }
    Ok(())
}
