//! A small project in a temporary folder, and jobs run in it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use serde_json::{Value, json};
use spec::job::{Device, Event, Failure, Job, JobInput};

/// A project's folder.
pub struct Project {
    folder: tempfile::TempDir,
}

/// What a job left and said.
pub struct Done {
    pub result: PathBuf,
    pub warnings: Vec<String>,
}

impl Done {
    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.result.join(name)).unwrap()).unwrap()
    }
}

impl Project {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file and says where.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Runs a job; `name` is its folder.
    pub fn run(
        &self,
        name: &str,
        kind: &str,
        settings: Value,
        inputs: &[(&str, &Path)],
        files: &[(&str, &Path)],
        threads: usize,
    ) -> Result<Done, Failure> {
        let folder = |part: &str| {
            let path = self.path(&format!("{name}/{part}"));
            fs::create_dir_all(&path).unwrap();
            path
        };
        let input = |path: &Path| JobInput {
            stage: "input".into(),
            kind: "download".into(),
            coordinates: Vec::new(),
            part: None,
            result: path.to_path_buf(),
            observed: path.to_path_buf(),
            carried: None,
            made: None,
        };
        let job = Job {
            kind: kind.into(),
            name: name.into(),
            settings,
            inputs: inputs
                .iter()
                .map(|(role, path)| ((*role).to_owned(), vec![input(path)]))
                .collect::<BTreeMap<_, _>>(),
            files: files.iter().map(|(role, path)| ((*role).to_owned(), path.to_path_buf())).collect(),
            result: folder("result"),
            observed: folder("observed"),
            state: folder("state"),
            threads,
            device: Device::Cpu,
            revision: None,
            origin: None,
        };
        let warnings = Mutex::new(Vec::new());
        let events = |event: Event| {
            if let Event::Warning { message } = event {
                warnings.lock().unwrap().push(message);
            }
        };
        data::job::run(&job, &events)?;
        Ok(Done { result: job.result, warnings: warnings.into_inner().unwrap() })
    }

    /// Preprocesses the folder `rows` by the template `t.jinja`.
    pub fn preprocess(&self, name: &str, splits: Value, threads: usize) -> Result<Done, Failure> {
        let template = self.path("templates/t.jinja");
        let settings = json!({"input": "rows", "template": "t.jinja", "splits": splits});
        self.run(name, "preprocess", settings, &[("input", &self.path("rows"))], &[("template", &template)], threads)
    }

    /// Tokenizes what `examples` left with a tokenizer's folder, or one that is trained.
    pub fn tokenize(
        &self,
        name: &str,
        examples: &Done,
        tokenizer: Option<&Path>,
        settings: Value,
        threads: usize,
    ) -> Result<Done, Failure> {
        let mut all = json!({"input": "examples", "tokenizer": "tokenizer"});
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let mut inputs = vec![("input", examples.result.as_path())];
        inputs.extend(tokenizer.map(|folder| ("tokenizer", folder)));
        self.run(name, "tokenize", all, &inputs, &[], threads)
    }
}
