//! METEOR against NLTK: every case of the vectors.

use serde_json::Value;

use super::*;

type Stem = fn(&str) -> String;

struct Given(HashMap<String, Vec<String>>);

impl Synonyms for Given {
    fn of(&self, word: &str) -> Vec<String> {
        self.0.get(word).cloned().unwrap_or_default()
    }

    fn source(&self) -> String {
        "given".to_owned()
    }
}

fn cases() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/meteor.json");
    let mut vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    vectors["cases"].take().as_array().unwrap().clone()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn close(found: f64, wanted: f64, what: &str) {
    assert!((found - wanted).abs() <= 1e-12 * wanted.abs(), "{what}: {found}, not {wanted}");
}

#[test]
fn every_case_of_tokens() {
    let stems: [(&str, Stem); 3] =
        [("porter", porter::stem), ("snowball_russian", russian::stem), ("none", str::to_owned)];
    let mut compared = 0;
    for case in cases().iter().filter(|case| case["pred_tokens"].is_array()) {
        let lower = |list: &Value| -> Vec<String> { texts(list).iter().map(|word| word.to_lowercase()).collect() };
        let answer = lower(&case["pred_tokens"]);
        let references: Vec<Vec<String>> = case["ref_tokens"].as_array().unwrap().iter().map(lower).collect();
        let synonyms = Given(
            case["synonyms"].as_object().unwrap().iter().map(|(word, list)| (word.clone(), texts(list))).collect(),
        );
        for (name, stem) in stems {
            let expected = &case["expected"][name];
            let what = format!("{} {name}", case["id"]);
            for (at, reference) in references.iter().enumerate() {
                let pairs = align(&answer, reference, stem, Some(&synonyms));
                let wanted: Vec<(usize, usize)> =
                    serde_json::from_value(expected["matches_per_ref"][at].clone()).unwrap();
                assert_eq!(pairs, wanted, "{what}");
            }
            let synonyms: Arc<dyn Synonyms> = Arc::new(Given(synonyms.0.clone()));
            for (setting, [alpha, beta, gamma]) in [("default", [0.9, 3.0, 0.5]), ("a08_b15_g02", [0.8, 1.5, 0.2])] {
                let settings = metric::Meteor { alpha, beta, gamma, ..metric::Meteor::default() };
                let metric = Meteor::new(&settings).with_synonyms(Arc::clone(&synonyms));
                let with = WithStems { metric: &metric, stem, name };
                let found = references.iter().map(|reference| with.score(&answer, reference)).fold(0.0, f64::max);
                close(found, expected[setting].as_f64().unwrap(), &format!("{what} {setting}"));
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 142 * 3 * 2);
}

#[test]
fn every_corpus() {
    let mut compared = 0;
    for case in cases().iter().filter(|case| case["predictions"].is_array()) {
        let references = case["references"].as_array().unwrap().iter().map(texts);
        let rows: Vec<TextRow> = texts(&case["predictions"])
            .into_iter()
            .zip(references)
            .map(|(answer, references)| TextRow::new(Some(answer), references))
            .collect();
        let porter = metric::Meteor { stem: MeteorStem::Porter, ..metric::Meteor::default() };
        let found = Meteor::new(&porter).count(&rows).summary["meteor"];
        close(found, 100.0 * case["expected"]["porter"]["default"].as_f64().unwrap(), case["id"].as_str().unwrap());
        compared += 1;
    }
    assert_eq!(compared, 12);
}

#[test]
fn the_references_choose_the_stems() {
    let row = |answer: &str, reference: &str| TextRow::new(Some(answer.to_owned()), vec![reference.to_owned()]);
    let metric = Meteor::new(&metric::Meteor::default());
    let russian = metric.count(&[row("кошки", "кошка")]);
    assert_eq!(russian.summary["meteor"], 50.0);
    let wanted = "nrefs:1|tok:nltk|stem:russian[auto]|syn:none|alpha:0.9|beta:3|gamma:0.5|like:nltk-3.10.4|version:1";
    assert_eq!(russian.signature, wanted);
    let english = metric.count(&[row("cats", "cat"), TextRow::new(None, vec!["cat".to_owned()])]);
    assert_eq!(english.summary["meteor"], 25.0);
    assert!(english.signature.contains("stem:porter[auto]"));
}

#[test]
fn long_texts_take_no_square_of_time() {
    let words = |prefix: &str| (0..100_000).map(|number| format!("{prefix}{number} ")).collect::<String>();
    let rows = [TextRow::new(Some(words("a")), vec![words("b")]), TextRow::new(Some(words("c")), vec![words("c")])];
    let counted = Meteor::new(&metric::Meteor::default()).count(&rows);
    assert_eq!(counted.rows[0]["meteor"], 0.0);
    assert!(counted.rows[1]["meteor"] > 0.999);
}
