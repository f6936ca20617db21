//! A pipeline file as it was written: its stages, their axes, and each combination of these as typed settings. Knows
//! nothing of how stages depend on each other.

use std::{collections::BTreeSet, sync::Arc};

use serde_yaml::{Mapping, Value};

use crate::{
    diagnostic::{Diagnostic, Place},
    execution::Execution,
    include::{self, Load, Unreadable},
    matrix::{AxisEntry, Matrix},
    names,
    stage::Stage,
    suggest,
    text::{Document, Misfit, Scope, Segment, Side, Source, Substituted, YamlPath, decode, kind_of, substitute, uses},
    top,
    track::{self, Tracker},
    yields::{Choice, Yield, Yields},
};

/// The keys that a stage of any kind may have.
pub const STAGE_KEYS: &[&str] = &["kind", "matrix", "resources", "timeout", "retry"];

/// The kind whose stages other stages name as variables.
const SELECT: &str = "select";
/// Words before the dot of a variable that mean something else than a `select` stage.
const SCOPES: &[&str] = &["vars", "matrix", "in", "out"];

/// A pipeline file.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// The pipeline's name.
    pub name: String,
    /// The file, overrides done.
    pub document: Document,
    /// Where its runs are shown.
    pub track: Vec<Tracker>,
    /// The stages in the order of the file.
    pub stages: Vec<StageText>,
    /// The names of the `select` stages.
    selects: BTreeSet<String>,
}

/// A stage as it was written.
#[derive(Debug, Clone)]
pub struct StageText {
    /// The stage's name.
    pub name: String,
    /// The stage's kind.
    pub kind: String,
    /// Its own axes.
    pub matrix: Matrix,
}

/// One combination of a stage's own axes, typed.
#[derive(Debug, Clone)]
pub struct Variant {
    /// Own axes and labels, in the order of the file.
    pub coordinates: Vec<(String, String)>,
    /// What `select` stages must have chosen for these settings to hold.
    pub choices: Vec<Choice>,
    /// The settings.
    pub stage: Arc<Stage>,
    /// How it runs.
    pub execution: Execution,
    /// Where its settings came from; their values are in `stage`.
    substituted: Substituted,
    lists: Vec<YamlPath>,
}

impl Variant {
    /// Whether a list stands at a path of the settings, variables replaced.
    pub fn is_list(&self, path: &str) -> bool {
        self.lists.contains(&YamlPath::dotted(path))
    }
}

/// The paths at which lists stand within a value.
fn lists_in(value: &Value) -> Vec<YamlPath> {
    let mut lists = Vec::new();
    let mut open = vec![(YamlPath::root(), value)];
    while let Some((path, value)) = open.pop() {
        match value {
            Value::Sequence(_) => lists.push(path),
            Value::Mapping(map) => {
                let below = map.iter().filter(|(_, value)| value.is_sequence() || value.is_mapping());
                open.extend(below.map(|(key, value)| (path.key(key.as_str().unwrap_or_default()), value)));
            }
            _ => {}
        }
    }
    lists
}

impl Pipeline {
    /// Reads a pipeline file that includes no other; see [`Self::read_including`].
    ///
    /// # Errors
    /// Those of [`Self::read_including`], and any `include`.
    pub fn read(source: Arc<Source>, profile: Option<&str>, sets: &[String]) -> Result<Self, Vec<Diagnostic>> {
        let refuse = |name: &str| {
            Err(Unreadable {
                message: format!("`{name}` cannot be read here"),
                hint: "write what it says into this file".into(),
            })
        };
        Self::read_including(source, &refuse, profile, sets)
    }

    /// Reads a pipeline file with the files that it includes, which `load` reads, and applies a profile and `--set`
    /// arguments.
    ///
    /// # Errors
    /// Every mistake that can be found without looking at how stages depend on each other.
    pub fn read_including(
        source: Arc<Source>,
        load: &Load<'_>,
        profile: Option<&str>,
        sets: &[String],
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut document = Document::read(source).map_err(|fault| vec![fault])?;
        let mut faults = top::faults(&document);
        faults.extend(top::missing_stages(&document));
        if !faults.is_empty() {
            return Err(faults);
        }
        include::join(&mut document, load, &top::faults)?;
        if let Some(profile) = profile {
            document.apply_profile(profile)?;
        }
        for argument in sets {
            document.apply_set(argument).map_err(|fault| vec![fault])?;
        }
        let name = top::name_of(&document).unwrap_or_else(|fault| {
            faults.push(fault);
            String::new()
        });
        let track = track::read(&document, vars_of(&document)).unwrap_or_else(|mut more| {
            faults.append(&mut more);
            Vec::new()
        });
        let (mut stages, mut origins) = (Vec::new(), Vec::new());
        let all = document.get(&YamlPath::keys(["stages"])).and_then(Value::as_mapping);
        if all.is_none_or(serde_yaml::Mapping::is_empty) {
            faults.push(document.fault(
                &YamlPath::keys(["stages"]),
                Side::Key,
                "no stage",
                "name at least one: `NAME: {kind: …}`",
            ));
        }
        for (stage, value) in all.into_iter().flatten() {
            match StageText::read(&document, stage.as_str().unwrap_or_default(), value) {
                Ok(stage) => {
                    origins.extend(stage.matrix.origins());
                    stages.push(stage);
                }
                Err(mut more) => faults.append(&mut more),
            }
        }
        for (path, written) in origins {
            let (source, written) = document.written(&written);
            document.origins.note(path, source, written);
        }
        let selects = stages.iter().filter(|stage| stage.kind == SELECT).map(|stage| stage.name.clone()).collect();
        if faults.is_empty() { Ok(Self { name, document, track, stages, selects }) } else { Err(faults) }
    }

    /// The names of the file's profiles.
    pub fn profiles(&self) -> impl Iterator<Item = &str> {
        let profiles = self.document.get(&YamlPath::keys(["profiles"])).and_then(Value::as_mapping);
        profiles.into_iter().flat_map(serde_yaml::Mapping::keys).filter_map(Value::as_str)
    }

    /// The names of the `select` stages.
    pub fn selects(&self) -> &BTreeSet<String> {
        &self.selects
    }

    /// The axes of `select` stages that a stage's settings use, as (stage, axis).
    pub fn choices_used(&self, stage: &StageText) -> BTreeSet<(String, String)> {
        if self.selects.is_empty() {
            return BTreeSet::new();
        }
        let mut used = variables_used(&self.document, &stage.settings(&self.document), &stage.matrix, |_| true);
        used.retain(|(scope, _)| self.selects.contains(scope));
        used
    }

    /// What `select` stages might yield as far as names tell: every entry of every axis of the file. Enough to see
    /// which stages a stage reads, before it is known which axes a `select` stage has.
    pub fn yields_by_name(&self) -> Yields {
        if self.selects.is_empty() {
            return Yields::default();
        }
        let mut axes: Vec<(String, Vec<AxisEntry>)> = Vec::new();
        for stage in &self.stages {
            axes.extend(stage.matrix.axes.iter().map(|axis| (axis.name.clone(), axis.entries.clone())));
            axes.extend(stage.lists(&self.document));
        }
        let longest = axes.iter().map(|(_, entries)| entries.len()).max().unwrap_or(0);
        let row = |index: usize| -> Yield {
            let nth = |(axis, entries): &(String, Vec<AxisEntry>)| {
                entries.get(index).or(entries.last()).map(|entry| (axis.clone(), entry.clone()))
            };
            axes.iter().filter_map(nth).collect()
        };
        let rows: Vec<Yield> = (0..longest).map(row).collect();
        let mut yields = Yields::default();
        for select in &self.selects {
            yields.insert(select, rows.clone());
        }
        yields
    }

    /// Every combination of a stage's own axes and of what the `select` stages it uses may yield, typed and checked by
    /// itself.
    ///
    /// # Errors
    /// Variables that cannot be replaced, settings that do not fit, and what [`Stage::faults`] finds.
    pub fn variants(&self, stage: &StageText, yields: &Yields) -> Result<Vec<Variant>, Vec<Diagnostic>> {
        let base = YamlPath::keys(["stages", &stage.name]);
        let mut variants = Vec::new();
        let mut faults: Vec<Diagnostic> = Vec::new();
        let used = self.choices_used(stage);
        let ways = yields.ways(&used);
        let combinations = stage.matrix.combinations();
        for (combination, way) in
            combinations.iter().flat_map(|combination| ways.iter().map(move |way| (combination, way)))
        {
            let entries =
                combination.iter().map(|(axis, entry)| (axis.name.as_str(), &entry.value, entry.path.clone()));
            let mut scopes = vec![vars_of(&self.document), Scope::new("matrix", entries.collect())];
            scopes.extend(self.selects.iter().map(|select| choice_scope(select, way)));
            let mut substituted = match substitute(stage.settings(&self.document), &base, &scopes) {
                Ok(substituted) => substituted,
                Err(fault) => {
                    faults.push(self.document.fault(&fault.path, Side::Value, fault.message, fault.hint));
                    continue;
                }
            };
            if let Err(unset) = stage.matrix.apply_with(combination, &mut substituted, &scopes) {
                faults.extend(unset.into_iter().map(|f| self.document.fault(&f.written, f.side, f.message, f.hint)));
                continue;
            }
            let execution = Execution::take(&mut substituted.value);
            let at = |path: &YamlPath, side| self.document.place(&written(&substituted, &base, path, side), side);
            let execution = execution.unwrap_or_else(|misfits| {
                faults.extend(
                    misfits
                        .into_iter()
                        .map(|misfit| Diagnostic::new(misfit.message, misfit.hint).at(at(&misfit.path, misfit.side))),
                );
                Execution::default()
            });
            let typed =
                decode(&substituted.value, |deserializer| match Stage::deserialize(&stage.kind, deserializer) {
                    Some(outcome) => outcome,
                    None => Err(serde::de::Error::unknown_variant(&stage.kind, Stage::KINDS)),
                });
            match typed {
                Ok(typed) => {
                    let own = typed.faults();
                    faults.extend(own.iter().map(|fault| {
                        let path = YamlPath::dotted(&fault.path);
                        Diagnostic::new(&fault.message, &fault.hint).at(at(&path, fault.side))
                    }));
                    let coordinates =
                        combination.iter().map(|(axis, entry)| (axis.name.clone(), entry.label.clone())).collect();
                    let choices = way.iter().flat_map(|(select, row)| {
                        let on_used =
                            row.iter().filter(|(axis, _)| used.contains(&((*select).to_owned(), axis.clone())));
                        on_used.map(|(axis, entry)| Choice {
                            select: (*select).to_owned(),
                            axis: axis.clone(),
                            label: entry.label.clone(),
                        })
                    });
                    if own.is_empty() {
                        let choices = choices.collect();
                        let lists = lists_in(&substituted.value);
                        substituted.value = Value::Null;
                        let stage = Arc::new(typed);
                        variants.push(Variant { coordinates, choices, stage, execution, substituted, lists });
                    }
                }
                Err(misfit) => {
                    let Misfit { path, side, message, mut hint } = misfit;
                    if path.0.len() == 1 && message.starts_with("unknown key") && hint.starts_with("known:") {
                        let word = path.to_string();
                        hint = match suggest::did_you_mean(&word, STAGE_KEYS.iter().copied()) {
                            better if !better.starts_with("known:") => better,
                            _ => format!("{hint}, {}", crate::one_of::listed(STAGE_KEYS)),
                        };
                    }
                    faults.push(Diagnostic::new(message, hint).at(at(&path, side)));
                }
            }
        }
        // The same mistake in every combination is one mistake.
        let mut seen = BTreeSet::new();
        faults.retain(|fault| seen.insert(fault.to_string()));
        // Most stages have one: the room for more would be most of what a large pipeline takes.
        variants.shrink_to_fit();
        if faults.is_empty() { Ok(variants) } else { Err(faults) }
    }

    /// Where a setting of a stage was written.
    pub fn place(&self, stage: &str, variant: Option<&Variant>, path: &str, side: Side) -> Option<Place> {
        let base = YamlPath::keys(["stages", stage]);
        let path = YamlPath::dotted(path);
        let written = match variant {
            Some(variant) => written(&variant.substituted, &base, &path, side),
            None => base.join(&path.0),
        };
        self.document.place(&written, side)
    }
}

/// The document's path of a setting.
fn written(substituted: &Substituted, base: &YamlPath, path: &YamlPath, side: Side) -> YamlPath {
    match side {
        Side::Key => substituted.key_path(base, path),
        Side::Value | Side::Holder => substituted.document_path(base, path),
    }
}

/// What a `select` stage yields in one way: inside a text its labels, as a whole value what these stand for.
fn choice_scope<'a>(select: &'a str, way: &[(&'a str, &'a Yield)]) -> Scope<'a> {
    let rows = || way.iter().filter(|(stage, _)| *stage == select).flat_map(|(_, row)| row.iter());
    let entries = rows().map(|(axis, entry)| (axis.as_str(), &entry.value, entry.path.clone()));
    let labels = rows().map(|(axis, entry)| (axis.as_str(), entry.label.as_str()));
    Scope { labels: labels.collect(), ..Scope::new(select, entries.collect()) }
}

fn vars_of(document: &Document) -> Scope<'_> {
    let base = YamlPath::keys(["vars"]);
    let vars = document.get(&base).and_then(Value::as_mapping);
    let entries = vars
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| name.as_str().map(|name| (name, value, base.key(name))))
        .collect();
    Scope::new("vars", entries)
}

/// The `${scope.name}` that settings use, be it in what `with` sets, through variables or through the values of axes;
/// among the settings that `counts` says count.
fn variables_used(
    document: &Document,
    settings: &Value,
    matrix: &Matrix,
    counts: impl Fn(&YamlPath) -> bool,
) -> BTreeSet<(String, String)> {
    let mut seen = BTreeSet::new();
    let mut open = matrix.with_variables(&counts);
    let settings = settings.as_mapping().into_iter().flatten();
    let counted = settings.filter(|(key, _)| key.as_str().is_some_and(|key| counts(&YamlPath::keys([key]))));
    open.extend(counted.flat_map(|(_, value)| uses(value)));
    while let Some((scope, name)) = open.pop() {
        if !seen.insert((scope.clone(), name.clone())) {
            continue;
        }
        match scope.as_str() {
            "vars" => open.extend(document.get(&YamlPath::keys(["vars", &name])).into_iter().flat_map(uses)),
            "matrix" => {
                let entries = matrix.axes.iter().filter(|axis| axis.name == name).flat_map(|axis| &axis.entries);
                open.extend(entries.flat_map(|entry| uses(&entry.value)));
            }
            _ => {}
        }
    }
    seen
}

impl StageText {
    fn read(document: &Document, name: &str, value: &Value) -> Result<Self, Vec<Diagnostic>> {
        let base = YamlPath::keys(["stages", name]);
        if !names::is_name(name) {
            return Err(vec![document.fault(
                &base,
                Side::Key,
                format!("`{name}` is no name for a stage"),
                names::RULE,
            )]);
        }
        let Value::Mapping(map) = value else {
            let message = match value {
                Value::Null => format!("the stage `{name}` holds nothing"),
                other => format!("the stage `{name}` is a {}, not a map", kind_of(other)),
            };
            return Err(vec![document.fault(&base, Side::Value, message, "write `{kind: …}` with its settings")]);
        };
        let kind = match map.get("kind") {
            Some(Value::String(kind)) if Stage::KINDS.contains(&kind.as_str()) => kind.clone(),
            Some(Value::String(kind)) => {
                let message = format!("no kind is named `{kind}`");
                let hint = if kind.contains("${") {
                    "`${…}` is not replaced in `kind`: write the kind itself".to_owned()
                } else {
                    suggest::did_you_mean(kind, Stage::KINDS.iter().copied())
                };
                return Err(vec![document.fault(&base.key("kind"), Side::Value, message, hint)]);
            }
            Some(other) if !other.is_null() => {
                let message = format!("a {} where a kind belongs", kind_of(other));
                let hint = format!("known: {}", crate::one_of::listed(Stage::KINDS));
                return Err(vec![document.fault(&base.key("kind"), Side::Value, message, hint)]);
            }
            _ => {
                let hint = match map.keys().filter_map(Value::as_str).find(|key| ["type", "kindd", "knd"].contains(key))
                {
                    Some(word) => {
                        format!("`{word}` is called `kind` here; known: {}", crate::one_of::listed(Stage::KINDS))
                    }
                    None => format!("add `kind: …`; known: {}", crate::one_of::listed(Stage::KINDS)),
                };
                return Err(vec![document.fault(&base, Side::Key, format!("the stage `{name}` has no `kind`"), hint)]);
            }
        };
        let mut faults = Vec::new();
        if kind == SELECT && SCOPES.contains(&name) {
            let message = format!("`{name}` is no name for a `select` stage: `${{{name}.…}}` means something else");
            faults.push(document.fault(&base, Side::Key, message, "give it another name, such as `winner`"));
        }
        let matrix = Matrix::read(document, &base.key("matrix"), &[vars_of(document)]).unwrap_or_else(|mut more| {
            faults.append(&mut more);
            Matrix::default()
        });
        // An axis that only decides how a stage runs would have members that make the same.
        let decides_result = |path: &YamlPath| !matches!(path.0.first(), Some(Segment::Key(key)) if Execution::KEYS.contains(&key.as_str()));
        let used = match matrix.axes.as_slice() {
            [] => BTreeSet::new(),
            _ => variables_used(document, &own_settings(map), &matrix, decides_result),
        };
        for axis in &matrix.axes {
            let is_used = used.contains(&("matrix".to_owned(), axis.name.clone()));
            if !is_used && !matrix.with_uses(&axis.name, decides_result) {
                let at = base.key("matrix").key(&axis.name);
                let message =
                    format!("the axis `{}` is used nowhere in `{name}`: all its members would be the same", axis.name);
                faults.push(document.fault(
                    &at,
                    Side::Key,
                    message,
                    format!("write `${{matrix.{}}}` where it belongs, or leave the axis out", axis.name),
                ));
            }
        }
        if faults.is_empty() { Ok(Self { name: name.to_owned(), kind, matrix }) } else { Err(faults) }
    }

    /// Settings that are a list of words, as axes: where one of several stages may stand, a list is an axis.
    fn lists(&self, document: &Document) -> Vec<(String, Vec<AxisEntry>)> {
        let settings = self.settings(document);
        let lists = settings.as_mapping().into_iter().flatten().filter_map(|(key, value)| {
            let key = key.as_str()?;
            let path = YamlPath::keys(["stages", &self.name, key]);
            let entry = |(index, item): (usize, &Value)| {
                let label = item.as_str()?.to_owned();
                Some(AxisEntry::new(label, item.clone(), path.index(index)))
            };
            let entries: Option<Vec<AxisEntry>> = value.as_sequence()?.iter().enumerate().map(entry).collect();
            Some((key.to_owned(), entries?))
        });
        lists.collect()
    }

    /// The settings that belong to the kind and those of [`Execution`], variables in place.
    fn settings(&self, document: &Document) -> Value {
        let stage = document.get(&YamlPath::keys(["stages", &self.name])).and_then(Value::as_mapping);
        stage.map_or(Value::Null, own_settings)
    }
}

/// A stage's settings without those that are read before the others.
fn own_settings(stage: &Mapping) -> Value {
    let own = stage.iter().filter(|(key, _)| !key.as_str().is_some_and(|key| ["kind", "matrix"].contains(&key)));
    Value::Mapping(own.map(|(key, value)| (key.clone(), value.clone())).collect())
}
