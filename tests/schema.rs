//! What `engine schema` prints, checked with a JSON Schema validator: it accepts every valid pipeline file of the project
//! and refuses every invalid one of `tests/pipelines/invalid`, but for those whose mistake no schema can see. Knows no
//! run.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;

/// The files of `tests/pipelines/invalid` that `engine check` refuses and a schema cannot, by what it does not see.
const BEYOND_A_SCHEMA: &[(&str, &[&str])] = &[
    (
        "other files",
        &[
            "block_absent_for_choices",
            "block_absent_for_default_objective",
            "block_absent_for_metric",
            "block_absent_for_objective",
            "block_absent_for_validation",
            "block_absent_for_windows",
            "block_absent_in_one_of_two",
            "file_absent",
            "include_absent",
            "include_absent_folder",
            "include_absent_from_included",
            "include_folder",
            "include_itself",
            "include_no_utf8",
            "include_no_yaml",
            "include_outside",
            "include_ring",
            "include_same_stage",
            "include_same_variable",
            "include_twice",
            "include_value_from_here",
            "include_wrong_key",
            "include_wrong_top",
            "parts_path_absent",
            "template_absent",
        ],
    ),
    (
        "which stages, axes, labels and splits there are",
        &[
            "axis_name_clash",
            "axis_of_execution_alone",
            "axis_unused",
            "axis_without_common_label",
            "command_unknown_placeholder",
            "exclude_everything",
            "exclude_unknown_axis",
            "exclude_unknown_label",
            "adapter_from_rows",
            "inspect_of_rows",
            "merge_of_a_prompt",
            "merge_of_rows",
            "train_on_a_bottleneck",
            "part_unknown",
            "reference_of_wrong_kind",
            "reference_ring",
            "reference_to_itself",
            "reference_unknown_in_list",
            "reference_unknown_stage",
            "join_with_an_unknown_stage",
            "rows_of_another_name",
            "report_unknown_axis",
            "select_from_one_member",
            "select_is_misspelt",
            "select_label_not_there",
            "select_no_axis_of_that_name",
            "select_per_every_axis",
            "select_per_unknown_axis",
            "select_ring",
            "selector_long_unknown_label",
            "selector_of_nothing",
            "selector_on_no_axes",
            "selector_unknown_axis",
            "selector_unknown_label",
            "split_rest_of_nothing",
            "split_rest_of_whole",
            "split_unknown_to_overflow",
            "split_unknown_to_train",
            "share_prefix_of_an_encoder",
            "split_unknown_to_validate",
            "with_excluded_member",
            "with_timeout_alone",
            "with_unknown_axis",
            "with_unknown_label",
        ],
    ),
    (
        "what a variable stands for",
        &[
            "origin_axis_in_vars",
            "origin_exclude_in_vars",
            "origin_key_in_matrix",
            "origin_key_in_vars",
            "origin_missing_key_in_vars",
            "origin_nested_variable",
            "origin_path_in_vars",
            "origin_reference_in_vars",
            "origin_stage_in_matrix",
            "origin_stage_in_vars",
            "origin_step_absent_in_matrix",
            "origin_step_in_matrix",
            "origin_target_in_vars",
            "origin_timeout_in_vars",
            "origin_value_in_matrix_list",
            "subsets_wrong_item",
            "track_password",
            "variable_map_inside_text",
            "variable_number_for_text",
            "variable_of_matrix_without_matrix",
            "variable_ring",
            "variable_unknown",
            "variable_unknown_scope",
            "variable_unknown_step",
            "variable_unknown_within_variable",
            "with_unknown_variable",
            "with_value_in_vars",
        ],
    ),
    (
        "where a path of a profile or of `with` leads",
        &[
            "profile_into_a_text",
            "profile_path_leads_nowhere",
            "profile_unknown_variable",
            "profile_wrong_key",
            "profile_wrong_value",
            "profile_wrong_within_value",
            "with_path_into_a_default",
            "with_path_into_a_text",
        ],
    ),
    (
        "one value compared with another",
        &[
            "choices_with_a_boundary",
            "choices_with_eos",
            "choices_with_two_lengths",
            "evaluate_of_dropped_rows",
            "form_label_twice",
            "form_two_texts_one_length",
            "form_with_eos",
            "form_without_windows",
            "adapters_twice",
            "adapters_with_full",
            "axis_duplicate_label",
            "memory_beyond_machines",
            "min_new_tokens_above_the_most",
            "rows_with_a_format",
            "chat_of_a_trained_tokenizer",
            "chat_with_a_boundary",
            "ia3_feedforward_no_target",
            "inspect_analysis_twice",
            "hub_beside_a_path",
            "hub_config_of_a_model",
            "hub_splits_beside_files",
            "parts_within_a_part",
            "parts_without_sha256",
            "penalty_on_frozen_a",
            "penalty_on_zero_b",
            "penalty_on_zero_b_of_lora_fa",
            "rank_odd_for_orthogonal",
            "model_heads_do_not_divide",
            "choice_of_null_threshold",
            "range_micro_batch",
            "range_window_context",
            "report_axis_twice",
            "selector_twice",
            "size_like_a_size",
            "size_like_in_a_list",
            "size_like_orthogonal",
            "timeout_beyond_a_year",
            "track_twice",
            "validate_figure_not_counted",
            "validate_figure_of_no_metric",
            "validate_protocol_of_another_objective",
            "with_value_out_of_range",
        ],
    ),
    ("whether a text is a regular expression", &["exclude_bad_regex", "rank_pattern_bad_regex", "targets_bad_regex"]),
    ("whether a text is a revision", &["hub_revision"]),
    (
        "text that is no YAML of words, lists and maps",
        &[
            "type_too_large",
            "yaml_duplicate_key",
            "yaml_duplicate_stage",
            "yaml_indentation",
            "yaml_key_no_word",
            "yaml_second_colon",
            "yaml_tab",
            "yaml_two_documents",
            "yaml_unclosed_bracket",
            "yaml_unquoted_selector",
            "yaml_unquoted_variable",
            "yaml_variable_over_lines",
        ],
    ),
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

/// The pipeline files of a folder by name, sorted, with their value; nothing for one that no YAML reader takes.
fn files(name: &str) -> Vec<(String, Option<Value>)> {
    let mut files: Vec<(String, Option<Value>)> = std::fs::read_dir(folder(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".yaml") && !path.to_string_lossy().ends_with(".lock.yaml"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let value = serde_yaml::from_str::<serde_yaml::Value>(&text).ok();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, value.and_then(|value| serde_json::to_value(value).ok()))
        })
        .collect();
    files.sort_by(|one, other| one.0.cmp(&other.0));
    assert!(!files.is_empty(), "{name}");
    files
}

fn printed() -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_engine")).arg("schema").output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The schema, itself checked against the schema of schemas.
fn schema() -> (Schemas, SchemaIndex) {
    let mut schemas = Schemas::new();
    let mut compiler = Compiler::new();
    let place = "file:///pipeline.schema.json";
    compiler.add_resource(place, printed()).unwrap();
    let index = compiler.compile(place, &mut schemas).unwrap_or_else(|error| panic!("{error:#}"));
    (schemas, index)
}

#[test]
fn every_valid_file_is_accepted() {
    let (schemas, index) = schema();
    let example: serde_yaml::Value =
        serde_yaml::from_str(&std::fs::read_to_string(folder("engine/spec/src/docs/example.yaml")).unwrap()).unwrap();
    let example = ("example".to_owned(), Some(serde_json::to_value(example).unwrap()));
    for (name, value) in files("tests/pipelines/valid").into_iter().chain(files("pipelines")).chain([example]) {
        let value = value.unwrap_or_else(|| panic!("{name} is no YAML"));
        schemas.validate(&value, index).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
}

#[test]
fn every_invalid_file_is_refused_but_where_no_schema_can_see_it() {
    let (schemas, index) = schema();
    let is_accepted = |value: &Option<Value>| value.as_ref().is_none_or(|value| schemas.validate(value, index).is_ok());
    let accepted: BTreeSet<String> = files("tests/pipelines/invalid")
        .into_iter()
        .filter(|(_, value)| is_accepted(value))
        .map(|(name, _)| name)
        .collect();
    let beyond: BTreeSet<String> =
        BEYOND_A_SCHEMA.iter().flat_map(|(_, names)| *names).map(|name| (*name).to_owned()).collect();
    let unexpected: Vec<&String> = accepted.difference(&beyond).collect();
    assert!(unexpected.is_empty(), "the schema accepts: {unexpected:?}");
    let refused: Vec<&String> = beyond.difference(&accepted).collect();
    assert!(refused.is_empty(), "the schema refuses after all, or there is no such file: {refused:?}");
}

#[test]
fn a_variable_may_stand_for_every_kind_of_setting() {
    let (schemas, index) = schema();
    let stage = |text: &str| -> Value {
        let stage: Value = serde_yaml::from_str(text).unwrap();
        serde_json::json!({ "stages": { "one": stage } })
    };
    for text in [
        "{kind: download, from: \"${vars.x}\"}",
        "{kind: download, from: {url: {address: \"${vars.host}/rows.json\", sha256: \"${vars.x}\"}}}",
        "{kind: command, run: \"${vars.x}\", out: {a: \"${vars.x}\"}, timeout: \"${vars.x}\", retry: \"${vars.x}\"}",
        "{kind: command, run: [a], out: {a: b}, resources: {gpu: \"${vars.x}\", memory: \"${matrix.x}\"}}",
        "{kind: train, model: \"${vars.x}\", data: \"t[a=${winner.a}]\", adapter: {lora: {rank: \"${vars.x}\", alpha: 1, targets: all-linear}}, steps: \"${vars.x}\"}",
        "{kind: evaluate, model: [a, \"${vars.x}\"], data: \"${vars.x}\", protocol: perplexity, metrics: \"${vars.x}\"}",
        "{kind: report, inputs: [a], matrix: \"${vars.x}\"}",
    ] {
        schemas.validate(&stage(text), index).unwrap_or_else(|error| panic!("{text}: {error:#}"));
    }
    for text in [
        "{kind: command, run: [a], out: {a: b}, timeout: \"${vars.x\"}",
        "{kind: command, run: [a], out: {a: b}, retry: vars.x}",
        "{kind: download, from: {url: {address: \"${vars}/rows.json\", sha256: \"${vars.x}\"}}}",
    ] {
        assert!(schemas.validate(&stage(text), index).is_err(), "{text}");
    }
}
