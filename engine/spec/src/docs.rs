//! The text of `docs/pipeline.md`: every key of every kind with type, default, meaning and example, from the schemas of
//! the structs that read them, so that it cannot be out of date. Knows Markdown; knows no particular kind.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write,
};

use serde_json::{Map, Value};

use crate::{execution::Execution, stage::Stage, track::Tracker};

/// The introduction: what is true of the whole file.
const LANGUAGE: &str = include_str!("docs/language.md");
/// A pipeline that uses every key once.
const EXAMPLE: &str = include_str!("docs/example.yaml");

/// What the settings that no kind has to itself are remembered under.
const EXECUTION: &str = "Execution";
const HOW_IT_RUNS: &str = "\
These keys say how a stage runs, never what it makes: to change them reruns nothing. Variables may stand in them, and
`${matrix.AXIS}` where members need different things.
";

/// The key of a file that names trackers.
const TRACK: &str = "track";
const WHERE_RUNS_ARE_SHOWN: &str = "\
`track` names trackers to which a run shows what it does: one, or a list. Each member that trains, evaluates or reports is
a run there, with its settings, its figures by step while it goes on, and the files to look at when it is done. It is off
unless the file says so, or the environment: `ENGINE_TRACK=tensorboard,mlflow` adds trackers with nothing set, and
`ENGINE_TRACK=off` turns off what the file says. Trackers decide nothing that is made.

A tracker that does not answer fails and slows nothing: it is said once, and what it missed is sent by the next
`engine run`, as is what was made before `track` stood in the file. Passwords and keys are taken from the environment alone,
and go to no server that it does not name, too: by `MLFLOW_TRACKING_URI`, `CLEARML_API_HOST`, `CLEARML_FILES_HOST`.

```yaml
track: [tensorboard, {mlflow: {uri: \"http://127.0.0.1:5000\"}}]
```
";

/// The reference of the pipeline file, as Markdown.
///
/// # Errors
/// When the example it is made with is no YAML.
pub fn reference() -> Result<String, serde_yaml::Error> {
    let mut generator = schemars::SchemaGenerator::default();
    let kinds = Stage::schemas(&mut generator);
    let execution = <Execution as schemars::JsonSchema>::json_schema(&mut generator);
    let tracker = generator.subschema_for::<Tracker>().to_value();
    let definitions = generator.take_definitions(true);
    let example: Value = serde_yaml::from_str(EXAMPLE)?;
    let stages = example.get("stages").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut reference =
        Reference { definitions: &definitions, examples: Examples::new(), sections: Vec::new(), text: LANGUAGE.into() };
    for stage in stages.values() {
        let kind = stage.get("kind").and_then(Value::as_str).unwrap_or_default();
        let Some((_, schema)) = kinds.iter().find(|(name, _)| *name == kind) else { continue };
        reference.gather(kind, schema.as_value(), stage);
        // An axis' values are examples of what they are used for.
        for (key, value) in stage.as_object().into_iter().flatten() {
            for (name, axis) in stage.get("matrix").and_then(Value::as_object).into_iter().flatten() {
                let property = schema.as_value().pointer(&format!("/properties/{key}"));
                if let (Some(property), true) = (property, value == &Value::from(format!("${{matrix.{name}}}"))) {
                    let values: Vec<&Value> = match axis {
                        Value::Array(list) => list.iter().collect(),
                        Value::Object(map) => map.values().collect(),
                        _ => Vec::new(),
                    };
                    for value in values {
                        reference.examples.entry((kind.to_owned(), key.clone())).or_insert_with(|| value.clone());
                        reference.gather(kind, property, value);
                    }
                }
            }
        }
        reference.gather(EXECUTION, execution.as_value(), stage);
    }
    let _ = write!(reference.text, "\n### How a stage runs\n\n{HOW_IT_RUNS}\n");
    if let Some(property) = execution.get("properties").and_then(|properties| properties.get("resources")) {
        let depths = reference.depths(depth("resources"), property);
        reference.find_sections("resources", property, &depths);
    }
    reference.keys(EXECUTION, execution.as_value());
    reference.write_sections("resources");
    let depths = reference.depths(depth(TRACK), &tracker);
    for entry in example[TRACK].as_array().into_iter().flatten() {
        reference.gather(TRACK, &tracker, entry);
    }
    reference.find_sections(TRACK, &tracker, &depths);
    let _ = write!(reference.text, "\n## Trackers\n\n{WHERE_RUNS_ARE_SHOWN}");
    reference.write_sections(TRACK);
    reference.text.push_str("\n## The kinds\n\n| kind | what it does |\n|---|---|\n");
    for (kind, schema) in &kinds {
        let summary = first_paragraph(description(schema.as_value()));
        let _ = writeln!(reference.text, "| [`{kind}`](#{kind}) | {} |", cell(&summary));
    }
    let mut least: BTreeMap<&str, usize> = BTreeMap::new();
    for (kind, schema) in &kinds {
        for (name, found) in reference.depths(depth(kind), schema.as_value()) {
            least.entry(name).and_modify(|least| *least = found.min(*least)).or_insert(found);
        }
    }
    for (kind, schema) in &kinds {
        reference.find_sections(kind, schema.as_value(), &least);
    }
    for (kind, schema) in &kinds {
        let schema = schema.as_value();
        let _ = write!(reference.text, "\n## {kind}\n\n{}\n", joined(description(schema)));
        let shown: Vec<String> =
            stages.iter().filter(|(_, stage)| stage["kind"] == *kind).map(|(name, _)| stage_text(name)).collect();
        let _ = write!(reference.text, "\n```yaml\n{}\n```\n\n", shown.join("\n\n"));
        reference.keys(kind, schema);
        reference.write_sections(kind);
    }
    Ok(reference.text)
}

/// Values by (what they are a setting of, key).
type Examples = BTreeMap<(String, String), Value>;

/// A type that has a section of its own.
struct Section {
    /// The kind it is described under.
    kind: String,
    /// The type's name in the schema.
    definition: String,
    /// Where it stands, such as `train.optimizer`.
    path: String,
}

struct Reference<'a> {
    definitions: &'a Map<String, Value>,
    examples: Examples,
    sections: Vec<Section>,
    text: String,
}

impl<'a> Reference<'a> {
    /// What a schema refers to: the definition's name and the definition.
    fn resolve(&self, schema: &'a Value) -> Option<(&'a str, &'a Value)> {
        let name = schema.get("$ref")?.as_str()?.rsplit('/').next()?;
        Some((name, self.definitions.get(name)?))
    }

    /// Remembers the values of an example for the keys they are values of; the first value of a key stays.
    fn gather(&mut self, owner: &str, schema: &Value, value: &Value) {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()) {
            let definitions = self.definitions;
            if let Some(definition) = definitions.get(name) {
                self.gather(name, definition, value);
            }
            return;
        }
        for (key, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if let Some(inner) = value.get(key) {
                let is_variable = inner.as_str().is_some_and(|text| text.starts_with("${"));
                if !is_variable {
                    self.examples.entry((owner.to_owned(), key.clone())).or_insert_with(|| inner.clone());
                }
                self.gather(owner, property, inner);
            }
        }
        for choice in alternatives(schema) {
            self.gather(owner, choice, value);
        }
        if let (Some(items), Value::Array(list)) = (schema.get("items"), value) {
            list.iter().for_each(|inner| self.gather(owner, items, inner));
        }
        if let (Some(inner @ Value::Object(_)), Value::Object(map)) = (schema.get("additionalProperties"), value) {
            map.values().for_each(|value| self.gather(owner, inner, value));
        }
    }

    /// How many keys lie between a schema and each type that it leads to, at least.
    fn depths(&self, begin: usize, schema: &'a Value) -> BTreeMap<&'a str, usize> {
        let mut found = BTreeMap::new();
        let mut open = VecDeque::from([(begin, schema)]);
        while let Some((depth, schema)) = open.pop_front() {
            if let Some((name, definition)) = self.resolve(schema) {
                if !found.contains_key(name) {
                    found.insert(name, depth);
                    open.push_front((depth, definition));
                }
                continue;
            }
            let same = ["items", "additionalProperties"].into_iter().filter_map(|key| schema.get(key));
            alternatives(schema).into_iter().chain(same).for_each(|inner| open.push_front((depth, inner)));
            let below = schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::values);
            open.extend(below.map(|property| (depth + 1, property)));
        }
        found
    }

    /// Gives each type that a schema leads to a section, at the first path to it that is no longer than `depths` says.
    fn find_sections(&mut self, path: &str, schema: &'a Value, depths: &BTreeMap<&str, usize>) {
        let kind = path.split('.').next().unwrap_or(path).to_owned();
        if let Some((name, definition)) = self.resolve(schema) {
            let is_shorter = depths.get(name).is_some_and(|least| *least < depth(path));
            if is_shorter || self.sections.iter().any(|section| section.definition == name) {
                return;
            }
            if has_section(definition) {
                // A second one at a place is told by its first key.
                let taken = self.sections.iter().any(|section| section.path == path);
                let first = definition.pointer("/required/0").and_then(Value::as_str).filter(|_| taken);
                let path = first.map_or_else(|| path.to_owned(), |key| format!("{path}.{key}"));
                self.sections.push(Section { kind, definition: name.to_owned(), path });
            }
            self.find_sections(path, definition, depths);
            return;
        }
        for (key, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            self.find_sections(&format!("{path}.{key}"), property, depths);
        }
        for choice in alternatives(schema) {
            self.find_sections(path, choice, depths);
        }
        for inner in ["items", "additionalProperties"].into_iter().filter_map(|key| schema.get(key)) {
            self.find_sections(path, inner, depths);
        }
    }

    fn write_sections(&mut self, kind: &str) {
        let own: Vec<(String, String)> = self
            .sections
            .iter()
            .filter(|section| section.kind == kind)
            .map(|section| (section.path.clone(), section.definition.clone()))
            .collect();
        for (path, name) in own {
            let Some(definition) = self.definitions.get(&name) else { continue };
            let _ = write!(self.text, "\n### `{path}`\n\n{}\n\n", joined(description(definition)));
            if definition.get("properties").is_some() {
                self.keys(&name, definition);
                continue;
            }
            if is_words(definition) {
                self.text.push_str("| word | meaning |\n|---|---|\n");
                for (word, schema) in choices(definition) {
                    let _ = writeln!(self.text, "| `{word}` | {} |", cell(&joined(description(schema))));
                }
                continue;
            }
            self.text.push_str("| choice | takes | meaning |\n|---|---|---|\n");
            for (choice, schema) in choices(definition) {
                let settings = schema.pointer(&format!("/properties/{choice}"));
                let takes = match settings {
                    Some(inner) if !is_empty(self.resolve(inner).map_or(inner, |(_, inner)| inner)) => {
                        self.type_of(inner)
                    }
                    _ => "nothing".to_owned(),
                };
                let meaning = cell(&joined(description(schema)));
                let _ = writeln!(self.text, "| `{choice}` | {takes} | {meaning} |");
            }
        }
    }

    /// The table of a map's keys.
    fn keys(&mut self, owner: &str, schema: &'a Value) {
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        self.text.push_str("| key | type | default | meaning | example |\n|---|---|---|---|---|\n");
        for (key, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let default = match property.get("default") {
                _ if required.contains(&key.as_str()) => "*required*".to_owned(),
                Some(Value::Null) | None => "–".to_owned(),
                Some(value) => format!("`{}`", cell(&flow(&short_choice(value)))),
            };
            let example = match self.examples.get(&(owner.to_owned(), key.clone())) {
                Some(value) => format!("`{key}: {}`", cell(&short(value))),
                None => String::new(),
            };
            let (kind, meaning) = (self.type_of(property), cell(&joined(description(property))));
            let _ = writeln!(self.text, "| `{key}` | {kind} | {default} | {meaning} | {example} |");
        }
    }

    /// A type in words, with links to the sections that say more.
    fn type_of(&self, schema: &'a Value) -> String {
        if let Some((name, definition)) = self.resolve(schema) {
            if name == "Reference" {
                return "[stage](#references)".to_owned();
            }
            let Some(section) = self.sections.iter().find(|section| section.definition == name) else {
                return self.type_of(definition);
            };
            let slug: String = section.path.chars().filter(|c| c.is_alphanumeric() || *c == '_' || *c == '-').collect();
            let slug = slug.to_lowercase();
            let names: Vec<String> = choices(definition).into_iter().map(|(name, _)| format!("`{name}`")).collect();
            return match names.is_empty() {
                true => format!("[map](#{slug})"),
                false => format!("[{}](#{slug})", alternatives_in_words(&names)),
            };
        }
        if let Some(constant) = schema.get("const").and_then(Value::as_str) {
            return format!("`{constant}`");
        }
        let options = alternatives(schema);
        if !options.is_empty() {
            let mut texts: Vec<String> = Vec::new();
            for text in options.into_iter().filter(|option| option["type"] != "null").map(|option| self.type_of(option))
            {
                if !texts.contains(&text) {
                    texts.push(text);
                }
            }
            return texts.join(" or ");
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            return words.iter().map(|word| format!("`{}`", flow(word))).collect::<Vec<_>>().join(", ");
        }
        let named: Vec<&str> = match schema.get("type") {
            Some(Value::String(name)) => vec![name.as_str()],
            Some(Value::Array(names)) => {
                names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect()
            }
            _ => Vec::new(),
        };
        let minimum = schema.get("minimum").and_then(Value::as_f64).unwrap_or_default();
        let words = named.into_iter().map(|name| match name {
            "string" => "text".to_owned(),
            "integer" if minimum >= 1.0 => format!("whole number from {minimum} on"),
            "integer" => "whole number".to_owned(),
            "boolean" => "`true` or `false`".to_owned(),
            "array" => match schema.get("items") {
                Some(items) => format!("list of: {}", self.type_of(items)),
                None => "list".to_owned(),
            },
            "object" => match (schema.get("properties").and_then(Value::as_object), schema.get("additionalProperties"))
            {
                (Some(keys), _) => {
                    format!("map of {}", keys.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", "))
                }
                (None, Some(inner @ Value::Object(_))) => format!("map of names to: {}", self.type_of(inner)),
                _ => "map".to_owned(),
            },
            name => name.to_owned(),
        });
        words.collect::<Vec<_>>().join(" or ")
    }
}

/// How many keys a path has behind its first.
fn depth(path: &str) -> usize {
    path.matches('.').count()
}

/// `a`, `a` or `b`, `a`, `b` or `c`.
fn alternatives_in_words(names: &[String]) -> String {
    match names {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => names.concat(),
    }
}

fn alternatives(schema: &Value) -> Vec<&Value> {
    ["oneOf", "anyOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten().collect()
}

/// The choices of a one-of by name: single-key maps, or words.
fn choices(definition: &Value) -> Vec<(&str, &Value)> {
    let mut found: Vec<(&str, &Value)> = Vec::new();
    for option in alternatives(definition) {
        let word = option.get("const").and_then(Value::as_str);
        let key = || match option.get("properties").and_then(Value::as_object) {
            Some(keys) if keys.len() == 1 => keys.keys().next().map(String::as_str),
            _ => None,
        };
        if let Some(name) = word.or_else(key).filter(|name| !found.iter().any(|(known, _)| known == name)) {
            found.push((name, option));
        }
    }
    found
}

/// Whether a definition is a map of settings or a choice, which need a table.
fn has_section(definition: &Value) -> bool {
    let options = alternatives(definition);
    let is_choice = !options.is_empty() && choices(definition).len() == distinct(&options);
    definition.get("properties").is_some() || is_choice
}

/// How many choices options stand for: a bare word and a map of the same name are one.
fn distinct(options: &[&Value]) -> usize {
    let mut names: Vec<String> = options
        .iter()
        .map(|option| match (option.get("const"), option.get("properties").and_then(Value::as_object)) {
            (Some(word), _) => word.as_str().unwrap_or_default().to_owned(),
            (None, Some(keys)) if keys.len() == 1 => keys.keys().next().cloned().unwrap_or_default(),
            _ => option.to_string(),
        })
        .collect();
    names.sort();
    names.dedup();
    names.len()
}

fn is_words(definition: &Value) -> bool {
    alternatives(definition).iter().all(|option| option.get("const").is_some())
}

/// Whether a type has nothing to set.
fn is_empty(definition: &Value) -> bool {
    definition["type"] == "object"
        && definition.get("properties").is_none()
        && !definition.get("additionalProperties").is_some_and(Value::is_object)
}

fn description(schema: &Value) -> &str {
    schema.get("description").and_then(Value::as_str).unwrap_or_default()
}

fn first_paragraph(text: &str) -> String {
    joined(text.split("\n\n").next().unwrap_or_default())
}

/// Paragraphs without the line breaks of the source.
fn joined(text: &str) -> String {
    text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n")
}

/// A text within a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// A choice without settings by its bare name.
fn short_choice(value: &Value) -> Value {
    match value {
        Value::Object(map) if map.len() == 1 => match map.iter().next() {
            Some((name, Value::Object(settings))) if settings.is_empty() => name.as_str().into(),
            _ => value.clone(),
        },
        _ => value.clone(),
    }
}

/// A value as YAML in one line; what is inside a long one is left out.
fn short(value: &Value) -> String {
    let whole = flow(value);
    let elided = |inner: &Value| match inner {
        Value::Object(map) if !map.is_empty() => "{…}".to_owned(),
        other => flow(other),
    };
    match value {
        Value::Object(map) if whole.chars().count() > 100 => {
            let entries: Vec<String> = map.iter().map(|(key, inner)| format!("{key}: {}", elided(inner))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        _ => whole,
    }
}

/// A value as YAML in one line.
fn flow(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let entries: Vec<String> = map.iter().map(|(key, value)| format!("{key}: {}", flow(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::String(text)
            if text.is_empty() || text.contains([' ', ',', '{', '}', '[', ']', '#', '"', '$', '<', '*']) =>
        {
            format!("{value}")
        }
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(small) if small != 0.0 && small.abs() < 1e-3 => format!("{small:e}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// A stage of the example as it is written there, without its indentation.
fn stage_text(name: &str) -> String {
    let start = format!("  {name}:");
    let mut lines = EXAMPLE.lines().skip_while(|line| *line != start);
    let first = lines.next().map(|line| &line[2..]);
    let rest =
        lines.take_while(|line| line.is_empty() || line.starts_with("    ")).map(|line| line.get(2..).unwrap_or(""));
    first.into_iter().chain(rest).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{pipeline::Pipeline, text::Source};

    #[test]
    fn the_example_is_a_valid_pipeline() {
        let pipeline = Pipeline::read(Source::new("example.yaml", EXAMPLE), None, &[]).unwrap();
        for stage in &pipeline.stages {
            pipeline
                .variants(stage, &pipeline.yields_by_name())
                .unwrap_or_else(|faults| panic!("{}: {faults:?}", stage.name));
        }
    }

    #[test]
    fn every_key_has_a_meaning_and_an_example() {
        let text = reference().unwrap();
        let rows = text.lines().filter(|line| line.starts_with("| `"));
        let bare: Vec<&str> = rows.filter(|line| line.contains("|  |")).collect();
        assert!(bare.is_empty(), "no meaning or no example:\n{}", bare.join("\n"));
    }

    #[test]
    fn every_link_leads_to_a_heading() {
        let text = reference().unwrap();
        let headings: Vec<String> = text
            .lines()
            .filter(|line| line.starts_with('#'))
            .map(|line| line.trim_start_matches('#').trim().to_lowercase())
            .map(|line| line.replace(' ', "-").chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect())
            .collect();
        for link in text.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert_eq!(headings.iter().filter(|heading| *heading == link).count(), 1, "{link}");
        }
    }

    #[test]
    fn the_committed_reference_is_what_the_structs_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/pipeline.md");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        let current = reference().unwrap();
        if committed != current {
            let line = committed.lines().zip(current.lines()).position(|(old, new)| old != new);
            panic!(
                "docs/pipeline.md is out of date (line {}): run `engine schema --docs > docs/pipeline.md`",
                line.map_or_else(|| "at its end".to_owned(), |line| (line + 1).to_string())
            );
        }
    }
}
