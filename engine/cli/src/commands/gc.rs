//! `engine gc`: takes out of the store what no pipeline file, lock or recent run needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use plan::{
    history,
    lockfile::LockFile,
    state::Freshness,
    store::{Alone, Garbage, Needs, Store},
    views::Views,
};
use spec::{diagnostic::Diagnostic, job::Failure, stage::Read};

use crate::{
    Exit,
    commands::plan::size,
    project::{PipelineArgs, Project, root_above},
    render,
    session::{Session, template_files},
};

/// Drop stored results that no pipeline file, lock or recent run needs.
///
/// Pipeline files are those below `pipelines/`, each under each of its profiles, and those of recent runs.
#[derive(Debug, Args)]
pub struct Gc {
    /// A folder of the project; the current one by default.
    #[arg(value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
    /// Print what would go, and remove nothing.
    #[arg(long)]
    dry_run: bool,
    /// Keep what was made or used in the last so many days, whatever the files say.
    #[arg(long, value_name = "DAYS", default_value_t = 14)]
    days: u64,
    /// Then drop what was longest unused, though it is needed, until the store is no larger: 500MiB, 20GiB.
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    max_size: Option<u64>,
    /// Go on though a pipeline file or lock cannot be read: what only it needs is dropped.
    #[arg(long)]
    skip_broken: bool,
    /// Wait while a run uses the store.
    #[arg(long)]
    wait: bool,
}

/// `20GiB` as bytes.
fn bytes(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let units = [
        ("B", 1.0),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("TiB", 1_099_511_627_776.0),
    ];
    let factor = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim())).map(|(_, factor)| factor);
    match (number.parse::<f64>(), factor) {
        (Ok(number), Some(factor)) if number >= 0.0 => Ok((number * factor) as u64),
        _ => Err("write a number and a unit: 500MiB, 20GiB".into()),
    }
}

/// Finds what nobody needs, and removes it.
pub fn run(gc: &Gc) -> Exit {
    match collect(gc) {
        Ok(exit) => exit,
        Err(failure) => {
            render::failure(None, &failure);
            Exit::Failed
        }
    }
}

fn collect(gc: &Gc) -> Result<Exit, Failure> {
    let root = root_above(&gc.folder);
    let outputs = root.join("outputs");
    let store = Store::open(&outputs);
    if !store.root().exists() {
        outln!("{}: nothing is stored here", outputs.display());
        return Ok(Exit::Done);
    }
    let alone = alone(gc, &store)?;
    let found = match Found::read(gc, &root, &store) {
        Ok(found) => found,
        Err(faults) => {
            render::diagnostics(&faults);
            eprintln!("nothing was removed: what these files need is not known; mend them, or `--skip-broken`");
            return Ok(Exit::Mistake);
        }
    };
    let garbage = store.garbage(&alone, &found.needs)?;
    let old_runs = history::outlived(&store)?;
    let gone = garbage.gone();
    let links: Vec<PathBuf> = Views::links(&outputs)?
        .into_iter()
        .filter(|(_, target)| gone.contains(target.as_path()) || !target.exists())
        .map(|(link, _)| link)
        .collect();
    report(gc, &garbage, &links, old_runs.len());
    if gc.dry_run {
        return Ok(Exit::Done);
    }
    store.sweep(&alone, &garbage)?;
    Views::remove_links(&outputs, &links)?;
    for path in old_runs {
        // Somebody else may have removed it.
        let _ = std::fs::remove_file(path);
    }
    if found.complete {
        let remembered = plan::remembered::Remembered::open(&store);
        remembered.keep_only(&found.files);
        remembered.save()?;
    }
    Ok(Exit::Done)
}

/// The store for this process alone.
fn alone(gc: &Gc, store: &Store) -> Result<Alone, Failure> {
    let mut said = false;
    loop {
        if let Some(alone) = store.alone()? {
            return Ok(alone);
        }
        let runs = history::runs(store).unwrap_or_default();
        let runs: Vec<String> = runs
            .iter()
            .filter(|kept| kept.run.goes_on())
            .map(|kept| format!("`{}` since {} UTC", kept.run.variant, history::utc(kept.run.begun)))
            .collect();
        let who = if runs.is_empty() { "another engine".to_owned() } else { runs.join(", ") };
        if !gc.wait {
            return Err(Failure {
                message: format!("the store is in use: {who}"),
                place: None,
                hint: Some("run again when it is over, or wait for it with `--wait`".into()),
            });
        }
        if !std::mem::replace(&mut said, true) {
            eprintln!("waiting: the store is in use by {who}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What the project needs of its store.
struct Found {
    needs: Needs,
    /// Files of the project that stages read.
    files: Vec<PathBuf>,
    /// Whether every pipeline file could be read.
    complete: bool,
}

impl Found {
    fn read(gc: &Gc, root: &Path, store: &Store) -> Result<Self, Vec<Diagnostic>> {
        let since = history::clock().saturating_sub(gc.days.saturating_mul(86_400));
        let needs = Needs { since, max_size: gc.max_size, ..Needs::default() };
        let mut found = Self { needs, files: Vec::new(), complete: true };
        let mut faults = Vec::new();
        let (mut pipelines, locks) = files(&root.join("pipelines"));
        for kept in history::runs(store).unwrap_or_default() {
            for key in kept.run.members.iter().filter_map(|member| member.key) {
                let used = found.needs.used.entry(key).or_default();
                *used = kept.used.max(*used);
            }
            let file = root.join(&kept.run.asked.file);
            if kept.used >= since && file.is_file() {
                pipelines.insert(file);
            }
        }
        for lock in locks {
            match LockFile::read(&lock) {
                Ok(lock) => found.needs.keys.extend(lock.results.values().map(|result| result.key)),
                Err(error) => faults.push(Diagnostic::new(error.to_string(), error.hint())),
            }
        }
        let included = included(&pipelines);
        for file in pipelines {
            match found.add_pipeline(&file) {
                Ok(()) => {}
                // A file of parts for others need not be a pipeline of its own.
                Err(_) if included.contains(&file) => {}
                Err(more) => faults.extend(more),
            }
        }
        if faults.is_empty() {
            return Ok(found);
        }
        if !gc.skip_broken {
            return Err(faults);
        }
        faults.iter().for_each(|fault| eprintln!("skipped: {fault}"));
        found.complete = false;
        Ok(found)
    }

    /// Adds what a pipeline file needs as it stands, and under each of its profiles.
    fn add_pipeline(&mut self, file: &Path) -> Result<(), Vec<Diagnostic>> {
        let args = PipelineArgs { file: file.to_owned(), profile: None, set: Vec::new(), variant: None };
        let project = Project::open(&args)?;
        self.add(&project)?;
        for profile in &project.profiles {
            let args = PipelineArgs { profile: Some(profile.to_owned()), ..args.clone() };
            self.add(&Project::open(&args)?)?;
        }
        Ok(())
    }

    fn add(&mut self, project: &Project) -> Result<(), Vec<Diagnostic>> {
        let session = Session::open(project)
            .map_err(|failure| vec![Diagnostic::new(failure.message, failure.hint.unwrap_or_default())])?;
        for freshness in session.state(project).survey() {
            match freshness {
                Freshness::Fresh(record) => {
                    self.needs.keys.insert(record.key);
                }
                // Its checkpoints are of use to the next run.
                Freshness::Stale(keyed) => {
                    self.needs.keys.insert(keyed.digest);
                }
                _ => {}
            }
        }
        // What was learned of files is only a help for the next time.
        let _ = session.remembered.save();
        for local in project.graph.nodes.iter().flat_map(|node| &node.local_paths) {
            match local.read {
                Read::Whole => self.files.push(project.root.join(&local.path)),
                Read::Template => self.files.extend(template_files(&project.root, &local.path).unwrap_or_default()),
            }
        }
        Ok(())
    }
}

/// The pipeline files and the locks below a folder.
fn files(folder: &Path) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
    let (mut pipelines, mut locks) = (BTreeSet::new(), BTreeSet::new());
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for path in std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|item| item.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else if name.ends_with(".lock.yaml") {
                locks.insert(path);
            } else if name.ends_with(".yaml") || name.ends_with(".yml") {
                pipelines.insert(path);
            }
        }
    }
    (pipelines, locks)
}

/// The files that pipeline files include, as far as they can be read.
fn included(pipelines: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let mut included = BTreeSet::new();
    for file in pipelines {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let document: serde_yaml::Value = serde_yaml::from_str(&text).unwrap_or_default();
        let names = match document.get("include") {
            Some(serde_yaml::Value::Sequence(names)) => names.clone(),
            Some(name) => vec![name.clone()],
            None => Vec::new(),
        };
        let folder = file.parent().unwrap_or(file);
        let paths = names.iter().filter_map(serde_yaml::Value::as_str).map(|name| folder.join(name));
        included.extend(paths.filter_map(|path| std::fs::canonicalize(path).ok()));
    }
    included
}

/// The most results that are named one by one.
const NAMED: usize = 12;

fn report(gc: &Gc, garbage: &Garbage, links: &[PathBuf], old_runs: usize) {
    let (unneeded, for_space): (Vec<_>, Vec<_>) = garbage.results.iter().partition(|dropped| !dropped.needed);
    for (dropped, why) in [(unneeded, "needed by no pipeline, lock or recent run"), (for_space, "longest unused")] {
        if dropped.is_empty() {
            continue;
        }
        let bytes = dropped.iter().map(|dropped| dropped.bytes).sum();
        outln!("{:>10}  {}, {why}", size(bytes), counted(dropped.len(), "result"));
        for result in dropped.iter().take(NAMED) {
            outln!("{:>10}    {}  last used {} UTC", size(result.bytes), result.name, history::utc(result.used));
        }
        if dropped.len() > NAMED {
            outln!("{:>10}    and {} more", "", dropped.len() - NAMED);
        }
    }
    let strays: BTreeMap<&str, usize> = garbage.strays.iter().map(|(what, count)| (*what, *count)).collect();
    for (what, count) in strays {
        outln!("{:>10}  {count} {what}", "");
    }
    if !links.is_empty() {
        outln!("{:>10}  {} in outputs/ that lead to what goes", "", counted(links.len(), "link"));
    }
    if old_runs > 0 {
        outln!("{:>10}  {} of the history, the oldest", "", counted(old_runs, "run"));
    }
    let verb = if gc.dry_run { "would be free" } else { "free" };
    outln!("{} {verb}; {} stay, {}", size(garbage.bytes), counted(garbage.kept, "result"), size(garbage.kept_bytes));
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(bytes("20GiB"), Ok(21_474_836_480));
        assert_eq!(bytes("1.5 MiB"), Ok(1_572_864));
        assert_eq!(bytes("10mb"), Ok(10_000_000));
        assert_eq!(bytes("0B"), Ok(0));
        for wrong in ["20", "GiB", "-1GiB", "1e3B", ""] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
