//! Rows, templates and tokens: what runs again, and what is said of bad input.

use crate::{
    project::{FILE, Project},
    tiny::{self, DATA, TEMPLATE},
};

#[test]
fn another_template_runs_from_preprocess_on() {
    let project = tiny::data();
    project.run(&[]).exit(0).did(&["raw", "rows", "tokens"]);
    project.file("templates/ask.jinja", &TEMPLATE.replace(" is{", " has the colour{"));
    let ran = project.run(&[]);
    ran.exit(0).did(&["rows", "tokens"]);
    assert_eq!(ran.why("rows"), ["template"]);
}

#[test]
fn a_template_that_renders_the_same_text_stops_there() {
    let project = tiny::data();
    project.run(&[]).exit(0);
    let left = project.left("rows");
    project.file("templates/ask.jinja", &format!("{{#- how a row is asked -#}}{TEMPLATE}"));
    project.run(&[]).exit(0).did(&["rows"]);
    assert_eq!(project.left("rows"), left);
}

#[test]
fn an_included_template_counts() {
    let project = tiny::data();
    project.file("templates/parts/colour.jinja", "{{ colour }}");
    project.file("templates/ask.jinja", &TEMPLATE.replace(" {{ colour }}", " {% include 'parts/colour.jinja' %}"));
    project.run(&[]).exit(0).did(&["raw", "rows", "tokens"]);
    project.file("templates/parts/colour.jinja", "{{ colour | upper }}");
    project.run(&[]).exit(0).did(&["rows", "tokens"]);
    project.engine(&["preview", FILE, "rows", "--split", "test"]).exit(0).says(&["RED"]);
}

#[test]
fn rows_that_change_in_one_split_only() {
    let project = tiny::data();
    project.run(&[]).exit(0);
    let before = project.left("rows");
    project.file("data/test.jsonl", &tiny::rows(40..47));
    project.run(&[]).exit(0).did(&["raw", "rows", "tokens"]);
    let after = project.left("rows");
    assert_eq!(before["train.parquet"], after["train.parquet"]);
    assert_ne!(before["test.parquet"], after["test.parquet"]);
}

/// What is said when these rows are the training data.
fn with_training_rows(rows: &str) -> Project {
    let project = tiny::data();
    project.file("data/train.jsonl", rows);
    project
}

#[test]
fn invalid_json_on_line_300() {
    let mut lines: Vec<String> = tiny::rows(0..310).lines().map(str::to_owned).collect();
    lines[299] = r#"{"id": "row-299", "thing": "broken"#.to_owned();
    let project = with_training_rows(&lines.join("\n"));
    // The place is the project's own file, not the store's copy of it.
    project.run(&[]).did(&["raw"]).failed(&["rows"]).fails_with(&["data/train.jsonl:300", "not closed"]);
    let said = project.engine(&["run", FILE]);
    assert!(!said.exit(1).err.contains(".store"), "{}", said.err);
}

#[test]
fn a_column_that_row_17_lacks() {
    let mut lines: Vec<String> = tiny::rows(0..40).lines().map(str::to_owned).collect();
    lines[16] = r#"{"id": "row-16", "thing": "colourless"}"#.to_owned();
    let ran = with_training_rows(&lines.join("\n")).run(&[]);
    ran.failed(&["rows"]).fails_with(&["colour", "row 17 (id row-16)", "ask.jinja"]);
}

#[test]
fn an_empty_split() {
    let ran = with_training_rows("").run(&[]);
    ran.failed(&["rows"]).fails_with(&["train"]);
}

#[test]
fn a_file_that_a_split_names_and_is_not_there() {
    let project = tiny::with_rows(&DATA.replace("{from: test}", "{from: tset}"));
    project.run(&[]).failed(&["rows"]).fails_with(&["tset", "test"]);
}

#[test]
fn a_max_length_that_leaves_no_loss() {
    let project = tiny::with_rows(&DATA.replace("max_length: 96", "max_length: 2\n    overflow: {train: drop}"));
    project.run(&[]).failed(&["tokens"]).fails_with(&["train", "max_length"]);
}
