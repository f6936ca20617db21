//! Files that are no configuration, several, or one with values that nobody would write. Whatever stands in a file, it makes
//! a pipeline that checks, or a message without a place in that pipeline.

use std::fs;

use serde_json::{Map, Value, json};

use super::{super::make, Case, fixtures, project};

#[test]
fn what_is_no_configuration_is_refused_with_what_to_do() {
    let folder = project();
    for (name, words) in [
        ("none.yml", "is no configuration of PEFT, Axolotl or LLaMA-Factory"),
        ("pipeline.yml", "`engine check "),
        (
            "both.yml",
            "could be an Axolotl configuration (`base_model`) or a LLaMA-Factory configuration (`model_name_or_path`)",
        ),
        ("empty.yml", "holds no keys"),
        ("list.yml", "holds no keys"),
        ("binary.yml", "is not UTF-8"),
        ("twice.yml", "duplicate entry"),
        ("documents.yml", "more than one document"),
        ("preferences.yml", "`rl: dpo` learns from preferences"),
        ("rewards.yml", "`stage: ppo` learns from preferences"),
        ("method.yml", "`finetuning_type: oft` is no method"),
        ("no_rows.yml", "names no data set"),
        ("adalora.json", "`peft_type: ADALORA` is no method"),
        ("broken.json", "cannot be read"),
        ("anchor.yml", "cannot be read"),
        ("laughs.yml", "cannot be read"),
        ("deep.yml", "brackets are open"),
        ("absent.yml", "cannot read"),
    ] {
        let faults = make(&fixtures().join("refused").join(name), None, folder.path()).unwrap_err();
        let shown = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(shown.contains(words), "{name}: {shown}");
        assert!(faults.iter().all(|fault| !fault.hint.is_empty() && fault.place.is_none()), "{name}: {shown}");
    }
    // What has no end, and folders that hold everything, are looked at no further.
    assert!(make("/dev/zero".as_ref(), None, folder.path()).unwrap_err()[0].message.contains("is no configuration"));
    for path in ["/", "/dev/zero", "..", "."] {
        let file = folder.path().join("whole.yml");
        fs::write(
            &file,
            format!("base_model: owner/model\nval_set_size: 0.1\ndatasets: [{{path: \"{path}\", type: alpaca}}]\n"),
        )
        .unwrap();
        make(&file, None, folder.path()).unwrap();
    }
    let large = folder.path().join("large.yml");
    fs::write(&large, format!("base_model: {}", "a".repeat(5 << 20))).unwrap();
    assert!(make(&large, None, folder.path()).unwrap_err()[0].message.contains("is no configuration"));
}

#[test]
fn a_list_of_data_sets_that_is_not_there_is_said_as_the_file_has_it() {
    for (set, begins) in [
        ("", "dataset_dir: it is not set, so data sets are looked for in `data`, where there is no readable"),
        ("dataset_dir: elsewhere\n", "dataset_dir: in `elsewhere` there is no readable"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("pipelines")).unwrap();
        let file = folder.path().join("tool.yaml");
        fs::write(&file, format!("model_name_or_path: owner/model\nstage: sft\ndataset: rows\n{set}")).unwrap();
        let left = make(&file, None, folder.path()).unwrap().left;
        let said: Vec<String> = left.iter().map(ToString::to_string).collect();
        assert!(said.iter().any(|line| line.starts_with(&format!("{begins} dataset_info.json"))), "{said:?}");
    }
}

#[test]
fn odd_values_are_listed_and_defaults_stand_in_their_place() {
    for name in ["axolotl/hostile.yml", "llama_factory/hostile.yaml", "peft/hostile.json"] {
        let fixture = fs::read_to_string(fixtures().join(name)).unwrap();
        let folder = project();
        let file = folder.path().join("odd");
        fs::write(&file, &fixture).unwrap();
        let made = make(&file, None, folder.path());
        if name.starts_with("llama") {
            // Nothing is left of its data sets.
            assert!(made.unwrap_err()[0].message.contains("names no data set"));
            continue;
        }
        let imported = made.unwrap_or_else(|faults| panic!("{name}: {faults:?}"));
        assert!(!imported.pipeline.contains("must-not-be-shown"), "{}", imported.pipeline);
        assert!(!imported.pipeline.contains(['\u{1b}', '\u{202e}']), "{}", imported.pipeline);
    }
    let case = Case::of("axolotl/hostile.yml");
    assert!(case.why("some_api_key").contains("(hidden)"));
    assert!(case.why("lora_r").contains("a whole number from 1 on"));
    for key in [
        "lora_alpha",
        "lora_dropout",
        "weight_decay",
        "num_epochs",
        "seed",
        "val_set_size",
        "1",
        "datasets.1",
        "[\"a\",\"list\"]",
    ] {
        case.why(key);
    }
    let spec::adapter::Adapter::Lora(lora) = case.adapter() else { panic!() };
    assert_eq!((lora.alpha, lora.dropout), (8.0, 0.0));
}

/// Values that stand where none of their kind was meant.
fn odd() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(0),
        json!(0.5),
        json!(1e308),
        json!(u64::MAX),
        json!(""),
        json!("${vars.x}: \"a\"\n# b\u{2028}{{ c }}{% d"),
        json!([[1], {"a": null}, "x"]),
        json!({"a": {"b": [null]}, "${x}": 1, "": "y"}),
    ]
}

#[test]
fn whatever_stands_under_a_key_makes_a_sound_pipeline_or_a_message() {
    let folder = project();
    let mut made = 0;
    for group in ["axolotl", "llama_factory", "peft"] {
        for entry in fs::read_dir(fixtures().join(group)).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            let Ok(Value::Object(whole)) = serde_yaml::from_str::<Value>(&text) else { continue };
            let file = folder.path().join("odd.json");
            for path in paths(&whole) {
                for value in odd() {
                    let mut changed = Value::Object(whole.clone());
                    *changed.pointer_mut(&path).unwrap() = value;
                    fs::write(&file, changed.to_string()).unwrap();
                    match make(&file, None, folder.path()) {
                        Ok(_) => made += 1,
                        Err(faults) => {
                            let sound = faults.iter().all(|fault| fault.place.is_none());
                            assert!(sound, "{path} of {changed}: {}", faults[0]);
                        }
                    }
                }
            }
        }
    }
    assert!(made > 2000, "{made}");
}

/// The places of values, down to those within data sets.
fn paths(whole: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Vec<(String, &Value)> =
        whole.iter().map(|(key, value)| (format!("/{}", pointer(key)), value)).collect();
    while let Some((path, value)) = open.pop() {
        match value {
            Value::Object(map) => {
                open.extend(map.iter().map(|(key, value)| (format!("{path}/{}", pointer(key)), value)))
            }
            Value::Array(list) => {
                open.extend(list.iter().enumerate().map(|(number, value)| (format!("{path}/{number}"), value)));
            }
            _ => {}
        }
        found.push(path);
    }
    found
}

fn pointer(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[test]
fn every_key_is_carried_over_or_known_or_listed() {
    let folder = project();
    for (group, first) in [("axolotl", "lora.yml"), ("llama_factory", "lora.yaml"), ("peft", "lora.json")] {
        let text = fs::read_to_string(fixtures().join(group).join(first)).unwrap();
        let Ok(Value::Object(mut whole)) = serde_yaml::from_str::<Value>(&text) else { panic!() };
        whole.insert("no_such_key".into(), json!({"of": "nobody"}));
        let file = folder.path().join("unknown.json");
        fs::write(&file, Value::Object(whole).to_string()).unwrap();
        let left = make(&file, None, folder.path()).unwrap().left;
        let line = left.iter().find(|line| line.key == "no_such_key").unwrap();
        assert!(line.to_string().starts_with("no_such_key: {\"of\":\"nobody\"}: unknown"), "{line}");
    }
}
