//! `include`: stages and variables that a pipeline file takes from other files. Knows how files are joined and what they
//! may be called; reads none itself, and does not know where the project is.

use std::{collections::HashMap, sync::Arc};

use serde_yaml::Value;

use crate::{
    diagnostic::Diagnostic,
    text::{Document, Side, Source, YamlPath, kind_of},
};

/// Gives the text of a file, by its path as messages show it: beside the pipeline file as that was named.
///
/// It refuses what is no file of the project.
pub type Load<'l> = dyn Fn(&str) -> Result<String, Unreadable> + 'l;

/// Why a file cannot be included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// Files may include files so many levels deep.
const DEEPEST: usize = 32;
/// The maps that are taken from a file.
const TAKEN: [&str; 2] = ["vars", "stages"];

/// Joins to a document what it includes.
///
/// # Errors
/// What `include` may not say, files that cannot be read or include each other, names that stand twice, and what `check`
/// finds in an included file.
pub fn join(
    document: &mut Document,
    load: &Load<'_>,
    check: &dyn Fn(&Document) -> Vec<Diagnostic>,
) -> Result<(), Vec<Diagnostic>> {
    let open = vec![normal(&document.source.name)];
    Includer { load, check, open, joined: HashMap::new() }.join(document)
}

struct Includer<'l> {
    load: &'l Load<'l>,
    check: &'l dyn Fn(&Document) -> Vec<Diagnostic>,
    /// The files that are being joined, each included by the one before it.
    open: Vec<String>,
    /// Files with all that they include.
    joined: HashMap<String, Arc<Document>>,
}

impl Includer<'_> {
    fn join(&mut self, document: &mut Document) -> Result<(), Vec<Diagnostic>> {
        let mut faults = Vec::new();
        let mut parts: Vec<(YamlPath, Arc<Document>)> = Vec::new();
        for (path, at) in listed(document).map_err(|fault| vec![fault])? {
            match self.part(document, &path, &at) {
                Ok(part) => parts.push((at, part)),
                Err(mut more) => faults.append(&mut more),
            }
        }
        if faults.is_empty() {
            for key in TAKEN {
                take(document, key, &parts, &mut faults);
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// One file that a document includes at a path, with all that it includes itself.
    fn part(&mut self, document: &Document, path: &str, at: &YamlPath) -> Result<Arc<Document>, Vec<Diagnostic>> {
        let fault = |message: String, hint: String| vec![document.fault(at, Side::Value, message, hint)];
        if path.starts_with('/') || path.contains("://") || path.contains('\\') {
            let hint = "write a path relative to this file, such as `common.yaml` or `../common/data.yaml`";
            return Err(fault(format!("`{path}` is no relative path"), hint.into()));
        }
        if path.contains("${") {
            return Err(fault("`${…}` is not replaced in `include`".into(), "write the path itself".into()));
        }
        let name = match document.source.name.rsplit_once('/') {
            Some((folder, _)) => normal(&format!("{folder}/{path}")),
            None => normal(path),
        };
        if let Some(first) = self.open.iter().position(|open| *open == name) {
            let ring = self.open[first..].join(" → ");
            let message = match self.open.len() - first {
                1 => format!("`{path}` is this file itself"),
                _ => format!("files include each other in a ring: {ring} → {name}"),
            };
            return Err(fault(message, "take one `include` out; what both need can stand in a file of its own".into()));
        }
        if self.open.len() > DEEPEST {
            return Err(fault(format!("more than {DEEPEST} files, each included by the next"), "nest less".into()));
        }
        if let Some(known) = self.joined.get(&name) {
            return Ok(known.clone());
        }
        let text = (self.load)(&name).map_err(|Unreadable { message, hint }| fault(message, hint))?;
        let mut part = Document::read(Source::new(name.clone(), text)).map_err(|fault| vec![fault])?;
        let faults = (self.check)(&part);
        if !faults.is_empty() {
            return Err(faults);
        }
        self.open.push(name.clone());
        let outcome = self.join(&mut part);
        self.open.pop();
        outcome?;
        let part = Arc::new(part);
        self.joined.insert(name, part.clone());
        Ok(part)
    }
}

/// The paths that a document includes, with where each is written.
fn listed(document: &Document) -> Result<Vec<(String, YamlPath)>, Diagnostic> {
    const FORM: &str = "write `include: common.yaml` or `include: [data.yaml, models.yaml]`";
    let at = YamlPath::keys(["include"]);
    let entries: Vec<(&Value, YamlPath)> = match document.get(&at) {
        None => Vec::new(),
        Some(Value::Sequence(list)) if !list.is_empty() => {
            list.iter().enumerate().map(|(index, entry)| (entry, at.index(index))).collect()
        }
        Some(Value::Sequence(_)) => return Err(document.fault(&at, Side::Value, "no file is included", FORM)),
        Some(other) => vec![(other, at)],
    };
    let mut paths: Vec<(String, YamlPath)> = Vec::with_capacity(entries.len());
    for (entry, at) in entries {
        let path = match entry {
            Value::String(path) if !path.is_empty() => path.clone(),
            other => {
                let message = format!("a {} where the path of a file belongs", kind_of(other));
                return Err(document.fault(&at, Side::Value, message, FORM));
            }
        };
        if paths.iter().any(|(known, _)| normal(known) == normal(&path)) {
            return Err(document.fault(&at, Side::Value, format!("`{path}` is included twice"), "keep one of them"));
        }
        paths.push((path, at));
    }
    Ok(paths)
}

/// Takes the entries of one map from the included files; what the document says itself stays.
fn take(document: &mut Document, key: &str, parts: &[(YamlPath, Arc<Document>)], faults: &mut Vec<Diagnostic>) {
    let mut taken: Vec<(String, Value, Arc<Source>, YamlPath)> = Vec::new();
    let map_path = YamlPath::keys([key]);
    for (at, part) in parts {
        let entries = part.get(&map_path).and_then(Value::as_mapping).into_iter().flatten();
        for (name, value) in entries.filter_map(|(name, value)| Some((name.as_str()?, value))) {
            let path = map_path.key(name);
            let (source, written) = part.written(&path);
            let there = position(part, &path);
            if document.get(&path).is_some() {
                if key == "stages" {
                    faults.push(document.fault(
                        &path,
                        Side::Key,
                        format!("the stage `{name}` stands here and at {there}"),
                        "rename one of them, or take it out; to change a stage of an included file, use a profile",
                    ));
                }
                continue;
            }
            let known = taken.iter().find(|(taken, ..)| taken == name);
            match known {
                None => taken.push((name.to_owned(), value.clone(), source, written)),
                // The same entry of the same file, by two ways.
                Some((_, _, other, path)) if Arc::ptr_eq(other, &source) && *path == written => {}
                Some((_, _, other, path)) => {
                    let first =
                        other.locate(path, Side::Key).map_or_else(|| other.name.clone(), |place| place.position());
                    let (what, hint) = match key {
                        "vars" => ("variable", format!("say which: write `vars: {{{name}: …}}` in this file")),
                        _ => ("stage", "rename one of them".to_owned()),
                    };
                    let message = format!("the {what} `{name}` stands at {first} and at {there}");
                    faults.push(document.fault(at, Side::Value, message, hint));
                }
            }
        }
    }
    if taken.is_empty() {
        return;
    }
    let own = document.get(&map_path).and_then(Value::as_mapping).cloned().unwrap_or_default();
    let mut map = serde_yaml::Mapping::with_capacity(own.len() + taken.len());
    for (name, value, source, written) in taken {
        document.origins.note(map_path.key(&name), source, written);
        map.insert(name.into(), value);
    }
    map.extend(own);
    if let Value::Mapping(top) = &mut document.value {
        top.insert(key.into(), map.into());
    }
}

/// `file:line:column` of a key.
fn position(document: &Document, path: &YamlPath) -> String {
    document.place(path, Side::Key).map_or_else(|| document.source.name.clone(), |place| place.position())
}

/// A path without `.`, and without `..` behind a folder: one text for each file, as far as that can be told from texts.
fn normal(path: &str) -> String {
    let root = if path.starts_with('/') { "/" } else { "" };
    let mut steps: Vec<&str> = Vec::new();
    for step in path.split('/').filter(|step| !step.is_empty() && *step != ".") {
        match (step, steps.last()) {
            ("..", Some(last)) if *last != ".." => {
                steps.pop();
            }
            ("..", None) if !root.is_empty() => {}
            _ => steps.push(step),
        }
    }
    format!("{root}{}", steps.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Pipeline;
    use crate::yields::Yields;

    /// Reads `main.yaml` of a set of files; the mistakes as text.
    fn read(files: &[(&str, &str)], sets: &[&str]) -> Result<Pipeline, Vec<String>> {
        let load = |name: &str| match files.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => Ok((*text).to_owned()),
            None => Err(Unreadable { message: format!("no {name}"), hint: "write it".into() }),
        };
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let main = load("p/main.yaml").unwrap();
        Pipeline::read_including(Source::new("p/main.yaml", main), &load, None, &sets)
            .map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    const STAGE: &str = "{kind: command, run: [sh, -c, \"${vars.a} ${vars.b} > $0\", \"${out.x}\"], out: {x: x}}";

    fn command(pipeline: &Pipeline, stage: &str) -> String {
        let stage = pipeline.stages.iter().find(|text| text.name == stage).unwrap();
        pipeline.variants(stage, &Yields::default()).unwrap()[0].stage.settings().unwrap()["run"][2].to_string()
    }

    #[test]
    fn the_including_file_wins_and_overrides_reach_everything() {
        let files = [
            ("p/main.yaml", "include: [../common/b.yaml, c.yaml]\nvars: {a: main}\n"),
            ("common/b.yaml", &*format!("name: other\nvars: {{a: b, b: from-b}}\nstages: {{one: {STAGE}}}\n")),
            ("p/c.yaml", &*format!("include: d.yaml\nstages:\n  two: {STAGE}\n")),
            ("p/d.yaml", "vars: {a: d}\n"),
        ];
        let pipeline = read(&files, &[]).unwrap();
        assert_eq!(pipeline.name, "main");
        assert_eq!(pipeline.stages.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(command(&pipeline, "one"), "\"main from-b > $0\"");
        let pipeline = read(&files, &["vars.b=set", "stages.two.run=[x, y, z]"]).unwrap();
        assert_eq!(command(&pipeline, "one"), "\"main set > $0\"");
        assert_eq!(command(&pipeline, "two"), "\"z\"");
    }

    #[test]
    fn one_file_by_two_ways_is_one_file() {
        let files = [
            ("p/main.yaml", "include: [b.yaml, ./c.yaml]\n"),
            ("p/b.yaml", "include: d.yaml\n"),
            ("p/c.yaml", "include: ../p/d.yaml\n"),
            ("p/d.yaml", &*format!("vars: {{a: 1, b: 2}}\nstages: {{one: {STAGE}}}\n")),
        ];
        assert_eq!(command(&read(&files, &[]).unwrap(), "one"), "\"1 2 > $0\"");
    }

    #[test]
    fn what_two_included_files_say_differently_is_a_mistake() {
        let files = [
            ("p/main.yaml", "include: [b.yaml, c.yaml]\n"),
            ("p/b.yaml", "vars: {a: 1}\n"),
            ("p/c.yaml", "vars: {a: 2}\n"),
        ];
        assert_eq!(
            read(&files, &[]).unwrap_err(),
            [
                "p/main.yaml:1:19: the variable `a` stands at p/b.yaml:1:8 and at p/c.yaml:1:8 (say which: write `vars: {a: …}` \
              in this file)"
            ]
        );
    }

    #[test]
    fn rings_are_named_and_depth_is_bounded() {
        let files = [("p/main.yaml", "include: b.yaml\n"), ("p/b.yaml", "include: main.yaml\n")];
        let faults = read(&files, &[]).unwrap_err();
        assert!(
            faults[0]
                .starts_with("p/b.yaml:1:10: files include each other in a ring: p/main.yaml → p/b.yaml → p/main.yaml"),
            "{faults:?}"
        );
        let load = |name: &str| {
            let number: usize = name.trim_start_matches('m').trim_end_matches(".yaml").parse().unwrap_or(0);
            Ok(format!("include: m{}.yaml\n", number + 1))
        };
        let faults =
            Pipeline::read_including(Source::new("main.yaml", load("m0").unwrap()), &load, None, &[]).unwrap_err();
        assert!(faults[0].message.contains("more than 32 files"), "{faults:?}");
    }

    #[test]
    fn paths_are_made_normal() {
        assert_eq!(normal("p/./a//b.yaml"), "p/a/b.yaml");
        assert_eq!(normal("p/../../a.yaml"), "../a.yaml");
        assert_eq!(normal("../../a.yaml"), "../../a.yaml");
        assert_eq!(normal("/p/../../a.yaml"), "/a.yaml");
    }
}
