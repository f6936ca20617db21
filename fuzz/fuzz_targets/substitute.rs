//! `${…}` in any text. The first line is the text; each further line is a variable of `vars`, as YAML: `a`, `b`, `c`, …
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_yaml::Value;
use spec::text::{Scope, YamlPath, substitute, uses};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let value = Value::String(lines.next().unwrap_or_default().to_owned());
    let values: Vec<Value> = lines.take(NAMES.len()).filter_map(|line| serde_yaml::from_str(line).ok()).collect();
    let entries = NAMES.iter().zip(&values).map(|(name, value)| (*name, value, YamlPath::keys(["vars", name])));
    let scopes = [Scope::new("vars", entries.collect())];
    let base = YamlPath::keys(["stages", "s"]);
    let _ = uses(&value);
    match substitute(value.clone(), &base, &scopes) {
        Ok(done) => {
            let _ = done.document_path(&base, &YamlPath::keys(["x"]));
        }
        Err(fault) => assert!(!fault.message.is_empty() && !fault.hint.is_empty()),
    }
});
