//! The first rows of a tokenized split, whatever its form: which tokens there are, and which of them count.

use std::path::{Path, PathBuf};

use crate::common::{Done, Project};
use data::preview::{self, Token, TokenizedRow};
use serde_json::{Value, json};

fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/tiny_models").join(name)
}

/// Two rows by a template, tokenized with the tokenizer of a small model.
fn shown(template: &str, tokenizer: &str, more: Value) -> Vec<TokenizedRow> {
    let project = Project::new();
    project.write("templates/t.jinja", template);
    let row = |at: usize| {
        let (question, text) = ("Where is it?", "She said it is in the old house.");
        json!({"id": format!("r{at}"), "question": question, "text": text, "label": (["no", "yes"][at % 2])})
    };
    project.write("rows/train.json", json!([row(0), row(1), row(2)]).to_string());
    let examples = project.preprocess("examples", json!({"train": {"from": "train"}}), 1).unwrap();
    let mut settings = json!({"max_length": 64});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let done: Done = project.tokenize("tokens", &examples, Some(&model(tokenizer)), settings, 1).unwrap();
    preview::tokenized(&done.result, "train", 2).unwrap()
}

/// The text of the tokens that count, and of those that do not, without the marks of white space.
fn parted(tokens: &[Token]) -> (String, String) {
    let text = |loss: bool| -> String {
        let own = tokens.iter().filter(|token| token.loss == loss).map(|token| token.text.as_str());
        own.collect::<String>().replace(['Ġ', '▁'], " ")
    };
    (text(true).trim().to_owned(), text(false).trim().to_owned())
}

#[test]
fn a_text_has_its_label_and_no_token_with_loss() {
    let template = "{% block prompt %}{{ question }}{% endblock %}{% block pair %}{{ text }}{% endblock %}{% block label %}{{ label }}{% endblock %}";
    let rows = shown(template, "roberta", json!({"form": "text"}));
    assert_eq!(rows.len(), 2);
    assert_eq!(
        rows.iter().map(|row| row.wanted.as_deref()).collect::<Vec<_>>(),
        [Some("label: no"), Some("label: yes")]
    );
    let (with, without) = parted(&rows[1].tokens);
    assert!(with.is_empty() && without.contains("Where is it?") && without.contains("old house"), "{without}");
}

#[test]
fn an_answer_in_a_text_is_marked_in_the_window_that_holds_it() {
    let template = r#"{% block prompt %}{{ question }}{% endblock %}{% block pair %}{{ text }}{% endblock %}
{% block answers %}{{ [{"text": "the old house", "start": 18}]|tojson }}{% endblock %}"#;
    let whole = shown(template, "roberta", json!({"form": "text"}));
    assert_eq!(parted(&whole[0].tokens).0, "the old house");
    assert_eq!((whole[0].part.as_deref(), whole[0].wanted.as_deref()), (Some("window 1"), None));
    let length = whole[0].tokens.len();
    let windows = json!({"form": "text", "max_length": length - 2, "overflow": {"train": {"windows": {"stride": 1}}}});
    let parts = shown(template, "roberta", windows);
    assert_eq!(parts.iter().map(|row| row.part.as_deref()).collect::<Vec<_>>(), [Some("window 1"), Some("window 2")]);
    assert_eq!(parts[1].wanted.as_deref(), Some("the answer is not in this window"));
}

#[test]
fn an_answer_of_its_own_follows_the_text_and_a_choice_its_prompt() {
    let template = "{% block prompt %}{{ question }}{% endblock %}{% block completion %}{{ text }}{% endblock %}";
    let rows = shown(template, "t5", json!({"form": "seq2seq", "max_length": {"prompt": 64, "completion": 64}}));
    assert_eq!(parted(&rows[0].tokens).0, "");
    let (answer, rest) = parted(&rows[0].answer);
    assert!(answer.contains("old house") && rest.is_empty(), "{answer}");
    let template = r#"{% block prompt %}{{ question }}{% endblock %}{% block choices %}["In a house", "Nowhere"]{% endblock %}
{% block label %}1{% endblock %}"#;
    let rows = shown(template, "llama", json!({"form": "choices"}));
    assert_eq!(rows.iter().map(|row| row.part.as_deref()).collect::<Vec<_>>(), [Some("choice 1"), Some("choice 2")]);
    assert_eq!(parted(&rows[1].tokens).0, "Nowhere");
    assert_eq!(rows[0].wanted.as_deref(), Some("right: choice 2"));
}
