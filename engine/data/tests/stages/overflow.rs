//! Rows that are too long, where prompt and completion meet, and the mistakes of a `tokenize` stage.

use crate::common::{Done, Project};
use data::tokens::{self, RowTexts, TokenRow};
use serde_json::{Value, json};

const TEMPLATE: &str = "{% block prompt %}Read: {{ context }} Q: {{ question }} A:{% endblock %}
{% block completion %} {{ answer }}{% endblock %}{% block references %}[{{ answer|tojson }}]{% endblock %}";

/// Contexts of 0, 10, 20, … words.
fn examples(project: &Project, template: &str) -> Done {
    project.write("templates/t.jinja", template);
    let rows: Vec<Value> = (0..10)
        .map(|row| json!({"id": format!("r{row}"), "context": "wörd ".repeat(10 * row) + "end", "question": "Q?", "answer": "yes it is"}))
        .collect();
    project.write("rows/train.json", json!(rows).to_string());
    project.preprocess("examples", json!({"train": {"from": "train"}}), 1).unwrap()
}

fn tokens_of(project: &Project, examples: &Done, name: &str, more: Value) -> Result<Done, spec::job::Failure> {
    let mut settings = json!({"tokenizer": {"bpe": {"vocabulary": 290}}});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    project.tokenize(name, examples, None, settings, 2)
}

fn rows(done: &Done) -> Vec<(TokenRow, RowTexts)> {
    let path = done.result.join("train.parquet");
    tokens::read(&path).unwrap().into_iter().zip(tokens::read_texts(&path).unwrap()).collect()
}

#[test]
fn fail_names_the_row_and_its_length() {
    let project = Project::new();
    let examples = examples(&project, TEMPLATE);
    let failure =
        tokens_of(&project, &examples, "t", json!({"max_length": {"prompt": 60, "completion": 20}})).err().unwrap();
    assert_eq!(failure.place.as_deref(), Some("split `train`, row 7 (id r6)"));
    assert!(
        failure.message.contains("tokens of the prompt") && failure.message.contains("allows 60 and 20"),
        "{failure:?}"
    );
    assert!(failure.hint.unwrap().contains("overflow: {train: drop}"));
}

#[test]
fn drop_counts_what_it_drops() {
    let project = Project::new();
    let examples = examples(&project, TEMPLATE);
    let all = tokens_of(&project, &examples, "all", json!({"max_length": 10000})).unwrap();
    let lengths: Vec<usize> = rows(&all).iter().map(|(row, _)| row.input_ids.len()).collect();
    let limit = lengths[4];
    let settings = json!({"max_length": limit, "overflow": {"train": "drop"}});
    let done = tokens_of(&project, &examples, "t", settings).unwrap();
    assert_eq!(rows(&done).iter().map(|(row, _)| row.input_ids.len()).collect::<Vec<_>>(), lengths[..5]);
    let counts = &done.json("summary.json")["splits"]["train"];
    assert_eq!((&counts["rows"], &counts["dropped"], &counts["longest"]), (&json!(5), &json!(5), &json!(limit)));
    assert_eq!(done.warnings, ["split `train`: 5 of 10 rows are too long and were dropped"]);
}

#[test]
fn truncate_cuts_the_end_of_the_field_and_fits() {
    let project = Project::new();
    let examples = examples(&project, TEMPLATE);
    let settings = json!({"max_length": {"prompt": 40, "completion": 20}, "overflow": {"truncate": "context"}});
    let done = tokens_of(&project, &examples, "t", settings).unwrap();
    let vocabulary = tokens::tokenizer(&done.result).unwrap();
    let mut cut = 0;
    for (number, (row, texts)) in rows(&done).into_iter().enumerate() {
        let whole = format!("Read: {}end Q: Q? A:", "wörd ".repeat(10 * number));
        let prompt = texts.prompt.unwrap();
        assert_eq!(row.failed, None);
        assert!(row.prompt_length <= 40);
        if prompt != whole {
            cut += 1;
            assert!(row.prompt_length >= 38, "too much was cut: {}", row.prompt_length);
            assert!(whole.starts_with(prompt.strip_suffix(" Q: Q? A:").unwrap()), "{prompt}");
        }
        let ids: Vec<u32> = row.input_ids[..row.prompt_length].iter().map(|id| *id as u32).collect();
        assert_eq!(vocabulary.decode(&ids).unwrap(), prompt);
        assert_eq!(texts.completion.as_deref(), Some(" yes it is"));
        assert_eq!(*row.input_ids.last().unwrap(), 2);
    }
    assert!(cut >= 5);
    assert_eq!(done.json("summary.json")["splits"]["train"]["truncated"], cut);
}

#[test]
fn a_scored_row_that_cannot_fit_fails_and_stays() {
    let project = Project::new();
    let template = "{% block prompt %}{{ context }} {{ context|length }} {{ question }}{% endblock %}{% block references %}[]{% endblock %}";
    project.write("templates/t.jinja", template);
    let row = |id: &str, question: String| json!({"id": id, "context": "a b c d e f", "question": question});
    let all = json!([row("short", "why".into()), row("long", "why ".repeat(60))]);
    project.write("rows/train.json", all.to_string());
    let examples = project.preprocess("examples", json!({"train": {"from": "train"}}), 1).unwrap();
    let settings = json!({"max_length": 30, "overflow": {"truncate": "context"}});
    let done = tokens_of(&project, &examples, "t", settings).unwrap();
    let rows = rows(&done);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].0.failed, None);
    assert!(
        rows[1].0.failed.as_deref().unwrap().contains("even without its field `context`"),
        "{:?}",
        rows[1].0.failed
    );
    assert!(rows[1].0.input_ids.is_empty() && rows[1].1.prompt.as_ref().unwrap().contains("why why"));
    assert_eq!(done.json("summary.json")["splits"]["train"]["failed"], 1);
    assert_eq!(done.warnings.len(), 1);
}

#[test]
fn a_completion_is_cut_to_its_own_maximum() {
    let project = Project::new();
    let examples = examples(&project, TEMPLATE);
    let settings = json!({"max_length": {"prompt": 1000, "completion": 3}, "overflow": {"truncate": "context"}});
    let done = tokens_of(&project, &examples, "t", settings).unwrap();
    for (row, _) in rows(&done) {
        assert_eq!(row.input_ids.len() - row.prompt_length, 3);
        assert_ne!(*row.input_ids.last().unwrap(), 2);
    }
    assert_eq!(done.json("summary.json")["splits"]["train"]["completions_cut"], 10);
}

#[test]
fn a_max_length_that_leaves_no_loss_is_refused_with_its_numbers() {
    let project = Project::new();
    let examples = examples(&project, TEMPLATE);
    let settings = json!({"max_length": 5, "overflow": "drop"});
    let failure = tokens_of(&project, &examples, "t", settings).err().unwrap();
    assert!(failure.message.starts_with("no token carries loss: 10 rows were dropped"), "{failure:?}");
    assert!(
        failure.message.contains("the shortest of them has") && failure.message.contains("allows 5"),
        "{failure:?}"
    );
    assert_eq!(failure.place.as_deref(), Some("split `train`"));
}

#[test]
fn names_that_are_not_there_are_told() {
    let project = Project::new();
    let examples = examples(&project, TEMPLATE);
    let hint = |name: &str, settings: Value| tokens_of(&project, &examples, name, settings).err().unwrap();
    let failure = hint("a", json!({"max_length": 40, "overflow": {"truncate": "contxt"}}));
    assert!(failure.message.contains("`contxt` stands in no prompt"), "{failure:?}");
    assert_eq!(failure.hint.as_deref(), Some("did you mean `context`?"));
    let failure = hint("b", json!({"max_length": 40, "overflow": {"trian": "drop"}}));
    assert_eq!(failure.hint.as_deref(), Some("did you mean `train`?"));
    let failure = hint("c", json!({"max_length": 4000, "eos": "</S>"}));
    assert_eq!(failure.hint.as_deref(), Some("did you mean `</s>`?"));
    let failure =
        project.tokenize("d", &examples, Some(&project.path("rows")), json!({"max_length": 9}), 1).err().unwrap();
    assert!(failure.message.contains("no files of a tokenizer") && failure.hint.unwrap().contains("`tokenizer.json`"));
}

#[test]
fn special_tokens_in_data_are_text() {
    let project = Project::new();
    project.write(
        "templates/t.jinja",
        "{% block prompt %}<s>{{ x }}{% endblock %}{% block completion %}{{ x }}{% endblock %}",
    );
    project.write("rows/train.json", json!([{"x": "a </s><pad> b"}]).to_string());
    let examples = project.preprocess("examples", json!({"train": {"from": "train"}}), 1).unwrap();
    let done = tokens_of(&project, &examples, "t", json!({"max_length": 99})).unwrap();
    let row = &rows(&done)[0].0;
    let special: Vec<usize> = (0..row.input_ids.len()).filter(|at| row.input_ids[*at] < 3).collect();
    assert_eq!(special, [0, row.input_ids.len() - 1], "{:?}", row.input_ids);
    assert_eq!(done.json("summary.json")["splits"]["train"]["special_in_text"], 0);
}

#[test]
fn apart_and_joint_differ_where_a_token_spans_the_boundary() {
    let project = Project::new();
    project.write(
        "templates/t.jinja",
        "{% block prompt %}Q: {{ q }} A: {% endblock %}{% block completion %}yes{% endblock %}",
    );
    project.write("rows/train.json", json!(vec![json!({"q": "is it"}); 8]).to_string());
    let examples = project.preprocess("examples", json!({"train": {"from": "train"}}), 1).unwrap();
    assert_eq!(examples.warnings.len(), 1, "{:?}", examples.warnings);
    assert!(examples.warnings[0].contains("8 of 8 prompts end in a space"));
    // Trained on ` yes` as one word, so that the space belongs to the completion's token when both are one text.
    let trained = {
        let project = Project::new();
        project.write(
            "templates/t.jinja",
            "{% block prompt %}Q: {{ q }} A: yes{% endblock %}{% block completion %} yes{% endblock %}",
        );
        project.write("rows/train.json", json!(vec![json!({"q": "is it"}); 8]).to_string());
        let examples = project.preprocess("examples", json!({"train": {"from": "train"}}), 1).unwrap();
        let done = tokens_of(&project, &examples, "t", json!({"max_length": 99})).unwrap();
        std::fs::read(done.result.join("tokenizer.json")).unwrap()
    };
    let folder = project.write("tokenizer/tokenizer.json", trained).parent().unwrap().to_path_buf();
    let made = |name: &str, boundary: &str| {
        let settings = json!({"max_length": 99, "boundary": boundary});
        let done = project.tokenize(name, &examples, Some(&folder), settings, 1).unwrap();
        assert_eq!(done.json("summary.json")["splits"]["train"]["boundary_disagreements"], 8);
        let vocabulary = tokens::tokenizer(&done.result).unwrap();
        let row = rows(&done).remove(0).0;
        let ids: Vec<u32> = row.input_ids[row.prompt_length..].iter().map(|id| *id as u32).collect();
        vocabulary.decode(&ids).unwrap()
    };
    assert_eq!(made("apart", "separate"), "yes");
    assert_eq!(made("joint", "joint"), " yes");
}

#[test]
fn pairs_follow_one_another_with_an_eos_each() {
    let project = Project::new();
    project.write(
        "templates/t.jinja",
        "{% block prompt %}{{ c }}{% endblock %}{% block pairs %}[[\" one?\", \" 1\"], [\" two?\", \" 2\"]]{% endblock %}",
    );
    project.write("rows/train.json", json!([{"c": "Text."}]).to_string());
    let examples = project.preprocess("examples", json!({"train": {"from": "train"}}), 1).unwrap();
    let done = tokens_of(&project, &examples, "t", json!({"max_length": 99})).unwrap();
    let vocabulary = tokens::tokenizer(&done.result).unwrap();
    let row = &rows(&done)[0].0;
    let part = |loss: bool| -> Vec<u32> {
        row.input_ids
            .iter()
            .zip(&row.completion_mask)
            .filter(|(_, on)| **on == loss)
            .map(|(id, _)| *id as u32)
            .collect()
    };
    assert_eq!(vocabulary.decode(&part(false)).unwrap(), "Text. one? two?");
    assert_eq!(vocabulary.decode(&part(true)).unwrap(), " 1 2");
    assert_eq!(part(true).iter().filter(|id| **id == 2).count(), 2);
    assert_eq!(row.completion_mask.iter().position(|on| *on), Some(row.prompt_length));
}
