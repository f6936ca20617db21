//! ROUGE against `rouge_score` with several tokenizers: every case of the vectors.

use serde_json::Value;

use super::*;

fn cases() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/rouge.json");
    let mut vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    vectors["cases"].take().as_array().unwrap().clone()
}

fn rows(case: &Value) -> Vec<TextRow> {
    let text = |text: &Value| text.as_str().unwrap().to_owned();
    let references = case["references"].as_array().unwrap().iter();
    let references = references.map(|list| list.as_array().unwrap().iter().map(text).collect());
    let predictions = case["predictions"].as_array().unwrap().iter();
    predictions.zip(references).map(|(answer, references)| TextRow::new(Some(text(answer)), references)).collect()
}

/// Of the tokenizers in the vectors, two are here alone, so that the scores are compared with them, too.
fn lower_whitespace(text: &str) -> Vec<String> {
    whitespace(&text.to_lowercase())
}

/// rulm's: the letters of English and Russian.
fn rulm(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ('а'..='я').contains(&c) || c == 'ё';
    lower.split(|c| !is_word(c)).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

type Words = fn(&str) -> Vec<String>;

const TOKENIZERS: &[(&str, Words)] = &[
    ("google", google),
    ("google_stem", google_stem),
    ("whitespace", whitespace),
    ("lower_whitespace", lower_whitespace),
    ("rulm", rulm),
    ("xlsum_basic", unicode),
    ("xlsum_basic_ru_stem", unicode_stem),
];

#[test]
fn words_are_cut_as_the_references_cut_them() {
    let mut compared = 0;
    for case in cases().iter().filter(|case| case["pred_tokens"].is_object()) {
        for (name, words) in TOKENIZERS {
            // Of long texts the vectors hold no words.
            let Some(wanted) = case["pred_tokens"][name].as_array() else { continue };
            let wanted: Vec<&str> = wanted.iter().map(|word| word.as_str().unwrap()).collect();
            let found = words(case["predictions"][0].as_str().unwrap());
            assert_eq!(found, wanted, "{} {name}", case["id"]);
            compared += 1;
        }
    }
    assert_eq!(compared, 64 * 7);
}

#[test]
fn every_case_of_the_vectors() {
    let mut compared = 0;
    for case in cases() {
        for (tokenizer, expected) in case["expected"].as_object().unwrap() {
            let Some((_, words)) = TOKENIZERS.iter().find(|(name, _)| name == tokenizer) else {
                // Out of the list: the package `rouge`, which counts sets of n-grams and adds 10⁻⁸.
                assert_eq!(tokenizer, "pltrdy_first_ref");
                continue;
            };
            let metric = WithWords { words: *words, name: String::new() };
            let summary = TextMetric::count(&metric, &rows(&case)).summary;
            for (kind, expected) in expected.as_object().unwrap() {
                for (suffix, one, mean) in
                    [("", "f", "mean_f"), ("_precision", "p", "mean_p"), ("_recall", "r", "mean_r")]
                {
                    let wanted = 100.0 * expected.get(one).unwrap_or(&expected[mean]).as_f64().unwrap();
                    let found = summary[&format!("{kind}{suffix}")];
                    let what = format!("{} {tokenizer} {kind}{suffix}: {found}, not {wanted}", case["id"]);
                    assert!((found - wanted).abs() <= 1e-12 * wanted.abs(), "{what}");
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 79 * 7 * 4 * 3);
}

#[test]
fn letters_of_the_references_choose_the_words() {
    let row = |answer: &str, reference: &str| TextRow::new(Some(answer.to_owned()), vec![reference.to_owned()]);
    let auto = Rouge::default();
    let english = auto.count(&[row("дом", "a house")]);
    assert!(english.signature.contains("tok:google[auto]|"), "{}", english.signature);
    let russian = auto.count(&[row("красивая кошка", "красивой кошки"), row("a", "a")]);
    assert!(russian.signature.contains("tok:unicode_stem[auto]|"), "{}", russian.signature);
    assert_eq!(russian.summary["rouge1"], 100.0);
    let google = Rouge { tokenizer: RougeTokenizer::Google }.count(&[row("красивая кошка", "красивая кошка")]);
    assert_eq!(google.summary["rougeL"], 0.0);
    assert!(google.signature.contains("tok:google|"));
}

#[test]
fn long_texts_take_no_square_of_memory() {
    let long = "ab cd ef gh ij kl mn op qr st\n".repeat(2_000);
    let one_line = long.replace('\n', " ");
    let rows = [
        TextRow::new(Some("x y ".repeat(250_000)), vec!["x y".to_owned()]),
        TextRow::new(Some(one_line.clone()), vec![one_line]),
        TextRow::new(Some("ab".repeat(500_000)), vec![long]),
        TextRow::new(None, vec!["a".to_owned()]),
    ];
    let counted = Rouge::default().count(&rows);
    assert_eq!(counted.rows[1]["rougeLsum"], 1.0);
    assert!(counted.rows[0]["rouge2"] > 0.0);
    assert_eq!((counted.rows[2]["rouge1"], counted.rows[3]["rougeL"]), (0.0, 0.0));
}
