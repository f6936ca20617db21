//! `engine try`: prompts at trained models, by template, by field and raw; what it says where nothing is trained, and that
//! it leaves nothing.

use std::{
    io::Write,
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
    project.run(&["--until", "scores"]).exit(0);
    let lock = project.text("pipelines/p.lock.yaml");
    let predictions = project.text("outputs/p/scores/model=base/predictions.jsonl");
    let rows: Vec<serde_json::Value> = predictions.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let things: String = (40..46).map(|n| format!("thing {n}\n")).collect();
    let said = typed(&project, &["base"], &things);
    said.exit(0);
    for row in &rows {
        let output = row["output"].as_str().unwrap();
        assert!(said.out.contains(output.trim()), "no `{output}` in {:?}", said.out);
    }
    let one = typed(&project, &["base", "--field", "thing=thing 41"], "");
    let raw = typed(&project, &["base", "--raw"], "thing 41 is\n");
    assert_eq!(one.exit(0).out, raw.exit(0).out);
    assert!(said.out.contains(one.out.trim_end()), "{:?} is not in {:?}", one.out, said.out);
    let adapter = typed(&project, &["tuned[method=dora]", "--max-new-tokens", "2"], "thing 3\n");
    adapter.exit(0);
    assert_eq!(project.text("pipelines/p.lock.yaml"), lock);
    project.run(&[]).exit(0).did(&["report"]);
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
