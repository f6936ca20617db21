//! Files of the project that stages read. Knows paths, not their contents' meaning.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use spec::{
    diagnostic::Diagnostic,
    pipeline::Pipeline,
    stage::{LocalPath, Read},
    suggest,
    text::Side,
};

use crate::graph::Graph;

/// The mistakes of settings that name a file or folder that is not there.
pub fn absent_paths(pipeline: &Pipeline, graph: &Graph, root: &Path) -> Vec<Diagnostic> {
    let named: BTreeSet<&str> =
        graph.nodes.iter().flat_map(|node| &node.local_paths).map(|local| local.path.as_str()).collect();
    let absent: BTreeSet<&str> = named.into_iter().filter(|path| !root.join(path).exists()).collect();
    let mut faults: Vec<Diagnostic> = Vec::new();
    if absent.is_empty() {
        return faults;
    }
    for stage in &pipeline.stages {
        for variant in pipeline.variants(stage, &graph.yields).unwrap_or_default() {
            for local in variant.stage.local_paths().iter().filter(|local| absent.contains(local.path.as_str())) {
                let fault = Diagnostic::new(format!("`{}` is not there", local.path), nearest_file(root, local))
                    .at(pipeline.place(&stage.name, Some(&variant), &local.role, Side::Value));
                if !faults.iter().any(|known| known.to_string() == fault.to_string()) {
                    faults.push(fault);
                }
            }
        }
    }
    faults
}

/// The nearest name in the deepest folder of the path that exists.
fn nearest_file(root: &Path, local: &LocalPath) -> String {
    let what = match local.read {
        Read::Template => "templates are files under `templates/`",
        Read::Whole => "paths are relative to the project's root",
    };
    let wanted = root.join(&local.path);
    let Some(folder) = wanted.ancestors().skip(1).find(|folder| folder.is_dir()) else { return what.to_owned() };
    let Some(missing) = wanted.strip_prefix(folder).ok().and_then(|rest| rest.components().next()) else {
        return what.to_owned();
    };
    let names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    match suggest::nearest(&missing.as_os_str().to_string_lossy(), &names) {
        Some(near) => {
            let near: PathBuf = folder.join(near);
            format!("did you mean `{}`?", near.strip_prefix(root).unwrap_or(&near).display())
        }
        None => format!("{what}, here {}", root.display()),
    }
}
