//! Two versions of a pipeline side by side: settings that differ beside figures that differ. Knows pipelines as members
//! with settings, and locks; knows neither git nor the store.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use serde::Serialize;

use crate::{
    digest::Digest,
    graph::{Graph, Node},
    key,
    lockfile::{LockFile, LockedResult},
};

/// Between values of a setting that depends on a choice.
const OR: &str = " or ";

/// One version of a pipeline: what it says, and what came of it.
#[derive(Debug, Default)]
pub struct Version {
    members: BTreeMap<String, Member>,
    /// Stages in the order of the file.
    stages: Vec<String>,
    /// Whether the settings are known: the text could be read.
    has_settings: bool,
}

#[derive(Debug, Default)]
struct Member {
    stage: String,
    /// Settings by path as JSON, and digests of files by path.
    settings: BTreeMap<String, String>,
    files: BTreeMap<String, Digest>,
    /// What was downloaded: its source and the digest of its contents.
    pin: Option<(String, Digest)>,
    result: Option<LockedResult>,
}

impl Member {
    /// Joins another member of the same name: which of them is done depends on what a `select` stage chooses.
    fn or(&mut self, other: Self) {
        for (path, value) in other.settings {
            let known = self.settings.entry(path).or_insert_with(|| value.clone());
            if *known != value && !known.split(OR).any(|one| one == value) {
                known.push_str(OR);
                known.push_str(&value);
            }
        }
        self.files.extend(other.files);
    }
}

impl Version {
    /// A version by its graph, where its text can be read, and its lock. `files` gives the digests of the files whose text
    /// belongs to a member's settings: templates.
    ///
    /// # Errors
    /// A setting that has no JSON form.
    pub fn new(
        graph: Option<&Graph>,
        lock: &LockFile,
        files: impl Fn(&Node) -> BTreeMap<String, Digest>,
    ) -> Result<Self, serde_json::Error> {
        let mut version = Self { has_settings: graph.is_some(), ..Self::default() };
        if let Some(graph) = graph {
            version.stages = graph.stages.iter().map(|stage| stage.name.clone()).collect();
            for node in &graph.nodes {
                let name = node.name();
                let settings = key::leaves(&node.settings.settings()?);
                let result = lock.results.get(&name).cloned();
                let pin = lock.pins.get(&name).map(|pin| (pin.source.clone(), pin.digest));
                let member = Member { stage: node.stage.clone(), settings, files: files(node), pin, result };
                match version.members.entry(name) {
                    Entry::Vacant(place) => {
                        place.insert(member);
                    }
                    Entry::Occupied(mut one) => one.get_mut().or(member),
                }
            }
            return Ok(version);
        }
        for (name, result) in &lock.results {
            let stage = name.split('[').next().unwrap_or(name).to_owned();
            version.stages.push(stage.clone());
            let member = Member { stage, result: Some(result.clone()), ..Member::default() };
            version.members.insert(name.clone(), member);
        }
        version.stages.dedup();
        Ok(version)
    }
}

/// How two versions differ.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// Stages in which something differs, in the order of the newer file.
    pub stages: Vec<StageChanges>,
    /// Members that are the same on both sides.
    pub same: usize,
    /// Members with the same settings and figures that left other bytes.
    pub other_contents: Vec<String>,
}

/// What differs in one stage.
#[derive(Debug, Default, Serialize)]
pub struct StageChanges {
    /// The stage.
    pub stage: String,
    /// How many of its members are on both sides.
    pub members: usize,
    /// What differs in all of them alike.
    pub common: Vec<Change>,
    /// What else differs in single members.
    pub changed: Vec<MemberChanges>,
    /// Members that only the older version has.
    pub only_old: Vec<String>,
    /// Members that only the newer version has.
    pub only_new: Vec<String>,
}

/// What differs in one member.
#[derive(Debug, Serialize)]
pub struct MemberChanges {
    /// The member.
    pub member: String,
    /// Settings that differ, and are not among those of all members.
    pub settings: Vec<Change>,
    /// Figures that differ.
    pub figures: Vec<Figure>,
    /// Whether its settings differ and the newer lock still tells of a run with the older ones.
    pub not_run: bool,
}

/// A setting or a file that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The setting's path, or the file's.
    pub what: String,
    /// Whether it is a file, whose values are digests.
    pub file: bool,
    /// What it was, as JSON; nothing where it was not there.
    pub old: Option<String>,
    /// What it is, as JSON; nothing where it is not there.
    pub new: Option<String>,
}

/// A figure that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// Its name.
    pub name: String,
    /// What it was.
    pub old: Option<f64>,
    /// What it is.
    pub new: Option<f64>,
}

impl Figure {
    /// How much was gained.
    pub fn difference(&self) -> Option<f64> {
        Some(self.new? - self.old?)
    }
}

impl Comparison {
    /// Compares an older version with a newer one, members by their names.
    pub fn of(old: &Version, new: &Version) -> Self {
        let mut comparison = Self { stages: Vec::new(), same: 0, other_contents: Vec::new() };
        let mut stages: Vec<&String> = new.stages.iter().collect();
        stages.extend(old.stages.iter().filter(|stage| !new.stages.contains(stage)));
        for stage in stages {
            let changes = comparison.stage(stage, old, new);
            let StageChanges { common, changed, only_old, only_new, .. } = &changes;
            if !(common.is_empty() && changed.is_empty() && only_old.is_empty() && only_new.is_empty()) {
                comparison.stages.push(changes);
            }
        }
        comparison
    }

    /// Whether anything differs.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty() && self.other_contents.is_empty()
    }

    fn stage(&mut self, stage: &str, old: &Version, new: &Version) -> StageChanges {
        let of = |version: &Version| -> BTreeSet<String> {
            let own = version.members.iter().filter(|(_, member)| member.stage == stage);
            own.map(|(name, _)| name.clone()).collect()
        };
        let (before, now) = (of(old), of(new));
        let mut changes = StageChanges {
            stage: stage.to_owned(),
            only_old: before.difference(&now).cloned().collect(),
            only_new: now.difference(&before).cloned().collect(),
            ..StageChanges::default()
        };
        let both: Vec<(&String, &Member, &Member)> = before
            .intersection(&now)
            .filter_map(|name| Some((name, old.members.get(name)?, new.members.get(name)?)))
            .collect();
        changes.members = both.len();
        let compare = old.has_settings && new.has_settings;
        let settings: Vec<Vec<Change>> =
            both.iter().map(|(_, old, new)| if compare { differing(old, new) } else { Vec::new() }).collect();
        if settings.len() > 1 {
            let (first, rest) = settings.split_first().map_or((&[][..], &[][..]), |(first, rest)| (first, rest));
            changes.common =
                first.iter().filter(|change| rest.iter().all(|all| all.contains(change))).cloned().collect();
        }
        for ((name, old, new), mut settings) in both.into_iter().zip(settings) {
            let any = !settings.is_empty();
            settings.retain(|change| !changes.common.contains(change));
            let figures = figures(old, new);
            let (before, now) = (old.result.as_ref(), new.result.as_ref());
            let key = |result: Option<&LockedResult>| result.map(|result| result.key);
            let not_run = any && key(now).is_some() && key(now) == key(before);
            let other =
                before.and_then(|r| r.result) != now.and_then(|r| r.result) && before.is_some() && now.is_some();
            if !settings.is_empty() || !figures.is_empty() || not_run {
                changes.changed.push(MemberChanges { member: name.clone(), settings, figures, not_run });
            } else if other && !any {
                self.other_contents.push(name.clone());
            } else if !any {
                self.same += 1;
            }
        }
        changes
    }
}

fn differing(old: &Member, new: &Member) -> Vec<Change> {
    let mut changes = Vec::new();
    let paths: BTreeSet<&String> = old.settings.keys().chain(new.settings.keys()).collect();
    for path in paths {
        let (before, now) = (old.settings.get(path), new.settings.get(path));
        if before != now {
            changes.push(Change { what: path.clone(), file: false, old: before.cloned(), new: now.cloned() });
        }
    }
    let paths: BTreeSet<&String> = old.files.keys().chain(new.files.keys()).collect();
    for path in paths {
        let (before, now) = (old.files.get(path), new.files.get(path));
        if before != now {
            let hex = |digest: Option<&Digest>| digest.map(Digest::hex);
            changes.push(Change { what: path.clone(), file: true, old: hex(before), new: hex(now) });
        }
    }
    changes.extend(contents(old, new));
    changes
}

/// Contents that were downloaded and differ.
fn contents(old: &Member, new: &Member) -> Option<Change> {
    let ((_, before), (source, now)) = (old.pin.as_ref()?, new.pin.as_ref()?);
    (before != now).then(|| Change { what: source.clone(), file: true, old: Some(before.hex()), new: Some(now.hex()) })
}

fn figures(old: &Member, new: &Member) -> Vec<Figure> {
    let of = |member: &Member| member.result.as_ref().map(|result| result.headline.clone()).unwrap_or_default();
    let (before, now) = (of(old), of(new));
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let figures = names.into_iter().map(|name| Figure {
        name: name.clone(),
        old: before.get(name).copied(),
        new: now.get(name).copied(),
    });
    figures.filter(|figure| figure.old != figure.new).collect()
}

#[cfg(test)]
mod tests {
    use spec::{pipeline::Pipeline, text::Source};

    use super::*;
    use crate::lockfile::Pin;

    fn version(text: &str, lock: &LockFile) -> Version {
        let graph = Graph::expand(&Pipeline::read(Source::new("p.yaml", text), None, &[]).unwrap()).unwrap();
        Version::new(Some(&graph), lock, |_| BTreeMap::new()).unwrap()
    }

    fn lock(entries: &[(&str, &str, &str, f64)]) -> LockFile {
        let mut lock = LockFile::default();
        for (name, key, result, figure) in entries {
            let result = LockedResult {
                key: Digest::of(key.as_bytes()),
                result: Some(Digest::of(result.as_bytes())),
                headline: BTreeMap::from([("exact".to_owned(), *figure)]),
            };
            lock.results.insert((*name).to_owned(), result);
        }
        lock
    }

    const TEXT: &str = "stages:\n  one:\n    kind: command\n    matrix: {x: [a, b]}\n    run: [echo, '${matrix.x}', \
                        same, '${out.o}']\n    out: {o: f}\n  two: {kind: command, run: [touch, '${out.o}'], out: {o: f}}\n";

    #[test]
    fn what_differs_in_all_members_is_told_once_and_the_rest_for_each() {
        let old = lock(&[("one[x=a]", "1", "r", 1.0), ("one[x=b]", "2", "r", 2.0), ("two", "3", "r", 3.0)]);
        let new = lock(&[("one[x=a]", "4", "s", 1.5), ("one[x=b]", "5", "s", 2.0), ("two", "3", "t", 3.0)]);
        let comparison = Comparison::of(&version(TEXT, &old), &version(&TEXT.replace("same", "new"), &new));
        assert_eq!(comparison.stages.len(), 1);
        let one = &comparison.stages[0];
        let change = |old: &str, new: &str| (Some(format!("\"{old}\"")), Some(format!("\"{new}\"")));
        assert_eq!((one.common[0].old.clone(), one.common[0].new.clone()), change("same", "new"));
        assert_eq!((one.common.len(), one.members, one.changed.len()), (1, 2, 1));
        let member = &one.changed[0];
        assert_eq!((member.member.as_str(), member.settings.len(), member.not_run), ("one[x=a]", 0, false));
        assert_eq!(member.figures, [Figure { name: "exact".into(), old: Some(1.0), new: Some(1.5) }]);
        assert_eq!(member.figures[0].difference(), Some(0.5));
        assert_eq!(comparison.other_contents, ["two"]);
        assert_eq!(comparison.same, 0);
        // A lock of before the change: it was not run since.
        let comparison = Comparison::of(&version(TEXT, &old), &version(&TEXT.replace("same", "new"), &old));
        assert!(comparison.stages[0].changed.iter().all(|member| member.not_run));
        assert_eq!(comparison.same, 1);
        assert!(Comparison::of(&version(TEXT, &old), &version(TEXT, &old)).is_empty());
    }

    #[test]
    fn members_of_one_side_and_downloads_that_differ() {
        let pin =
            |contents: &str| Pin { source: "data".to_owned(), revision: None, digest: Digest::of(contents.as_bytes()) };
        let text = "stages:\n  raw: {kind: download, from: {path: data}}\n";
        let (mut old, mut new) = (LockFile::default(), LockFile::default());
        old.pins.insert("raw".into(), pin("1"));
        new.pins.insert("raw".into(), pin("2"));
        let comparison = Comparison::of(&version(text, &old), &version(text, &new));
        let changed = &comparison.stages[0].changed[0];
        assert_eq!((changed.settings[0].what.as_str(), changed.settings[0].file), ("data", true));
        assert!(Comparison::of(&version(text, &old), &version(text, &LockFile::default())).is_empty());

        let longer = TEXT.replace("[a, b]", "[b, c]");
        let comparison = Comparison::of(&version(TEXT, &old), &version(&longer, &old));
        let one = &comparison.stages[0];
        assert_eq!((&one.only_old[..], &one.only_new[..]), (&["one[x=a]".into()][..], &["one[x=c]".into()][..]));
        assert_eq!(comparison.same, 2);
    }

    #[test]
    fn a_setting_that_a_choice_decides_is_shown_with_its_alternatives() {
        let text = "stages:\n  tried:\n    kind: command\n    matrix: {x: [a, b]}\n    run: [echo, '${matrix.x}', '${out.metrics}']\n    \
                    out: {metrics: metrics.json}\n  winner: {kind: select, from: tried, best: {metric: exact, mode: max}}\n  \
                    last:\n    kind: command\n    run: [echo, '${winner.x}', old, '${out.o}']\n    out: {o: f}\n";
        let empty = LockFile::default();
        let changed = text.replace("'${winner.x}', old", "'${winner.x}', new");
        let comparison = Comparison::of(&version(text, &empty), &version(&changed, &empty));
        let settings = &comparison.stages[0].changed[0].settings;
        assert_eq!(settings.len(), 1, "{settings:?}");
        assert_eq!(settings[0].what, "run.2");
        let fixed = text.replace("'${winner.x}', old", "a, old");
        let comparison = Comparison::of(&version(text, &empty), &version(&fixed, &empty));
        let settings = &comparison.stages[0].changed[0].settings;
        assert_eq!(settings[0].old.as_deref(), Some("\"a\" or \"b\""));
    }
}
