//! Reading rows from files of every format, and finding them.

use std::fs;

use serde_json::json;
use spec::stage::{Format, Squad, SquadRows};

use super::*;

fn read_text(name: &str, text: impl AsRef<[u8]>) -> Result<Vec<Row>, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    read(&path, None, &mut |_| ()).map_err(|error| Error {
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
fn a_table_under_the_name_of_json_lines_is_guessed() {
    let error = read_text("t.jsonl", "\"text\",label\nShares fell, again,business\n").unwrap_err();
    assert_eq!(error.place.as_deref(), Some("t.jsonl:1:1"));
    assert_eq!(error.message, "this line is no JSON; the file looks like CSV");
    let hint = error.hint.unwrap();
    assert!(hint.contains("`format: csv`") && hint.contains("columns: `text`, `label`"), "{hint}");
    let error = read_text("t.jsonl", "text\tlabel\nShares, prices fell\tbusiness\n").unwrap_err();
    assert!(error.message.ends_with("looks like TSV"), "{error}");
    // A broken line is a broken line, however many commas it has.
    for text in ["{\"a\": 1, \"b\": 2\nx,y\n", "a, b\n{\"a\": 1, \"b\": 2}\n", "a b\nc, d\n"] {
        let error = read_text("t.jsonl", text).unwrap_err();
        assert!(!error.message.contains("looks like"), "{text}: {error}");
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
    let rows = read(&path, Some(&Format::Squad(Squad { row: SquadRows::Paragraph })), &mut |_| ()).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        rows[0]["qas"][1],
        json!({"id": "2", "question": "Q2", "answers": [], "answer_starts": [], "is_impossible": true})
    );
    let error = read_text("t.json", SQUAD.replace("\"context\": \"C\", ", "")).unwrap_err();
    assert!(error.message.contains("missing field `context`") && error.place.unwrap().starts_with("t.json:4:"));
}

/// The paths below the folder that a name stands for.
fn found(folder: &Path, name: &str) -> Result<Vec<String>, Error> {
    let below = |path: std::path::PathBuf| path.strip_prefix(folder).unwrap().display().to_string();
    Ok(find(folder, name)?.into_iter().map(below).collect())
}

fn with_files(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    folder
}

#[test]
fn shards_are_one_name() {
    let folder = with_files(&[
        "data/train-00001-of-00002.parquet",
        "data/train-00000-of-00002.parquet",
        "data/test-00000-of-00001-a09b74b3ef9c3b56.parquet",
        "data/half-00001-of-00002.parquet",
        "cola/dev-00000-of-00001.parquet",
        "rte/dev-00000-of-00001.parquet",
    ]);
    let found = |name: &str| found(folder.path(), name);
    assert_eq!(found("train").unwrap(), ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]);
    assert_eq!(found("data/test").unwrap(), ["data/test-00000-of-00001-a09b74b3ef9c3b56.parquet"]);
    assert_eq!(found("half").unwrap_err().message, "of the 2 shards of `data/half`, number 00000 is missing");
    assert_eq!(found("rte/dev").unwrap(), ["rte/dev-00000-of-00001.parquet"]);
    let error = found("dev").unwrap_err();
    assert!(error.message.contains("`cola/dev` and `rte/dev`") && error.hint.unwrap().contains("`cola/dev`"));
}

#[test]
fn a_folder_of_numbered_files_is_one_name() {
    let folder = with_files(&[
        "cola/train/0000.parquet",
        "cola/train/0001.parquet",
        "cola/train/README.md",
        "plain/only.jsonl.gz",
        "mixed/a.csv",
        "mixed/b.csv",
    ]);
    let found = |name: &str| found(folder.path(), name);
    assert_eq!(found("train").unwrap(), ["cola/train/0000.parquet", "cola/train/0001.parquet"]);
    assert_eq!(found("cola/train").unwrap().len(), 2);
    assert_eq!(found("plain").unwrap(), ["plain/only.jsonl.gz"]);
    assert_eq!(found("only").unwrap(), ["plain/only.jsonl.gz"]);
    let error = found("mixed").unwrap_err();
    assert!(error.message.contains("`mixed/a.csv`, `mixed/b.csv`") && error.hint.unwrap().contains("`mixed/*`"));
    assert_eq!(found("mixed/*").unwrap(), ["mixed/a.csv", "mixed/b.csv"]);
    assert_eq!(found("*/?.csv").unwrap(), ["mixed/a.csv", "mixed/b.csv"]);
    assert_eq!(found("**/*.parquet").unwrap().len(), 2);
    assert!(found("*.csv").unwrap_err().message.contains("`*.csv`"), "a star stays in its folder");
}

fn separated(name: &str, text: impl AsRef<[u8]>, settings: serde_json::Value) -> Result<Vec<Row>, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    let kind = if name.ends_with("csv") { "csv" } else { "tsv" };
    let format: Format = serde_json::from_value(json!({ kind: settings })).unwrap();
    read(&path, Some(&format), &mut |_| ()).map_err(|error| Error {
        place: error.place.map(|place| place.replace(&format!("{}/", folder.path().display()), "")),
        ..error
    })
}

#[test]
fn separated_fields_are_texts_by_the_names_of_the_first_line() {
    let rows = read_text("t.csv", "\u{feff}id,text\r\n1,\"a, \"\"b\"\"\nc\"\r\n\r\n2,\n").unwrap();
    assert_eq!(values(&rows), json!([{"id": "1", "text": "a, \"b\"\nc"}, {"id": "2", "text": ""}]));
    let rows = read_text("t.tsv", "a\tb\n 1\t\"x\ty\"\n").unwrap();
    assert_eq!(values(&rows), json!([{"a": " 1", "b": "x\ty"}]));
    assert_eq!(read_text("t.csv", "a,b\n").unwrap().len(), 0);
}

#[test]
fn quotation_marks_may_be_plain_characters() {
    let text = "a\tb\n1\t\"He said\n2\tx\" y\n";
    let rows = separated("t.tsv", text, json!({"quoting": "none"})).unwrap();
    assert_eq!(values(&rows), json!([{"a": "1", "b": "\"He said"}, {"a": "2", "b": "x\" y"}]));
    // Read with quotes, the second row is lost in the first: that is told.
    let mut warnings = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.tsv");
    fs::write(&path, text.replace("x\" y", "x\"")).unwrap();
    assert_eq!(read(&path, None, &mut |warning| warnings.push(warning)).unwrap().len(), 1);
    assert!(warnings[0].contains("1 rows") && warnings[0].contains("`quoting: none`"), "{warnings:?}");
    let error = separated("t.csv", "a,b\n1,x\n2,\"open\n3,y\n", json!({})).unwrap_err();
    assert_eq!(error.place.as_deref(), Some("t.csv:3"));
    assert!(error.message.contains("never closed"), "{error}");
}

#[test]
fn columns_may_be_named_and_lines_passed_over() {
    let settings = json!({"columns": ["x", "y"], "skip": 1});
    let rows = separated("t.tsv", "#1 X\t#2 Y\n1\t2\n", settings).unwrap();
    assert_eq!(values(&rows), json!([{"x": "1", "y": "2"}]));
    let rows = separated("t.tsv", "1\t2\n", json!({"columns": ["x", "y"]})).unwrap();
    assert_eq!(values(&rows), json!([{"x": "1", "y": "2"}]));
    let error = read_text("t.csv", "a,b,a\n").unwrap_err();
    assert_eq!((error.message.as_str(), error.place.as_deref()), ("two columns are named `a`", Some("t.csv:1")));
    let error = read_text("t.csv", "a\tb\n").unwrap_err();
    assert!(error.hint.unwrap().contains("format: tsv"));
}

#[test]
fn rows_of_another_length_are_told_or_declared() {
    let text = "a,b\n1,2\n\n3\n4,5,6\n";
    let error = read_text("t.csv", text).unwrap_err();
    assert_eq!(error.message, "this row has 1 field, and there are 2 columns");
    assert_eq!(error.place.as_deref(), Some("t.csv:4"));
    let error = separated("t.csv", text, json!({"short_rows": "fill"})).unwrap_err();
    assert_eq!(error.message, "this row has 3 fields, and there are 2 columns");
    assert!(error.place.as_deref() == Some("t.csv:5") && error.hint.unwrap().contains("long_rows: cut"));
    let rows = separated("t.csv", text, json!({"short_rows": "fill", "long_rows": "cut"})).unwrap();
    assert_eq!(values(&rows), json!([{"a": "1", "b": "2"}, {"a": "3", "b": null}, {"a": "4", "b": "5"}]));
}

#[test]
fn bytes_that_are_no_utf_8_are_told_with_row_and_line() {
    let error = read_text("t.csv", b"a,b\n1,x\n2,caf\xE9\n").unwrap_err();
    assert_eq!(error.place.as_deref(), Some("t.csv:3"));
    assert_eq!(error.message, "row 2, column `b` is not UTF-8: byte 0xE9 after 3 bytes");
    assert!(error.hint.unwrap().contains("iconv"));
    assert_eq!(read_text("t.jsonl", b"{\"a\": 1}\n{\"a\": \"\xE9\"}\n").unwrap_err().place.unwrap(), "t.jsonl:2:8");
    assert!(read_text("t.csv", b"\xFF\xFEa\0").unwrap_err().message.contains("UTF-16"));
}

#[test]
fn a_text_file_may_be_compressed() {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"a,b\n1,2\n").unwrap();
    assert_eq!(values(&read_text("t.csv.gz", encoder.finish().unwrap()).unwrap()), json!([{"a": "1", "b": "2"}]));
}

#[test]
fn parquet_columns_of_every_plain_type_are_values() {
    use std::sync::Arc;

    use arrow::{
        array::*,
        datatypes::{DataType, Field, Fields, Int8Type, Int32Type, Schema, TimeUnit},
    };

    let mut maps = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    maps.keys().append_value("k");
    maps.values().append_value(7);
    maps.append(true).unwrap();
    maps.append(false).unwrap();
    let strings = StringArray::from(vec![Some("é"), None]);
    let inner: Fields = vec![Field::new("x", DataType::Int32, true), Field::new("s", DataType::Utf8, true)].into();
    let structs = StructArray::new(
        inner,
        vec![Arc::new(Int32Array::from(vec![Some(1), None])), Arc::new(strings.clone())],
        Some(vec![true, false].into()),
    );
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), Some(Vec::new())]);
    let decimals = Decimal128Array::from(vec![Some(12345), None]).with_precision_and_scale(10, 2).unwrap();
    let words: DictionaryArray<Int8Type> = vec![Some("w"), None].into_iter().collect();
    let columns: Vec<(&str, ArrayRef, [serde_json::Value; 2])> = vec![
        ("strings", Arc::new(strings), [json!("é"), json!(null)]),
        ("large", Arc::new(LargeStringArray::from(vec!["a", "b"])), [json!("a"), json!("b")]),
        (
            "views",
            Arc::new(StringViewArray::from(vec!["a", "a text that is longer than twelve"])),
            [json!("a"), json!("a text that is longer than twelve")],
        ),
        ("binary", Arc::new(BinaryArray::from(vec![b"text".as_slice(), b"\xFF\x00"])), [json!("text"), json!("ff00")]),
        ("flags", Arc::new(BooleanArray::from(vec![Some(true), None])), [json!(true), json!(null)]),
        ("bytes", Arc::new(Int8Array::from(vec![-1, 2])), [json!(-1), json!(2)]),
        ("big", Arc::new(UInt64Array::from(vec![u64::MAX, 0])), [json!(u64::MAX), json!(0)]),
        ("floats", Arc::new(Float32Array::from(vec![0.1, f32::NAN])), [json!(0.1), json!(null)]),
        ("doubles", Arc::new(Float64Array::from(vec![1e-9, f64::INFINITY])), [json!(1e-9), json!(null)]),
        ("decimals", Arc::new(decimals), [json!(123.45), json!(null)]),
        ("days", Arc::new(Date32Array::from(vec![0, 19_000])), [json!("1970-01-01"), json!("2022-01-08")]),
        (
            "times",
            Arc::new(TimestampMillisecondArray::from(vec![Some(1), None])),
            [json!("1970-01-01T00:00:00.001"), json!(null)],
        ),
        ("words", Arc::new(words), [json!("w"), json!(null)]),
        ("lists", Arc::new(lists), [json!([1, null]), json!([])]),
        ("structs", Arc::new(structs), [json!({"x": 1, "s": "é"}), json!(null)]),
        ("maps", Arc::new(maps.finish()), [json!({"k": 7}), json!(null)]),
    ];
    assert!(matches!(columns[11].1.data_type(), DataType::Timestamp(TimeUnit::Millisecond, None)));
    let fields: Vec<Field> =
        columns.iter().map(|(name, column, _)| Field::new(*name, column.data_type().clone(), true)).collect();
    let batch = RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns.iter().map(|(_, column, _)| Arc::clone(column)).collect(),
    )
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    // Known by its first bytes, whatever its name.
    let path = folder.path().join("rows");
    let mut writer =
        ::parquet::arrow::ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let rows = read(&path, None, &mut |_| ()).unwrap();
    assert_eq!(rows.len(), 2);
    for (name, _, expected) in &columns {
        for (row, value) in rows.iter().zip(expected) {
            assert_eq!(&row[*name], value, "{name}");
        }
    }
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(read(&path, None, &mut |_| ()).unwrap_err().hint.unwrap().contains("cut"));
}

#[test]
fn a_file_is_found_by_its_stem() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["train.json", "deep/validation.jsonl", "deep/train.json", "one/twice.json", "two/twice.json"] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    assert_eq!(found(folder.path(), "train").unwrap(), ["train.json"]);
    assert_eq!(found(folder.path(), "validation").unwrap(), ["deep/validation.jsonl"]);
    assert_eq!(found(folder.path(), "deep/train").unwrap(), ["deep/train.json"]);
    assert_eq!(found(folder.path(), "two/twice.json").unwrap(), ["two/twice.json"]);
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
    let names = |rows: &Rows| (0..rows.len()).map(|row| rows.id(row).into_owned()).collect::<Vec<_>>();
    assert_eq!(names(&rows(json!(["a", 7]))), ["a", "7"]);
    assert_eq!(names(&rows(json!(["a", null]))), ["0", "1"]);
    let repeated = rows(json!(["a", "a", "b"]));
    assert_eq!(names(&repeated), ["0", "1", "2"]);
    assert!(repeated.warning.unwrap().starts_with("1 rows repeat"));
}

#[test]
fn json_lines_that_stay_in_their_files_are_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let long: String =
        (0..9000).map(|row| format!("{{\"id\": {row}, \"text\": \"{}\"}}\n", "é".repeat(row % 600))).collect();
    assert!(long.len() > 4 << 20, "several blocks");
    let paths = [
        file("a.jsonl", "\n {\"id\": \"x\", \"b\": 1} \r\n\t\n{\"id\": \"y\"}"),
        file("empty.jsonl", ""),
        file("b.ndjson", &long),
        file("c.jsonl", "{\"id\": \"last\"}\n"),
    ];
    for some in [&paths[..], &paths[..1], &paths[2..]] {
        let read: Vec<Row> = some.iter().flat_map(|path| read(path, None, &mut |_| ()).unwrap()).collect();
        let (held, in_files) = (Rows::new(read), Rows::in_files(some, None).unwrap().unwrap());
        assert_eq!(held.len(), in_files.len());
        for row in 0..held.len() {
            assert_eq!(held.row(row).unwrap(), in_files.row(row).unwrap(), "row {row}");
            assert_eq!(held.id(row), in_files.id(row));
        }
    }
    let named = Some(Format::Jsonl(Default::default()));
    let plain = file("plain", "{\"a\": 1}\n{\"id\": 1}\n");
    let rows = Rows::in_files(std::slice::from_ref(&plain), named.as_ref()).unwrap().unwrap();
    assert_eq!((rows.len(), rows.id(1).as_ref()), (2, "1"), "one row has no id of its own");
    fs::write(&plain, "{\"a\": 1}\n{\"id\": ?}\n").unwrap();
    assert!(rows.row(1).unwrap_err().message.starts_with("row 2 is no row any more"));
    for (name, text) in [
        ("t.json", "{\"a\": 1}\n{\"a\": 2}\n"),
        ("t.jsonl", "\u{feff}{\"a\": 1}\n"),
        ("t.jsonl", "{\"a\": 1}\n[2]\n"),
        ("t.jsonl", "{\"a\": 1}\n{\"a\": \n"),
    ] {
        assert!(Rows::in_files(&[file(name, text)], None).unwrap().is_none(), "{text}");
    }
}
