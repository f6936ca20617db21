//! Rows from files of several kinds, from the pipeline file, and joined, through the whole `preprocess` stage.

use crate::common::{Done, Project};
use serde_json::{Value, json};
use spec::job::Failure;

/// Runs a stage with these settings beside its template and splits.
fn preprocess(project: &Project, name: &str, settings: Value, split: Value) -> Result<Done, Failure> {
    project.write("rows/unused.md", "");
    project.write("others/unused.md", "");
    let template = project.path("templates/t.jinja");
    let mut all = json!({"input": "rows", "template": "t.jinja", "splits": {"all": split}});
    all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let (rows, others) = (project.path("rows"), project.path("others"));
    let inputs = [("input", rows.as_path()), ("join.with", others.as_path())];
    project.run(name, "preprocess", all, &inputs, &[("template", &template)], 2)
}

fn prompts(done: &Done) -> Vec<String> {
    let rows = data::preview::rendered(&done.result, "all", 100).unwrap();
    rows.into_iter().map(|row| row.turns[0].0.clone()).collect()
}

#[test]
fn a_join_names_values_and_filters_in_this_order() {
    let project = Project::new();
    project.write("templates/t.jinja", "{% block prompt %}{{ text }}: {{ label }}, {{ of.title }}{% endblock %}");
    project.write("rows/train.tsv", "text\tlabel\tpage\n\"a\t1\t7\nb\t0\t8\nc\t1\t9\nd\t1\t7\n");
    project.write("others/pages.jsonl", "{\"id\": 7, \"title\": \"Seven\"}\n{\"id\": 8, \"title\": \"Eight\"}\n");
    let settings = json!({
        "format": {"tsv": {"quoting": "none"}},
        "names": {"label": ["no", "yes"]},
        "join": {"with": "others", "from": "pages", "on": "page", "their": "id", "as": "of", "missing": "drop"},
    });
    let done = preprocess(&project, "a", settings, json!({"from": "train", "where": "label == 'yes' and of.id == 7"}))
        .unwrap();
    assert_eq!(prompts(&done), ["\"a: yes, Seven", "d: yes, Seven"]);
    assert!(done.warnings[0].contains("1 rows have no partner"), "{:?}", done.warnings);
    let failure = preprocess(&project, "d", json!({}), json!({"from": "train"})).err().unwrap();
    assert!(failure.hint.unwrap().contains("`quoting: none`"), "a quotation mark has swallowed rows");
    let settings = json!({"names": {"label": ["no"]}, "format": {"tsv": {"quoting": "none"}}});
    let failure = preprocess(&project, "b", settings, json!({"from": "train"})).err().unwrap();
    assert_eq!(failure.place.as_deref(), Some("`train`, setting `names.label`, row 1"));
    let settings = json!({
        "format": {"tsv": {"quoting": "none"}},
        "join": {"with": "others", "from": "pgaes", "on": "page", "as": "of"},
    });
    let failure = preprocess(&project, "c", settings, json!({"from": "train"})).err().unwrap();
    assert_eq!(failure.message, "no file is named `pgaes`, which the join comes from");
}

#[test]
fn rows_may_stand_in_the_pipeline_file() {
    let project = Project::new();
    project.write("templates/t.jinja", "{% block prompt %}{{ text }} {{ n }}{% endblock %}");
    let rows =
        json!({"rows": {"some": [{"text": "a", "n": 1}, {"text": "b", "n": 0.5}], "more": [{"text": "c", "n": ""}]}});
    let done = preprocess(&project, "a", json!({"input": rows}), json!({"from": ["more", "some"]})).unwrap();
    assert_eq!(prompts(&done), ["c ", "a 1", "b 0.5"]);
}

#[test]
fn shards_and_patterns_are_read_in_order() {
    let project = Project::new();
    project.write("templates/t.jinja", "{% block prompt %}{{ x }}{% endblock %}");
    for number in [1, 0] {
        project.write(&format!("rows/d/train-0000{number}-of-00002.csv"), format!("x\n{number}\n"));
    }
    assert_eq!(prompts(&preprocess(&project, "a", json!({}), json!({"from": "train"})).unwrap()), ["0", "1"]);
    assert_eq!(prompts(&preprocess(&project, "b", json!({}), json!({"from": "d/*1-of*"})).unwrap()), ["1"]);
}
