//! What each kind of stage leaves on a fixed project: when its bytes change, its version must, or results of the old code
//! would be taken for those of the new.
//!
//! `stage_digests.txt` holds a line for each kind: its name, its version, the kind of processor that the bytes hold for (or
//! `any`), and their digest. Tensors are computed by other instructions on other processors.

use std::collections::BTreeMap;

use plan::{digest::Digest, graph::Graph};
use spec::{pipeline::Pipeline, text::Source};

use crate::{
    project::{FILE, worker},
    tiny::{self, DATA, TRAINING},
};

const KEPT: &str = include_str!("stage_digests.txt");

/// What `tiny` lacks.
const MORE: &str = r#"
  whole: {kind: merge, resources: {cpu: 1}, model: "tuned[method=lora]"}
  surprise:
    kind: evaluate
    resources: {cpu: 1}
    model: tuned
    data: tokens/test
    protocol: {perplexity: {loss_on: all}}
    metrics: [perplexity]
  winner: {kind: select, from: surprise, best: {metric: perplexity.perplexity, mode: min}}
  looked_at:
    kind: inspect
    resources: {cpu: 1}
    models: tuned
    analyses: [update_norms, subspaces, {subspaces: {of: update}}, amplification, magnitude_direction]
  counted:
    kind: command
    run: [sh, -c, 'wc -c < "$1/train.jsonl" > text', sh, "${in.rows}"]
    in: {rows: raw}
    out: {text: text}
"#;

/// The kind of processor: libtorch chooses its instructions by it.
fn processor() -> String {
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = about.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split(':').nth(1)).unwrap_or("?").trim().to_owned()
    };
    ["vendor_id", "cpu family", "model"].map(field).join("-")
}

#[test]
fn bytes_change_only_with_the_version_of_their_kind() {
    worker();
    let project = tiny::with_rows(&format!("{DATA}{TRAINING}{MORE}"));
    project.run(&[]).exit(0);
    let pipeline = Pipeline::read(Source::new(FILE, project.text(FILE)), None, &[]).unwrap();
    let graph = Graph::expand(&pipeline).unwrap();
    let mut left: BTreeMap<(&str, u32), Vec<String>> = BTreeMap::new();
    for stage in &graph.stages {
        let node = graph.node(stage.members[0]);
        let lines: Vec<String> = match stage.kind.as_str() {
            // It shows times and memory; its other figures are the same each time.
            "report" => {
                let text = project.text(&format!("outputs/p/{}/metrics.csv", stage.name));
                let is_measured =
                    |line: &&str| ["seconds", "per_second", "memory"].iter().any(|word| line.contains(word));
                text.lines().filter(|line| !is_measured(line)).map(|line| format!("{line}\n")).collect()
            }
            _ => project
                .left(&stage.name)
                .into_iter()
                .map(|(path, digest)| format!("{}/{path} {digest}\n", stage.name))
                .collect(),
        };
        left.entry((node.settings.kind(), node.settings.version())).or_default().extend(lines);
    }
    let is_kept = |kind: &str, version: u32| KEPT.lines().any(|line| line.starts_with(&format!("{kind} {version} ")));
    let mut changed = Vec::new();
    for ((kind, version), lines) in &left {
        let computes = ["train", "evaluate", "merge", "select", "inspect", "report"].contains(kind);
        let class = if computes { processor() } else { "any".to_owned() };
        let now = format!("{kind} {version} {class} {}", Digest::of(lines.concat().as_bytes()));
        let known = KEPT.lines().find(|line| line.starts_with(&format!("{kind} {version} {class} ")));
        match known {
            Some(known) if known == now => {}
            None if computes && is_kept(kind, *version) => println!("none is kept for this processor: {now}"),
            _ => changed.push(now),
        }
    }
    assert!(
        changed.is_empty(),
        "the bytes that these kinds leave have changed; raise `VERSION` in engine/spec/src/stage/KIND.rs, or, if only the \
         fixture changed, write into tests/whole/stage_digests.txt:\n{}",
        changed.join("\n")
    );
    let kinds: Vec<&str> = left.keys().map(|(kind, _)| *kind).collect();
    let mut all = spec::stage::Stage::KINDS.to_vec();
    all.sort_unstable();
    assert_eq!(kinds, all, "each kind is here");
}
