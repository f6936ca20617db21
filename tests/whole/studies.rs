//! The studies in `pipelines/`, each whole and small: its tiny profile, with the sets and models of `datasets/` downloaded
//! from the tests' hub under the names of the real ones. Knows no study's subject.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    project::{Project, Ran},
    published,
};

/// The project's own files, copied into a folder of their own.
fn project() -> Project {
    let project = Project::new("stages: {}");
    fs::remove_file(project.path(crate::project::FILE)).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for folder in ["pipelines", "templates", "datasets"] {
        copy(&root.join(folder), &project.path(folder));
    }
    project
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let to = to.join(item.file_name());
        if item.path().is_dir() {
            copy(&item.path(), &to);
        } else if !item.file_name().to_string_lossy().ends_with(".lock.yaml") {
            fs::copy(item.path(), to).unwrap();
        }
    }
}

/// A study's tiny profile, with the file's own downloads, runs to its end, leaves these reports, and the second run does
/// nothing.
#[track_caller]
fn runs(name: &str, reports: &[&str]) {
    let project = project();
    let file = format!("pipelines/{name}.yaml");
    let (hub, llm_adapters) = published::hub();
    let mut settings = published::downloads(&project, &file);
    if project.text(&file).contains("${vars.files}") {
        settings.push(format!("vars.files={llm_adapters}"));
    }
    let mut words = vec!["run", &file, "--profile", "tiny", "--variant", "hub", "--json"];
    settings.iter().for_each(|setting| words.extend(["--set", setting]));
    let run = || {
        let mut command = project.command(&words);
        Ran::from(hub.seen_by(&mut command).output().unwrap())
    };
    let first = run();
    first.exit(0);
    assert!(!first.members("finished").is_empty());
    assert!(!hub.asked().is_empty());
    for report in reports {
        let text = project.text(&format!("outputs/{name}.hub/{report}/report.md"));
        assert!(text.contains("## Scores"), "{report}: {text}");
    }
    run().exit(0).did(&[]);
    assert_eq!(hub.asked(), [""; 0]);
}

#[test]
fn squad_dora() {
    runs("squad_dora", &["ranking", "report"]);
}

#[test]
fn roberta_matrices() {
    let reports = ["rank_report/task=stsb", "matrix_report/task=ag_news", "report/task=mnli", "latency_report"];
    runs("roberta_matrices", &reports);
}

#[test]
fn glue_lora_fa() {
    runs("glue_lora_fa", &["report/task=mrpc", "report/task=rte", "report/task=cola"]);
}

#[test]
fn glue_lora() {
    runs("glue_lora", &["report_new/task=mnli", "report_new/task=cola", "report_from_mnli/task=stsb"]);
}

#[test]
fn ru_instruct() {
    runs("ru_instruct", &["report"]);
}

#[test]
fn commonsense_dora() {
    runs("commonsense_dora", &["report/task=boolq", "report/task=hellaswag", "report/task=winogrande"]);
}

#[test]
fn commonsense_170k() {
    runs("commonsense_170k", &["average", "report/task=boolq", "report/task=openbookqa"]);
}

/// Every study passes `engine check`, in each of its profiles too.
#[test]
fn studies_are_right() {
    let project = project();
    for item in fs::read_dir(project.path("pipelines")).unwrap() {
        let file = format!("pipelines/{}", item.unwrap().file_name().to_string_lossy());
        project.engine(&["check", &file]).exit(0);
    }
}

/// What a study's trained members would train and have in all, by `engine estimate`, with a model of this shape in place of
/// the one that `stage` brings.
fn sizes(name: &str, stage: &str, shape: &str, tokenizer: &str, settings: &[&str]) -> Vec<(String, u64, u64)> {
    let project = project();
    let shapes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/shapes");
    let tokenizer = project.path(&format!("datasets/tiny_models/{tokenizer}"));
    fs::create_dir(project.path("shape")).unwrap();
    fs::copy(shapes.join(shape), project.path("shape/config.json")).unwrap();
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(tokenizer.join(file), project.path("shape").join(file)).unwrap();
    }
    let file = format!("pipelines/{name}.yaml");
    let model = format!("stages.{stage}.from={{path: shape}}");
    let mut changes = vec!["--profile", "tiny", "--set", model.as_str()];
    settings.iter().for_each(|setting| changes.extend(["--set", *setting]));
    project.engine(&[&["run", file.as_str(), "--until", "tokens"], &changes[..]].concat()).exit(0);
    let said = project.engine(&[&["estimate", file.as_str(), "--json"], &changes[..]].concat());
    let lines = said.exit(0).out.lines();
    let told = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    told.filter_map(|member| {
        let count = |key: &str| member["forecast"][key].as_u64();
        let name = member["member"].as_str()?.to_owned();
        Some((name, count("trainable_parameters")?, count("total_parameters")?))
    })
    .collect()
}

/// The study's own counts: LoRA of rank 8 on 144 maps of 1024 by 1024, and 20 vectors of 1024.
#[test]
fn rut5_trains_what_the_study_says() {
    let sizes = sizes("ru_instruct", "rut5", "rut5-large.json", "t5", &["vars.training.precision=bf16"]);
    let trains: Vec<(&str, u64)> = sizes.iter().map(|(name, trains, _)| (name.as_str(), *trains)).collect();
    let lora = 144 * 8 * (1024 + 1024);
    assert_eq!(lora + 20 * 1024, 2_379_776);
    let expected =
        [("tuned[method=both]", 2_379_776), ("tuned[method=lora]", lora), ("tuned[method=prompt]", 20 * 1024)];
    assert_eq!(trains, expected);
    assert_eq!(sizes[0].2, 740_047_872);
}

/// The trainable parts of DoRA's table 1, in percent with two decimals; the table has the prefix's 0.117 as 0.11.
#[test]
fn llama_trains_what_the_table_says() {
    let sizes = sizes("commonsense_170k", "llama", "llama-7b.json", "llama", &["vars.training.precision=bf16"]);
    let percent = |trains: u64, all: u64| format!("{:.2}", 100.0 * trains as f64 / all as f64);
    let parts: Vec<String> = sizes.iter().map(|(_, trains, all)| percent(*trains, *all)).collect();
    // Prefix, series, parallel, LoRA, DoRA of rank 16 and 32.
    assert_eq!(parts, ["0.12", "0.99", "3.54", "0.83", "0.43", "0.84"]);
}
