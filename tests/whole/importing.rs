//! `engine import`: what it prints and writes, and what `engine check` says of it.

use crate::project::Project;

const AXOLOTL: &str = "base_model: owner/model
adapter: lora
lora_r: 8
lora_alpha: 16
lora_target_linear: true
learning_rate: 2e-4
flash_attention: true
datasets:
  - path: data/rows.jsonl
    type: alpaca
val_set_size: 1
";

fn project() -> Project {
    let project = Project::new("stages: {}\n");
    let rows = "{\"instruction\": \"a\", \"output\": \"b\"}\n{\"instruction\": \"c\", \"output\": \"d\"}\n";
    project.file("data/rows.jsonl", rows).file("axolotl.yml", AXOLOTL);
    project
}

#[test]
fn what_is_written_checks_and_is_not_written_over() {
    let project = project();
    let words = ["import", "axolotl.yml", "--out", "pipelines/new.yaml"];
    project
        .engine(&words)
        .exit(0)
        .says(&["pipelines/new.yaml: written, with templates/new/alpaca.jinja"])
        .warns(&["flash_attention: true: how attention"]);
    project.engine(&["check", "pipelines/new.yaml"]).exit(0).says(&["fine, 7 stages"]);
    let written = project.text("pipelines/new.yaml");
    assert!(written.starts_with("# Imported from axolotl.yml, an Axolotl configuration.\n"), "{written}");
    project.engine(&words).exit(2).warns(&["is there already, and is not overwritten"]);
    assert_eq!(project.text("pipelines/new.yaml"), written);
}

#[test]
fn what_is_printed_is_one_file_with_the_template_as_comments() {
    let project = project();
    let printed = project.engine(&["import", "axolotl.yml"]);
    printed.exit(0).says(&["\nname: axolotl\n", "\n# The template, to be written to templates/axolotl/alpaca.jinja;"]);
    printed.warns(&["flash_attention: true: how attention"]);
    let template: Vec<&str> = printed.out.lines().filter_map(|line| line.strip_prefix("#| ")).collect();
    project.file("templates/axolotl/alpaca.jinja", &template.join("\n")).file("pipelines/axolotl.yaml", &printed.out);
    project.engine(&["check", "pipelines/axolotl.yaml"]).exit(0).says(&["fine, 7 stages"]);
}

#[test]
fn what_cannot_be_read_is_the_users_mistake() {
    let project = project();
    project.engine(&["import", "absent.yml"]).exit(2).warns(&["cannot read absent.yml"]);
    project.engine(&["import", "pipelines/p.yaml"]).exit(2).warns(&["it looks like a pipeline of this engine"]);
    project.engine(&["import", "data"]).exit(2).warns(&["adapter_config.json"]);
}
