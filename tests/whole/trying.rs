//! `engine try`: prompts at trained models, by template, by field and raw; what it says where nothing is trained, and that
//! it leaves nothing.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    project::{FILE, Project, Said, worker},
    tiny,
};

/// What `engine try` says to these lines.
pub fn typed(project: &Project, words: &[&str], lines: &str) -> Said {
    let mut command: Command = project.command(&[&["try", FILE], words].concat());
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Where the model cannot be asked, nobody reads.
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    Said::from(child.wait_with_output().unwrap())
}

#[test]
fn a_model_answers_line_by_line_as_it_was_evaluated() {
    worker();
    let project = tiny::training();
    let nothing = typed(&project, &["base"], "thing 1\n");
    nothing.exit(1).warns(&["`base` is not made yet", "--until 'base'"]);
    let said = as_evaluated(&project);
    let lock = project.text("pipelines/p.lock.yaml");
    let one = typed(&project, &["base", "--field", "thing=thing 41"], "");
    let raw = typed(&project, &["base", "--raw"], "thing 41 is\n");
    assert_eq!(one.exit(0).out, raw.exit(0).out);
    assert!(said.out.contains(one.out.trim_end()), "{:?} is not in {:?}", one.out, said.out);
    let adapter = typed(&project, &["tuned[method=dora]", "--max-new-tokens", "2"], "thing 3\n");
    adapter.exit(0);
    assert_eq!(project.text("pipelines/p.lock.yaml"), lock);
    project.run(&[]).exit(0).did(&["report"]);
}

/// What the base model says to the test rows, one by one, which is what the evaluate stage had of it, in that order.
fn as_evaluated(project: &Project) -> Said {
    project.run(&["--until", "scores"]).exit(0);
    let predictions = project.text("outputs/p/scores/model=base/predictions.jsonl");
    let rows: Vec<serde_json::Value> = predictions.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let things: String = (40..46).map(|n| format!("thing {n}\n")).collect();
    let said = typed(project, &["base"], &things);
    said.exit(0);
    let mut rest = said.out.as_str();
    for row in &rows {
        let output = row["output"].as_str().unwrap().trim();
        let (_, after) =
            rest.split_once(output).unwrap_or_else(|| panic!("no `{output}` in {rest:?} of {:?}", said.out));
        rest = after;
    }
    assert!(rows.len() == 6 && rows.iter().any(|row| row["output"] != ""), "{rows:?}");
    said
}

/// The chat is written by the tokenizer's template, which is where the tokenizer came from.
#[test]
fn a_prompt_is_put_into_a_chat() {
    worker();
    let chat = tiny::DATA
        .replace("tokenizer: {bpe: {vocabulary: 300}}", "tokenizer: told\n    chat: {system: 'Be brief.'}")
        .replace("max_length: 96", "max_length: 160")
        .replace("  rows:", "  told: {kind: download, from: {path: told}}\n  rows:");
    let project = tiny::with_rows(&format!("{chat}{}", tiny::TRAINING));
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/tests/golden/chats/turns");
    for file in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
        project.file(&format!("told/{file}"), &std::fs::read_to_string(golden.join(file)).unwrap());
    }
    let said = as_evaluated(&project);
    let raw = typed(&project, &["base", "--raw"], "thing 41 is\n");
    assert!(said.out.contains(raw.exit(0).out.trim_end()), "{:?} is not in {:?}", raw.out, said.out);
    let marked = typed(&project, &["base", "--raw"], "<|stop|> thing 41 is\n");
    marked.exit(0);
}

#[test]
fn a_model_whose_texts_have_no_end_is_asked_as_well() {
    worker();
    let endless = tiny::DATA.replace("max_length: 96", "max_length: 96\n    eos: none");
    as_evaluated(&tiny::with_rows(&format!("{endless}{}", tiny::TRAINING)));
}

#[test]
fn what_cannot_be_asked_is_said() {
    worker();
    let project = tiny::training();
    project.run(&["--until", "tuned"]).exit(0);
    let several = typed(&project, &["tuned"], "thing 1\n");
    several.exit(2).warns(&["2 members", "tuned[method=lora]"]);
    typed(&project, &["tokens"], "thing 1\n").exit(1).warns(&["leaves no model"]);
    typed(&project, &["nobody"], "thing 1\n").exit(2).warns(&["nobody"]);
    let long = typed(&project, &["base"], &format!("{}\nthing 2\n", "thing ".repeat(300)));
    long.exit(1).warns(&["max_length"]);
    assert!(!long.out.is_empty(), "the next line is answered: {long:?}");
}
