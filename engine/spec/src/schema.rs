//! The JSON Schema of the whole pipeline file, for editors: made from the schemas of the structs, with `${…}` allowed
//! wherever a setting stands. Knows no particular kind.

use serde_json::{Value, json};

use crate::{execution::Execution, matrix::MOST_SUBSET_ITEMS, names::PATTERN, stage::Stage, track::Tracker};

/// What `${vars.NAME}` or `${matrix.AXIS}` looks like where another type stands.
const VARIABLE: &str = r"^\$\{[^}.]+\.[^}]+\}$";
/// What no text may hold: a `${` without its `}`, or one that names nothing. `$${` is a plain `${`.
const NO_VARIABLE: &str = r"(^|[^$])\$\{([^}]*$|[^}.]*\})";
/// Names that a `select` stage cannot have: before the dot of a variable they mean something else.
const SCOPES: &str = "^(vars|matrix|in|out)$";
/// What the path of an included file cannot be: absolute, with a variable, an address.
const NOT_INCLUDED: &str = r"^/|\$\{|\\|://";

/// The JSON Schema (2020-12) of a pipeline file.
pub fn pipeline_schema() -> Value {
    let mut generator = schemars::SchemaGenerator::default();
    let kinds = Stage::schemas(&mut generator);
    let execution = <Execution as schemars::JsonSchema>::json_schema(&mut generator).to_value();
    let mut tracker = generator.subschema_for::<Tracker>().to_value();
    or_variable(&mut tracker);
    let mut definitions = generator.take_definitions(true);
    for definition in definitions.values_mut() {
        allow_variables(definition);
    }
    let stages: Vec<Value> = kinds
        .into_iter()
        .enumerate()
        .map(|(place, (kind, schema))| stage(place, kind, schema.to_value(), &execution))
        .collect();
    definitions.insert("Stage".into(), json!({ "oneOf": stages }));
    definitions.insert(
        "Variable".into(),
        json!({
            "description": "A variable, replaced by its value: `${vars.NAME}` or `${matrix.AXIS}`.",
            "type": "string",
            "pattern": VARIABLE,
        }),
    );
    definitions.insert("Matrix".into(), matrix());
    let included = json!({ "type": "string", "minLength": 1, "not": { "pattern": NOT_INCLUDED } });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Pipeline",
        "description": "A fine-tuning pipeline: stages by name, and the values they share.",
        "type": "object",
        "properties": {
            "name": {
                "description": "The pipeline's name. Without it, the file's name.",
                "type": "string",
                "pattern": PATTERN,
            },
            "include": {
                "description": "Files whose stages and variables are taken, by paths relative to this file.",
                "anyOf": [
                    included,
                    {
                        "type": "array",
                        "items": included,
                        "minItems": 1,
                        "uniqueItems": true,
                    },
                ],
            },
            "track": {
                "description": "Where runs are shown: one tracker, or a list of them.",
                "anyOf": [tracker, { "type": "array", "items": tracker }],
            },
            "vars": {
                "description": "Values by name, for `${vars.NAME}`.",
                "type": "object",
                "propertyNames": { "pattern": PATTERN },
            },
            "profiles": {
                "description": "Sets of changes by name: paths such as `vars.rows` or `stages.tuned.epochs` to values.",
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "propertyNames": { "pattern": r"^(vars|stages)\..+$" },
                },
            },
            "stages": {
                "description": "The stages by name.",
                "type": "object",
                "propertyNames": { "pattern": PATTERN },
                "additionalProperties": { "$ref": "#/$defs/Stage" },
                "patternProperties": {
                    SCOPES: {
                        "$ref": "#/$defs/Stage",
                        "not": { "properties": { "kind": { "const": "select" } }, "required": ["kind"] },
                    },
                },
                "minProperties": 1,
            },
        },
        "anyOf": [{ "required": ["stages"] }, { "required": ["include"] }],
        "additionalProperties": false,
        "$defs": definitions,
    })
}

/// The schema of the stages of one kind, the one at `place` of all kinds.
fn stage(place: usize, kind: &str, mut schema: Value, execution: &Value) -> Value {
    let shared = execution.get("properties").and_then(Value::as_object);
    if let Some(own) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        own.extend(shared.cloned().unwrap_or_default());
    }
    allow_variables(&mut schema);
    let Some(object) = schema.as_object_mut() else { return schema };
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        let own = std::mem::take(properties);
        let matrix = json!({ "$ref": "#/$defs/Matrix", "properties": { "with": { "items": set_of(place, &own) } } });
        properties.insert("kind".into(), json!({ "description": "What the stage does.", "const": kind }));
        properties.insert("matrix".into(), matrix);
        properties.extend(own);
    }
    object.insert("title".into(), kind.into());
    // What must be there, and what cannot stand together, may be mended by `with`, for each member.
    let demands = ["required", "not", "if", "then"]
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), object.shift_remove(key)?)));
    let demands: serde_json::Map<String, Value> = demands.collect();
    object.insert("required".into(), json!(["kind"]));
    let has_with = json!({ "required": ["matrix"], "properties": { "matrix": { "required": ["with"] } } });
    object.insert("if".into(), has_with);
    object.insert("else".into(), demands.into());
    schema
}

/// What `set` of an entry of `with` may hold for the kind at `place` of all kinds, with these settings: those by name,
/// and paths below them.
fn set_of(place: usize, settings: &serde_json::Map<String, Value>) -> Value {
    let names: Vec<&str> = settings.keys().map(String::as_str).collect();
    let values = names.iter().map(|name| {
        let schema = json!({ "$ref": format!("#/$defs/Stage/oneOf/{place}/properties/{name}") });
        ((*name).to_owned(), schema)
    });
    let below = format!(r"^({})\..", names.join("|"));
    json!({
        "properties": {
            "set": {
                "properties": serde_json::Map::from_iter(values),
                "patternProperties": { below: true },
                "additionalProperties": false,
            },
        },
    })
}

/// Axes by name, combinations that are left out, and settings for some.
fn matrix() -> Value {
    let variable = json!({ "$ref": "#/$defs/Variable" });
    json!({
        "description": "Axes: one member of the stage for each combination of their values.",
        "anyOf": [
            {
                "type": "object",
                "properties": {
                    "exclude": {
                        "description": "Combinations that are left out: maps of axes to labels.",
                        "anyOf": [
                            {
                                "type": "array",
                                "items": {
                                    "type": "object",
                                    "additionalProperties": { "type": ["string", "number", "boolean"] },
                                },
                            },
                            variable,
                        ],
                    },
                    "with": {
                        "description": "Settings for some members: maps of axes to labels, and `set` with paths to values.",
                        "anyOf": [
                            {
                                "type": "array",
                                "items": {
                                    "type": "object",
                                    "properties": {
                                        "set": {
                                            "description": "Paths of settings to values: `{epochs: 3, adapter.lora.rank: 4}`.",
                                            "anyOf": [
                                                {
                                                    "type": "object",
                                                    "minProperties": 1,
                                                },
                                                variable,
                                            ],
                                        },
                                    },
                                    "required": ["set"],
                                    "minProperties": 2,
                                    "additionalProperties": { "type": ["string", "number", "boolean"] },
                                },
                            },
                            variable,
                        ],
                    },
                },
                "propertyNames": { "pattern": PATTERN, "not": { "const": "set" } },
                "additionalProperties": {
                    "description": "An axis: a list of values, a map of labels to values, or `{subsets: […]}`: every \
                                    combination of a list's items.",
                    "anyOf": [
                        {
                            "type": "array",
                            "minItems": 1,
                            "uniqueItems": true,
                            "items": { "type": ["string", "number", "boolean"] },
                        },
                        {
                            "type": "object",
                            "properties": {
                                "subsets": {
                                    "anyOf": [
                                        {
                                            "type": "array",
                                            "minItems": 1,
                                            "maxItems": MOST_SUBSET_ITEMS,
                                            "uniqueItems": true,
                                            "items": { "type": ["string", "number", "boolean"] },
                                        },
                                        variable,
                                    ],
                                },
                            },
                            "required": ["subsets"],
                            "additionalProperties": false,
                        },
                        { "type": "object", "minProperties": 1, "propertyNames": { "not": { "const": "subsets" } } },
                        variable,
                    ],
                },
            },
            variable,
        ],
    })
}

/// Lets `${…}` stand for every setting within a schema, at any depth.
fn allow_variables(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    let is_text = match object.get("type") {
        Some(Value::String(kind)) => kind == "string",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "string"),
        _ => false,
    };
    if is_text && !object.contains_key("enum") && !object.contains_key("not") {
        object.insert("not".into(), json!({ "type": "string", "pattern": NO_VARIABLE }));
    }
    for (_, property) in object.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        allow_variables(property);
        or_variable(property);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner @ Value::Object(_)) = object.get_mut(key) {
            allow_variables(inner);
            or_variable(inner);
        }
    }
    for key in ["oneOf", "anyOf"] {
        object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().for_each(allow_variables);
    }
}

/// The schema, or a variable, also within a text; a schema that takes any text takes variables already.
fn or_variable(schema: &mut Value) {
    let is_text = schema.get("type").is_some_and(|kind| kind == "string") && schema.get("enum").is_none();
    let variable = match (is_text, schema.get("pattern").is_some()) {
        (true, false) => return,
        (true, true) => json!({ "type": "string", "pattern": r"\$\{[^}.]+\.[^}]+\}" }),
        _ => json!({ "$ref": "#/$defs/Variable" }),
    };
    let Some(object) = schema.as_object_mut() else { return };
    let mut outer = serde_json::Map::new();
    for key in ["description", "default"] {
        outer.extend(object.shift_remove(key).map(|value| (key.to_owned(), value)));
    }
    let inner = std::mem::take(object);
    outer.insert("anyOf".into(), json!([inner, variable]));
    *object = outer;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_stands_with_its_word_and_the_keys_of_every_stage() {
        let schema = pipeline_schema();
        let stages = schema["$defs"]["Stage"]["oneOf"].as_array().unwrap();
        let kinds: Vec<&str> =
            stages.iter().map(|stage| stage["properties"]["kind"]["const"].as_str().unwrap()).collect();
        assert_eq!(kinds, Stage::KINDS);
        for stage in stages {
            assert_eq!(stage["required"], json!(["kind"]));
            assert_eq!(stage["additionalProperties"], false);
            for key in crate::pipeline::STAGE_KEYS {
                assert!(stage["properties"].get(key).is_some(), "{key}");
            }
        }
        let top: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(top, crate::top::TOP_KEYS);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk(value: &Value, schema: &Value) {
            match value {
                Value::Object(map) => {
                    if let Some(name) = map.get("$ref").and_then(Value::as_str) {
                        assert!(schema.pointer(name.trim_start_matches('#')).is_some(), "{name}");
                    }
                    map.values().for_each(|inner| walk(inner, schema));
                }
                Value::Array(list) => list.iter().for_each(|inner| walk(inner, schema)),
                _ => {}
            }
        }
        let schema = pipeline_schema();
        walk(&schema, &schema);
    }

    #[test]
    fn numbers_take_variables_and_texts_need_none() {
        let schema = pipeline_schema();
        let rank = &schema["$defs"]["LikeLowRank"]["properties"]["rank"];
        assert_eq!(rank["anyOf"][1]["$ref"], "#/$defs/Variable");
        assert_eq!(rank["anyOf"][0]["type"], "integer");
        let source = &schema["$defs"]["Published"]["properties"]["source"];
        assert_eq!(source["type"], "string");
        let address = &schema["$defs"]["Url"]["properties"]["address"];
        assert_eq!(address["anyOf"][1]["pattern"], r"\$\{[^}.]+\.[^}]+\}");
    }

    #[test]
    fn a_bare_name_stands_only_for_a_choice_without_required_settings() {
        let schema = pipeline_schema();
        let words = |definition: &str| -> Vec<String> {
            let options = schema["$defs"][definition]["oneOf"].as_array().unwrap();
            options.iter().filter_map(|option| Some(option.get("const")?.as_str()?.to_owned())).collect()
        };
        assert_eq!(words("Adapter"), ["full", "bitfit", "prompt", "prefix", "ia3"]);
        assert_eq!(words("Every"), Vec::<String>::new());
        assert_eq!(words("Decode"), ["greedy", "sample"]);
    }
}
