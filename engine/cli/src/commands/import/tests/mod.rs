//! Imported configurations, as settings: each is made a pipeline, written into a project, and read back as `engine check`
//! reads it. Fixtures are in `tests/import`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod axolotl;
mod llama_factory;
mod odd;
mod peft;

use std::{
    fs,
    path::{Path, PathBuf},
};

use data::template::{Rendered, Template};
use plan::graph::Graph;
use spec::{
    adapter::{Adapter, AdapterSource},
    pipeline::Pipeline,
    stage::{Download, Evaluate, Preprocess, Source as From, Stage, Tokenize, Train},
    text::Source,
};

use super::{Imported, make, write_files};
use crate::project::{PipelineArgs, Project};

/// The folder of the fixtures.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/import").canonicalize().unwrap()
}

/// An imported configuration, read back.
pub struct Case {
    pub imported: Imported,
    pub folder: tempfile::TempDir,
    stages: Vec<(String, Stage)>,
}

/// A project with the fixtures' data, and whatever else its configuration names.
pub fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["pipelines", "data", "models/base"] {
        fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    for entry in fs::read_dir(fixtures().join("data")).unwrap() {
        let file = entry.unwrap().path();
        fs::copy(&file, folder.path().join("data").join(file.file_name().unwrap())).unwrap();
    }
    folder
}

impl Case {
    /// Imports a fixture into a project of its own.
    pub fn of(fixture: &str) -> Self {
        let folder = project();
        let file = folder.path().join(Path::new(fixture).file_name().unwrap());
        fs::copy(fixtures().join(fixture), &file).unwrap();
        let out = folder.path().join("pipelines/imported.yaml");
        let imported = make(&file, Some(&out), folder.path()).unwrap_or_else(|faults| panic!("{fixture}: {faults:?}"));
        write_files(&imported, &out, folder.path()).unwrap();
        let pipeline = Pipeline::read(Source::new("imported", imported.pipeline.clone()), None, &[]).unwrap();
        let graph = Graph::expand(&pipeline).unwrap();
        let typed = |stage| pipeline.variants(stage, &graph.yields).unwrap().remove(0).stage;
        let stages = pipeline.stages.iter().map(|stage| (stage.name.clone(), Stage::clone(&typed(stage)))).collect();
        Self { imported, folder, stages }
    }

    /// What `engine check` says of what was written.
    pub fn check(&self) -> Result<(), String> {
        let file = self.folder.path().join("pipelines/imported.yaml");
        let args = PipelineArgs { file, profile: None, set: Vec::new(), variant: None };
        Project::open(&args).map(|_| ()).map_err(|faults| format!("{faults:?}"))
    }

    fn stage(&self, name: &str) -> &Stage {
        &self.stages.iter().find(|(stage, _)| stage == name).unwrap_or_else(|| panic!("no stage `{name}`")).1
    }

    pub fn has(&self, name: &str) -> bool {
        self.stages.iter().any(|(stage, _)| stage == name)
    }

    pub fn from(&self, name: &str) -> &From {
        match self.stage(name) {
            Stage::Download(download) => {
                let Download { from } = download.as_ref();
                &from.0
            }
            _ => panic!("`{name}` downloads nothing"),
        }
    }

    pub fn rows(&self) -> &Preprocess {
        let Stage::Preprocess(rows) = self.stage("rows") else { panic!("no rows") };
        rows
    }

    pub fn tokens(&self) -> &Tokenize {
        let Stage::Tokenize(tokens) = self.stage("tokens") else { panic!("no tokens") };
        tokens
    }

    pub fn train(&self) -> &Train {
        let Stage::Train(train) = self.stage("tuned") else { panic!("nothing trains") };
        train
    }

    pub fn scores(&self) -> &Evaluate {
        let Stage::Evaluate(scores) = self.stage("scores") else { panic!("nothing is scored") };
        scores
    }

    pub fn adapter(&self) -> &Adapter {
        match &self.train().adapter {
            AdapterSource::New(methods) if methods.len() == 1 => &methods[0],
            other => panic!("{other:?}"),
        }
    }

    /// The keys that are listed, in order.
    pub fn left(&self) -> Vec<&str> {
        self.imported.left.iter().map(|line| line.key.as_str()).collect()
    }

    /// The line of a key.
    pub fn why(&self, key: &str) -> String {
        let line = self.imported.left.iter().find(|line| line.key == key);
        line.unwrap_or_else(|| panic!("`{key}` is not listed: {:?}", self.left())).to_string()
    }

    /// The first rows of a file of the project, by the written template.
    pub fn rendered(&self, rows: &str) -> Vec<Rendered> {
        let template = Template::load(&self.folder.path().join("templates"), &self.imported.template).unwrap();
        let rows = data::rows::read(&self.folder.path().join(rows), None, &mut |_| {}).unwrap();
        rows.into_iter().map(|row| template.render(row).unwrap()).collect()
    }
}

#[test]
fn the_list_stands_above_the_pipeline_and_nothing_is_overwritten() {
    let case = Case::of("axolotl/lora.yml");
    let text = &case.imported.pipeline;
    assert!(text.starts_with("# Imported from "), "{text}");
    for line in &case.imported.left {
        assert!(text.contains(&format!("#   {line}\n")), "{line}");
    }
    let (root, out) = (case.folder.path(), case.folder.path().join("pipelines/imported.yaml"));
    assert_eq!(fs::read_to_string(&out).unwrap(), *text);
    let again = write_files(&case.imported, &out, root).unwrap_err();
    assert!(again.message.contains("is not overwritten"), "{again}");
    // The same template may be there; another one may not, and then no pipeline is written.
    let other = root.join("pipelines/other.yaml");
    write_files(&case.imported, &other, root).unwrap();
    fs::remove_file(&other).unwrap();
    fs::write(root.join("templates").join(&case.imported.template), "mine").unwrap();
    assert!(write_files(&case.imported, &other, root).unwrap_err().message.contains("is not overwritten"));
    assert!(!other.exists());
}

#[test]
fn the_folder_of_an_adapter_is_as_good_as_its_file() {
    let folder = project();
    let adapter = folder.path().join("my adapter");
    fs::create_dir(&adapter).unwrap();
    fs::copy(fixtures().join("peft/lora.json"), adapter.join("adapter_config.json")).unwrap();
    let by_folder = make(&adapter, None, folder.path()).unwrap();
    let by_file = make(&adapter.join("adapter_config.json"), None, folder.path()).unwrap();
    assert!(by_folder.pipeline.contains("\nname: my_adapter\n"), "{}", by_folder.pipeline);
    assert_eq!(by_folder.left, by_file.left);
    fs::write(adapter.join("adapter_model.safetensors"), "").unwrap();
    let trained = make(&adapter, None, folder.path()).unwrap();
    assert!(trained.left.iter().any(|line| line.key == "adapter_model.safetensors"));
    let empty = make(folder.path(), None, folder.path()).unwrap_err();
    assert!(empty[0].message.contains("adapter_config.json"), "{}", empty[0]);
}
