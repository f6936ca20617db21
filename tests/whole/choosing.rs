//! Choosing a prompt: templates and decodings are tried on rows held out from training, a report ranks them, and later stages
//! go on with the winner.

use serde_json::Value;

use crate::project::{Project, worker};
use crate::tiny;

const STUDY: &str = r#"
stages:
  raw: {kind: download, from: {path: data}}
  rows:
    kind: preprocess
    matrix: {prompt: [ask, short]}
    input: raw
    template: "${matrix.prompt}.jinja"
    splits:
      dev: {from: train, hold_out: {rows: 10, seed: 0}}
      train: {from: train, rest_of: dev}
      test: {from: test}
  pieces:
    kind: tokenize
    input: rows[prompt=ask]
    tokenizer: {bpe: {vocabulary: 300}}
    max_length: 96
  tokens:
    kind: tokenize
    input: rows
    tokenizer: pieces
    max_length: 96
  base:
    kind: train
    resources: {cpu: 1}
    model: {random: {llama: {hidden_size: 16, intermediate_size: 32, num_hidden_layers: 2, num_attention_heads: 2, max_position_embeddings: 96}}}
    data: pieces
    adapter: full
    steps: 150
    batch: {size: 8}
    optimizer: {adamw: {learning_rate: 1e-2}}
  tried:
    kind: evaluate
    resources: {cpu: 1}
    matrix:
      decode:
        greedy: greedy
        hot: {sample: {temperature: 1.5}}
    model: base
    data: tokens/dev
    protocol: {generate: {decode: "${matrix.decode}", max_new_tokens: 4}}
    metrics: [chrf]
  ranking:
    kind: report
    inputs: [tried]
    table: {rank_by: chrf.chrf}
  winner:
    kind: select
    from: tried
    best: {metric: chrf.chrf, mode: max}
  tuned:
    kind: train
    resources: {cpu: 1}
    model: base
    data: tokens[prompt=${winner.prompt}]
    adapter: {lora: {rank: 2, alpha: 4, targets: [attention.q]}}
    steps: 2
    batch: {size: 8}
  scores:
    kind: evaluate
    resources: {cpu: 1}
    model: tuned
    data: tokens[prompt=${winner.prompt}]/test
    protocol: {generate: {decode: "${winner.decode}", max_new_tokens: 4}}
    metrics: [chrf]
"#;

fn chrf(project: &Project, member: &str) -> f64 {
    let metrics: Value =
        serde_json::from_str(&project.text(&format!("outputs/p/tried/{member}/metrics.json"))).unwrap();
    metrics["headline"]["chrf.chrf"].as_f64().unwrap()
}

#[test]
fn the_best_prompt_of_rows_held_out_goes_on() {
    worker();
    let project = tiny::with_rows(STUDY);
    let short = tiny::TEMPLATE.replace("{{ thing }} is", "What? {{ thing }}:");
    project.file("templates/short.jinja", &short);
    project.run(&[]).exit(0);
    let members =
        ["decode=greedy,prompt=ask", "decode=hot,prompt=ask", "decode=greedy,prompt=short", "decode=hot,prompt=short"];
    let figures = members.map(|member| chrf(&project, member));
    let best = (0..4).max_by(|a, b| figures[*a].total_cmp(&figures[*b])).unwrap();
    assert!(figures.iter().all(|other| *other <= figures[best]) && figures[best] > 0.0, "{figures:?}");
    // The base model learned the one prompt alone.
    assert!(members[best].ends_with("prompt=ask"), "{figures:?}");

    let report = project.text("outputs/p/ranking/report.md");
    let ranked: Vec<&str> =
        report.lines().filter(|line| line.starts_with("| greedy ·") || line.starts_with("| hot ·")).take(4).collect();
    let label = |member: &str| member.replace("decode=", "| ").replace(",prompt=", " · ");
    assert!(ranked[0].starts_with(&label(members[best])), "{report}");
    for (at, line) in ranked.iter().enumerate() {
        assert!(line.contains(&format!("| {} |", at + 1)), "{report}");
    }

    let lines = project.text("outputs/p/scores/predictions.jsonl");
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["prompt"], "thing 40 is", "{first}");
}
