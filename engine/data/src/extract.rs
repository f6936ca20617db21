//! What of a generated text is the answer, for generate-and-parse: text behind a marker, then the first of some words. As
//! LLM-Adapters and DoRA's scripts read answers. Knows no model and no metric.

use spec::extract::Extract;

/// The answer in a text: what stands behind the last `after`, without white space at both ends; in it the word of `first_of`
/// that begins first, whatever stands beside it. Nothing where no such word is there; a text without the marker is
/// taken whole.
pub fn extract(text: &str, rule: &Extract) -> Option<String> {
    let behind = match &rule.after {
        Some(marker) => text.rfind(marker.as_str()).map_or(text, |at| &text[at + marker.len()..]),
        None => text,
    };
    let behind = crate::metrics::strip(behind);
    if rule.first_of.is_empty() {
        return Some(behind.to_owned());
    }
    // Of words that begin at one place, the one that is named first, as an alternation of a regular expression.
    let place = |word: &&String| behind.find(word.as_str()).unwrap_or(usize::MAX);
    let first = rule.first_of.iter().filter(|word| behind.contains(word.as_str())).min_by_key(place);
    first.cloned()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn vectors() -> Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/llm_adapters.json");
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn words(task: &str) -> Vec<String> {
        let numbered = |word: &str, count: usize| (1..=count).map(|number| format!("{word}{number}")).collect();
        match task {
            "boolq" => vec!["true".to_owned(), "false".to_owned()],
            "piqa" => numbered("solution", 2),
            "social_i_qa" | "ARC-Challenge" | "ARC-Easy" | "openbookqa" => numbered("answer", 5),
            "hellaswag" => numbered("ending", 4),
            "winogrande" => numbered("option", 2),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn every_case_of_llm_adapters() {
        let mut compared = 0;
        for case in vectors()["cases"].as_array().unwrap() {
            for (task, expected) in case["expected"].as_object().unwrap() {
                let rule = Extract { after: None, first_of: words(task) };
                let found = extract(case["output"].as_str().unwrap(), &rule).unwrap_or_default();
                let what = format!("{} {task}", case["id"]);
                assert_eq!(found, expected["answer"].as_str().unwrap(), "{what}");
                let is_right = found == case["gold"][task].as_str().unwrap();
                assert_eq!(is_right, expected["correct"].as_bool().unwrap(), "{what}");
                compared += 1;
            }
        }
        assert_eq!(compared, 42 * 8);
    }

    #[test]
    fn the_response_is_what_stands_behind_the_last_marker() {
        let rule = Extract { after: Some("### Response:".to_owned()), first_of: Vec::new() };
        let cases = vectors();
        let decoded = cases["decoded"].as_array().unwrap();
        assert_eq!(decoded.len(), 8);
        for case in decoded {
            let found = extract(case["decoded"].as_str().unwrap(), &rule).unwrap();
            // DoRA's script takes what stands behind the last marker, LLM-Adapters' what stands between the first two.
            assert_eq!(found, case["expected"]["dora_index_last"].as_str().unwrap(), "{}", case["id"]);
        }
    }

    #[test]
    fn no_word_is_no_answer() {
        let rule = Extract { after: Some("A:".to_owned()), first_of: vec!["yes".to_owned(), "no".to_owned()] };
        assert_eq!(extract("A: yes A: perhaps", &rule), None);
        assert_eq!(extract("no or yes", &rule).as_deref(), Some("no"));
    }
}
