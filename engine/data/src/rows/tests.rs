//! Reading rows from JSON, JSONL and SQuAD files.

use std::fs;

use serde_json::json;
use spec::stage::{Format, Squad, SquadRows};

use super::*;

fn read_text(name: &str, text: impl AsRef<[u8]>) -> Result<Vec<Row>, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    read(&path, None).map_err(|error| Error {
        place: error.place.map(|place| place.replace(&format!("{}/", folder.path().display()), "")),
        ..error
    })
}

fn values(rows: &[Row]) -> serde_json::Value {
    json!(rows)
}

#[test]
fn json_is_an_array_or_an_object_with_one() {
    let rows = json!([{"a": 1}, {"a": null}]);
    assert_eq!(values(&read_text("t.json", rows.to_string()).unwrap()), rows);
    let bom = [b"\xEF\xBB\xBF".as_slice(), json!({"version": 1, "data": rows}).to_string().as_bytes()].concat();
    assert_eq!(values(&read_text("t.json", bom).unwrap()), rows);
}

#[test]
fn json_lines_skip_blank_lines_and_may_be_named_json() {
    let text = "{\"a\": 1}\r\n\n{\"a\": 2}\n";
    for name in ["t.jsonl", "t.ndjson", "t.json"] {
        assert_eq!(values(&read_text(name, text).unwrap()), json!([{"a": 1}, {"a": 2}]), "{name}");
    }
}

#[test]
fn a_mistake_has_its_line_and_column() {
    let mut lines: Vec<String> = (1..=400).map(|row| json!({"row": row}).to_string()).collect();
    lines[299] = "{\"row\": 300,, \"a\": 1}".into();
    lines[349] = "broken too".into();
    let error = read_text("t.jsonl", lines.join("\n")).unwrap_err();
    assert_eq!(error.place.as_deref(), Some("t.jsonl:300:13"));
    let error = read_text("t.json", format!("[\n{}\n]", lines.join(",\n"))).unwrap_err();
    assert_eq!(error.place.as_deref(), Some("t.json:301:13"));
    let error = read_text("t.jsonl", "{\"a\": 1}\n{\"a\": NaN}\n").unwrap_err();
    assert_eq!(error.place.as_deref(), Some("t.jsonl:2:7"));
    assert!(error.hint.unwrap().contains("no NaN"));
    let error = read_text("t.json", "[{\"a\": 1}, {\"a\"").unwrap_err();
    assert!(error.hint.unwrap().contains("ends too early"));
}

#[test]
fn a_wrong_shape_says_what_was_found() {
    let error = read_text("t.json", "[{\"a\": 1}, 7]").unwrap_err();
    assert!(error.message.contains("element number 1 (from 0) is a number"), "{error}");
    let error = read_text("t.json", "{\"a\": [], \"b\": []}").unwrap_err();
    assert!(error.message.contains("several arrays, such as `a` and `b`"), "{error}");
    let error = read_text("t.json", "{\"a\": 1}").unwrap_err();
    assert!(error.message.contains("without an array (its keys: `a`)"), "{error}");
    let error = read_text("t.jsonl", "{\"a\": 1}\n[1]\n").unwrap_err();
    assert_eq!(
        (error.place.as_deref(), error.message.as_str()),
        (Some("t.jsonl:2:1"), "this line is an array, and a row is an object")
    );
    assert!(read_text("t.txt", "words").unwrap_err().hint.unwrap().contains("`squad`"));
    assert!(read_text("t.json", " ").unwrap_err().message.contains("empty"));
}

const SQUAD: &str = r#"{"version": "v2.0", "data": [{"title": "T", "paragraphs": [{"context": "C", "qas": [
  {"id": "1", "question": "Q1", "is_impossible": false, "answers": [{"text": "x", "answer_start": 3}, {"text": "y", "answer_start": 4}]},
  {"id": "2", "question": "Q2", "is_impossible": true, "answers": [], "plausible_answers": [{"text": "z", "answer_start": 0}]}
]}]}]}"#;

#[test]
fn squad_is_a_row_a_question_or_a_row_a_paragraph() {
    let rows = read_text("t.json", SQUAD).unwrap();
    let first = json!({"id": "1", "title": "T", "context": "C", "question": "Q1", "answers": ["x", "y"], "answer_starts": [3, 4], "is_impossible": false});
    let second = json!({"id": "2", "title": "T", "context": "C", "question": "Q2", "answers": [], "answer_starts": [], "is_impossible": true});
    assert_eq!(values(&rows), json!([first, second]));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.json");
    fs::write(&path, SQUAD).unwrap();
    let rows = read(&path, Some(&Format::Squad(Squad { row: SquadRows::Paragraph }))).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        rows[0]["qas"][1],
        json!({"id": "2", "question": "Q2", "answers": [], "answer_starts": [], "is_impossible": true})
    );
    let error = read_text("t.json", SQUAD.replace("\"context\": \"C\", ", "")).unwrap_err();
    assert!(error.message.contains("missing field `context`") && error.place.unwrap().starts_with("t.json:4:"));
}

#[test]
fn a_file_is_found_by_its_stem() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["train.json", "deep/validation.jsonl", "deep/train.json", "one/twice.json", "two/twice.json"] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    assert_eq!(find(folder.path(), "train").unwrap(), folder.path().join("train.json"));
    assert_eq!(find(folder.path(), "validation").unwrap(), folder.path().join("deep/validation.jsonl"));
    assert!(find(folder.path(), "twice").unwrap_err().message.contains("`one/twice.json`, `two/twice.json`"));
    assert!(find(folder.path(), "trian").unwrap_err().hint.unwrap().starts_with("did you mean `train`?"));
    assert!(find(folder.path(), "zzzzz").unwrap_err().hint.unwrap().contains("`deep/validation.jsonl`"));
}

#[test]
fn ids_name_rows_only_where_all_differ() {
    let rows = |ids: serde_json::Value| {
        let rows = ids.as_array().unwrap().iter().map(|id| json!({"id": id}).as_object().unwrap().clone()).collect();
        Rows::new(rows)
    };
    assert_eq!(rows(json!(["a", 7])).ids, ["a", "7"]);
    assert_eq!(rows(json!(["a", null])).ids, ["0", "1"]);
    let repeated = rows(json!(["a", "a", "b"]));
    assert_eq!(repeated.ids, ["0", "1", "2"]);
    assert!(repeated.warning.unwrap().starts_with("1 rows repeat"));
}
