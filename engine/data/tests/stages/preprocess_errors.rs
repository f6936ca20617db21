//! Mistakes of a `preprocess` stage: place and advice.

use crate::common::Project;
use serde_json::json;

#[test]
fn a_column_that_row_18_lacks() {
    let project = Project::new();
    project.write("templates/t.jinja", "{% block prompt %}\n{{ question }}{% endblock %}");
    let rows: Vec<_> = (0..40)
        .map(|row| {
            if row == 17 {
                json!({"id": "q17", "questoin": "?"})
            } else {
                json!({"id": format!("q{row}"), "question": "?"})
            }
        })
        .collect();
    project.write("rows/train.json", json!(rows).to_string());
    for threads in [1, 4] {
        let failure =
            project.preprocess(&format!("e{threads}"), json!({"all": {"from": "train"}}), threads).err().unwrap();
        assert_eq!(failure.place.as_deref(), Some("templates/t.jinja:2, split `all`, row 18 (id q17)"));
        assert_eq!(failure.message, "the row has no column `question`");
        assert_eq!(failure.hint.as_deref(), Some("did you mean `questoin`?"));
    }
}

#[test]
fn a_source_that_is_not_there() {
    let project = Project::new();
    project.write("templates/t.jinja", "{% block prompt %}x{% endblock %}");
    project.write("rows/train.json", "[]");
    let failure = project.preprocess("a", json!({"dev": {"from": "tarin"}}), 1).err().unwrap();
    assert_eq!(failure.message, "no file is named `tarin`, which the split `dev` comes from");
    assert_eq!(failure.hint.as_deref(), Some("did you mean `train`? there: `train.json`"));
    let failure = project.preprocess("b", json!({"dev": {"from": "train"}}), 1).err().unwrap();
    assert_eq!(failure.message, "the split `dev` has no rows: its source `train` is empty");
}

#[test]
fn a_list_of_sources_is_read_one_after_the_other() {
    let project = Project::new();
    project.write("templates/t.jinja", "{% block prompt %}{{ x }}{% endblock %}");
    project.write("rows/a.json", "[{\"x\": 1}, {\"x\": 2}]");
    project.write("rows/b.jsonl", "{\"x\": 3}");
    let done = project.preprocess("a", json!({"all": {"from": ["b", "a"]}}), 1).unwrap();
    let rows = data::preview::rendered(&done.result, "all", 2).unwrap();
    assert_eq!(
        rows.iter().map(|row| (row.name.as_str(), row.turns[0].0.as_str())).collect::<Vec<_>>(),
        [("row 1", "3"), ("row 2", "1")]
    );
}

#[test]
fn a_null_is_no_text_but_may_be_asked_for() {
    let project = Project::new();
    project.write("templates/t.jinja", "{% block prompt %}x{% endblock %}\n{% block label %}{{ topic }}{% endblock %}");
    project.write("rows/train.json", r#"[{"topic": "a"}, {"topic": null}]"#);
    let failure = project.preprocess("a", json!({"all": {"from": "train"}}), 1).err().unwrap();
    assert_eq!(failure.place.as_deref(), Some("templates/t.jinja:2, split `all`, row 2"));
    assert!(failure.message.contains("null, which is no text"), "{failure:?}");
    let written =
        "{% block prompt %}{{ topic or \"none\" }}{% if topic is none %}!{% endif %}{{ topic|tojson }}{% endblock %}";
    project.write("templates/t.jinja", written);
    let done = project.preprocess("b", json!({"all": {"from": "train"}}), 1).unwrap();
    let rows = data::preview::rendered(&done.result, "all", 2).unwrap();
    assert_eq!([&rows[0].turns[0].0, &rows[1].turns[0].0], ["a\"a\"", "none!null"]);
}

#[test]
fn a_line_that_is_not_whole_is_told_from_a_file_that_was_cut() {
    let project = Project::new();
    project.write("templates/t.jinja", "{% block prompt %}{{ x }}{% endblock %}");
    for (text, line, hint) in [
        ("{\"x\": 1}\n{\"x\": \"a\n{\"x\": 3}\n", 2, "not closed"),
        ("{\"x\": 1}\n{\"x\": 2}\n{\"x\": \"a", 3, "was it cut"),
    ] {
        project.write("rows/train.jsonl", text);
        let failure = project.preprocess("a", json!({"all": {"from": "train"}}), 1).err().unwrap();
        assert!(failure.place.as_deref().unwrap().contains(&format!("train.jsonl:{line}:")), "{failure:?}");
        assert!(failure.hint.as_deref().unwrap().contains(hint), "{failure:?}");
    }
}
