//! The studies in `pipelines/`, each whole and small: its tiny profile, on the sets and models of `datasets/`. Knows no
//! study's subject.

use std::{fs, path::Path};

use crate::project::{Project, Ran};

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

/// A study's tiny profile runs to its end, leaves these reports, and the second run does nothing.
#[track_caller]
fn runs(name: &str, reports: &[&str]) {
    let project = project();
    let file = format!("pipelines/{name}.yaml");
    let run = || Ran::from(project.command(&["run", &file, "--profile", "tiny", "--json"]).output().unwrap());
    let first = run();
    first.exit(0);
    assert!(!first.members("finished").is_empty());
    for report in reports {
        let text = project.text(&format!("outputs/{name}.tiny/{report}/report.md"));
        assert!(text.contains("## Scores"), "{report}: {text}");
    }
    run().exit(0).did(&[]);
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
    runs("glue_lora", &["report_base_first", "report_base_then", "report_large_first", "report_large_then"]);
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
