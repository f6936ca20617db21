//! The pipeline language as the `engine` program reads it: every file of `tests/pipelines/invalid` is refused with the
//! place, text and hint that its last lines name, and every file of `tests/pipelines/valid` has the members that its
//! last lines name. Knows no run.
//!
//! What is expected stands in each file, as comments at its end. Of a file that is refused, one mistake:
//!
//! ```text
//! # 7:12 rnak                       line, column and the text that is shown
//! # error: unknown key `rnak`       a part of the message
//! # hint: did you mean `rank`?      a part of what to do
//! ```
//!
//! A mistake in a file that is included has that file before its line: `# included/stages.yaml:7:12 rnak`.
//!
//! Of a valid file, its members in order, each with settings that are looked at, and with `# profile: NAME` those under
//! a profile:
//!
//! ```text
//! # member: tuned[seed=0]
//! # value: optimizer.adamw.learning_rate: 1e-4
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use plan::graph::{Graph, Node};
use serde_json::Value;
use spec::{pipeline::Pipeline, reference::Reference, stage::Stage, text::Source};

/// A mistake as `engine check --json` prints it, or as a file expects it.
#[derive(Debug, PartialEq)]
struct Mistake {
    file: String,
    line: u64,
    column: u64,
    text: String,
    message: String,
    hint: String,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

/// The pipeline files of a folder, sorted.
fn files(name: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.to_string_lossy();
            name.ends_with(".yaml") && !name.ends_with(".lock.yaml")
        })
        .collect();
    files.sort();
    files
}

fn check(file: &Path, arguments: &[&str]) -> Output {
    let program = Command::new(env!("CARGO_BIN_EXE_engine"))
        .arg("check")
        .args(arguments)
        .arg(file.file_name().unwrap())
        .current_dir(file.parent().unwrap())
        .env("NO_COLOR", "1")
        .output();
    program.unwrap()
}

fn word(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// What `engine check --json` says of a file.
fn mistakes(file: &Path) -> Vec<Mistake> {
    let output = check(file, &["--json"]);
    assert_eq!(output.status.code(), Some(2), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}: with `--json`, mistakes are for programs", file.display());
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| {
            let mistake: Value = serde_json::from_str(line).unwrap();
            Mistake {
                file: word(&mistake, "file"),
                line: mistake["line"].as_u64().unwrap_or_default(),
                column: mistake["column"].as_u64().unwrap_or_default(),
                text: word(&mistake, "text"),
                message: word(&mistake, "message"),
                hint: word(&mistake, "hint"),
            }
        })
        .collect()
}

/// What a file expects of its refusal.
fn expected(file: &Path) -> Mistake {
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    let [hint, message, place] = lines.as_slice() else { panic!("{}: no expectation", file.display()) };
    let read = |line: &str, mark: &str| match line.strip_prefix(mark) {
        Some(rest) => rest.to_owned(),
        None => panic!("{}: `{line}` does not begin with `{mark}`", file.display()),
    };
    let place = read(place, "# ");
    let (position, shown) = place.split_once(' ').unwrap();
    let (before, column) = position.rsplit_once(':').unwrap();
    let own = file.file_name().unwrap().to_str().unwrap();
    let (name, line) = before.rsplit_once(':').unwrap_or((own, before));
    Mistake {
        file: name.to_owned(),
        line: line.parse().unwrap(),
        column: column.parse().unwrap(),
        text: shown.to_owned(),
        message: read(message, "# error: "),
        hint: read(hint, "# hint: "),
    }
}

#[test]
fn invalid_files_are_refused_where_and_why_they_say() {
    let files = files("tests/pipelines/invalid");
    assert!(files.len() >= 45, "{} files", files.len());
    let mut wrong = Vec::new();
    for file in &files {
        let expected = expected(file);
        let found = mistakes(file);
        let fits = match found.as_slice() {
            [one] => {
                (&one.file, one.line, one.column, &one.text)
                    == (&expected.file, expected.line, expected.column, &expected.text)
                    && one.message.contains(&expected.message)
                    && one.hint.contains(&expected.hint)
            }
            _ => false,
        };
        if !fits {
            wrong.push(format!("{}\n  expected {expected:?}\n  found {found:?}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn people_see_the_place_the_message_and_the_hint() {
    let words = |text: &str| text.split_whitespace().filter(|w| *w != "│").collect::<Vec<_>>().join(" ");
    for file in files("tests/pipelines/invalid") {
        let output = check(&file, &[]);
        assert_eq!(output.status.code(), Some(2), "{}", file.display());
        assert!(output.stdout.is_empty(), "{}", file.display());
        let shown = String::from_utf8(output.stderr).unwrap();
        let expected = expected(&file);
        let place = format!("{}:{}:{}]", expected.file, expected.line, expected.column);
        assert!(shown.contains(&place), "{place} is not in\n{shown}");
        for part in [&expected.message, &expected.hint] {
            assert!(words(&shown).contains(&words(part)), "`{part}` is not in\n{shown}");
        }
        assert!(!shown.contains(" mistakes"), "more than one mistake:\n{shown}");
    }
}

fn read(file: &Path, profile: Option<&str>) -> (Pipeline, Graph) {
    let source = Source::new(file.display().to_string(), std::fs::read_to_string(file).unwrap());
    let load = |name: &str| Ok(std::fs::read_to_string(name).unwrap());
    let pipeline = Pipeline::read_including(source, &load, profile, &[]).unwrap_or_else(|faults| panic!("{faults:?}"));
    let graph = Graph::expand(&pipeline).unwrap_or_else(|faults| panic!("{faults:?}"));
    (pipeline, graph)
}

#[test]
fn valid_files_have_the_members_they_name() {
    let files = files("tests/pipelines/valid");
    assert!(files.len() >= 10, "{} files", files.len());
    for file in &files {
        let output = check(file, &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{}: {said}", file.display());
        let text = std::fs::read_to_string(file).unwrap();
        let mut expected: Vec<(Option<&str>, Vec<Member>)> = vec![(None, Vec::new())];
        for line in text.lines() {
            if let Some(profile) = line.strip_prefix("# profile: ") {
                expected.push((Some(profile), Vec::new()));
            } else if let Some(member) = line.strip_prefix("# member: ") {
                expected.last_mut().unwrap().1.push((member, Vec::new()));
            } else if let Some(value) = line.strip_prefix("# value: ") {
                expected.last_mut().unwrap().1.last_mut().unwrap().1.push(value.split_once(": ").unwrap());
            }
        }
        for (profile, members) in expected {
            let (_, graph) = read(file, profile);
            let mut nodes: Vec<&Node> =
                graph.stages.iter().flat_map(|stage| &stage.members).map(|id| graph.node(*id)).collect();
            // Of members that differ only in what is chosen, one is done.
            let mut seen = std::collections::BTreeSet::new();
            nodes.retain(|node| seen.insert(node.name()));
            let names: Vec<String> = nodes.iter().map(|node| node.name()).collect();
            let wanted: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, wanted, "{} with profile {profile:?}", file.display());
            for (node, (name, values)) in nodes.iter().zip(members) {
                let reference = Reference::parse(name).unwrap();
                let labels: BTreeMap<String, String> = node.labels().into_iter().collect();
                assert_eq!(
                    (reference.stage, reference.selector),
                    (node.stage.clone(), labels),
                    "{name} is not read back"
                );
                for (path, value) in values {
                    let expected: Value = serde_yaml::from_str(value).unwrap();
                    let at = format!("{} with profile {profile:?}: {name}: {path}", file.display());
                    assert_eq!(setting(node, path), expected, "{at}");
                }
            }
        }
    }
}

/// A member's name, and settings by path with their values as YAML.
type Member<'t> = (&'t str, Vec<(&'t str, &'t str)>);

/// A setting of a member by its path, defaults filled in.
fn setting(node: &Node, path: &str) -> Value {
    let mut settings = node.settings.settings().unwrap();
    let execution = serde_json::to_value(&node.execution).unwrap();
    settings.as_object_mut().unwrap().extend(execution.as_object().unwrap().clone());
    path.split('.').fold(settings, |value, step| value[step].clone())
}

#[test]
fn settings_survive_being_written_and_read() {
    let mut stages = 0;
    for file in files("tests/pipelines/valid").into_iter().chain(files("pipelines")) {
        let (pipeline, graph) = read(&file, None);
        let profiles: Vec<&str> = pipeline.profiles().collect();
        let graphs = std::iter::once(graph).chain(profiles.iter().map(|profile| read(&file, Some(profile)).1));
        for node in graphs.flat_map(|graph| graph.nodes) {
            let text = serde_json::to_string(&node.settings.settings().unwrap()).unwrap();
            let read = Stage::deserialize(node.settings.kind(), &mut serde_json::Deserializer::from_str(&text));
            let read = read.unwrap().unwrap_or_else(|error| panic!("{}: {error}: {text}", node.name()));
            assert_eq!(read, *node.settings, "{}", node.name());
            stages += 1;
        }
    }
    assert!(stages > 20);
}

#[test]
fn what_has_no_place_is_said_without_one() {
    let file = folder("tests/pipelines/valid").join("no-such-file.yaml");
    let output = check(&file, &["--json"]);
    assert_eq!(output.status.code(), Some(2));
    let mistake: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&mistake["line"], &mistake["text"]), (&Value::Null, &Value::Null));
    assert!(word(&mistake, "message").starts_with("cannot read no-such-file.yaml"));
}

#[test]
fn arguments_are_shown_where_they_are_wrong() {
    let file = folder("tests/pipelines/valid").join("profile.yaml");
    for (arguments, name, text, message, hint) in [
        (["--set", "vars.rwos=1"], "--set", "vars.rwos", "there is no `vars.rwos`", "did you mean `rows`?"),
        (["--set", "vars.rows"], "--set", "vars.rows", "`vars.rows` sets nothing", "write `--set vars.rows=256`"),
        (["--set", "vars.rows=few"], "--set vars.rows", "few", "the text \"few\" where", "a number of rows above zero"),
        (["--set", "vars.rows=!x 1"], "--set vars.rows", "!x 1", "the tag `!x`", "without a tag"),
        (["--profile", "shrot"], "profile.yaml", "", "no profile is named `shrot`", "did you mean `short`?"),
    ] {
        let output = check(&file, &["--json", arguments[0], arguments[1]]);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let mistake: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((word(&mistake, "file"), word(&mistake, "text")), (name.to_owned(), text.to_owned()));
        assert!(word(&mistake, "message").contains(message), "{mistake}");
        assert!(word(&mistake, "hint").contains(hint), "{mistake}");
    }
}

#[test]
fn no_cut_of_a_file_makes_the_program_panic() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(self::folder("tests/pipelines/valid").join("study.yaml")).unwrap();
    let mut files = Vec::new();
    for end in (0..text.len()).step_by(29).filter(|end| text.is_char_boundary(*end)) {
        let file = folder.path().join(format!("cut{end}.yaml"));
        std::fs::write(&file, &text[..end]).unwrap();
        files.push(file);
    }
    let output = Command::new(env!("CARGO_BIN_EXE_engine")).arg("check").args(&files).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn an_unclosed_quote_is_shown_where_it_opens() {
    // Not a file of the folder: the quote in its expectation would close it.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("quote.yaml");
    std::fs::write(&file, "stages:\n  raw:\n    kind: download\n    from: {path: \"rows}\n  b:\n    kind: x\n")
        .unwrap();
    let found = mistakes(&file);
    assert_eq!((found[0].line, found[0].column, found[0].text.as_str()), (4, 18, "\""));
    assert_eq!(found[0].message, "this quote is not closed");
}
