//! `engine import`: a pipeline from a configuration of PEFT, Axolotl or LLaMA-Factory, and a list of what it could not carry
//! over. One file a tool; here is what they share. Runs nothing.

mod axolotl;
mod corpus;
mod left;
mod llama_factory;
mod low_rank;
mod peft;
mod read;
mod recipe;
mod settings;
mod source;
mod targets;
mod template;
mod training;
mod write;

#[cfg(test)]
mod tests;

use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
};

use clap::Args;
use plan::graph::Graph;
use spec::{diagnostic::Diagnostic, names, pipeline::Pipeline, text::Source};

use self::{left::LeftOut, read::Tool, recipe::Recipe, settings::Settings, source::Places};
use crate::{Exit, project, render};

/// Make a pipeline of a configuration of PEFT, Axolotl or LLaMA-Factory, and list what could not be carried over.
#[derive(Debug, Args)]
pub struct Import {
    /// An `adapter_config.json` or its folder, or a YAML file of Axolotl or LLaMA-Factory.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write the pipeline here and its template under `templates/`, neither over a file that is there. Without it, both are
    /// printed, the template as comments.
    #[arg(long, value_name = "PIPELINE")]
    out: Option<PathBuf>,
}

/// A pipeline that was made of a configuration.
#[derive(Debug, Clone, PartialEq)]
struct Imported {
    /// The text of the pipeline file.
    pipeline: String,
    /// The template's path under `templates/`.
    template: String,
    /// The template's text.
    template_text: String,
    /// What is not carried over.
    left: Vec<LeftOut>,
}

/// Imports a configuration.
pub fn run(import: &Import) -> Exit {
    if let Some(out) = import.out.as_ref().filter(|out| project::is_lock(out)) {
        let what = format!("{} is a lock's name", out.display());
        render::diagnostics(&[Diagnostic::new(what, "give a pipeline's, such as `pipelines/mine.yaml`")]);
        return Exit::Mistake;
    }
    let root = match &import.out {
        Some(out) => root_of(out),
        None => project::root_above(Path::new(".")),
    };
    let done = make(&import.file, import.out.as_deref(), &root).and_then(|imported| {
        match &import.out {
            Some(out) => {
                write_files(&imported, out, &root).map_err(|fault| vec![fault])?;
                outln!("{}: written, with templates/{}", out.display(), imported.template);
            }
            None => print(&imported),
        }
        Ok(imported)
    });
    match done {
        Ok(imported) => {
            for line in &imported.left {
                eprintln!("{line}");
            }
            Exit::Done
        }
        Err(faults) => {
            render::diagnostics(&faults);
            Exit::Mistake
        }
    }
}

/// The pipeline of a configuration, checked as `engine check` checks it but for files that are not there.
fn make(given: &Path, out: Option<&Path>, root: &Path) -> Result<Imported, Vec<Diagnostic>> {
    let (file, tool, map) = read::read(given).map_err(|fault| vec![fault])?;
    let places = Places::new(root, &file);
    let settings = Settings::new("", map);
    let recipe = match tool {
        Tool::Peft => peft::recipe(settings, &places),
        Tool::Axolotl => axolotl::recipe(settings, &places),
        Tool::LlamaFactory => llama_factory::recipe(settings, &places),
    };
    let recipe = recipe.map_err(|fault| vec![fault])?;
    let name = match out {
        Some(out) => name_of(&stem(out), "imported"),
        None => name_of(&stem(&file), "imported"),
    };
    let imported = written(&recipe, &name, given);
    let shown = format!("the pipeline made of {}", given.display());
    let pipeline = Pipeline::read(Source::new(shown, imported.pipeline.clone()), None, &[])?;
    Graph::expand(&pipeline)?;
    Ok(imported)
}

fn written(recipe: &Recipe, name: &str, given: &Path) -> Imported {
    let template = format!("{name}/{}.jinja", recipe.template.name);
    let mut heading = vec![format!("Imported from {}, {}.", given.display(), recipe.tool), String::new()];
    match recipe.left.is_empty() {
        true => heading.push("All of it was carried over.".to_owned()),
        false => heading.push("Not carried over, or not as it stood:".to_owned()),
    }
    heading.extend(recipe.left.iter().map(|line| format!("  {line}")));
    let pipeline = write::pipeline(&heading, name, &recipe.stages(&template));
    Imported { pipeline, template, template_text: recipe.template.text.clone(), left: recipe.left.clone() }
}

/// The pipeline on standard output; behind it the template, as comments, so that what is printed is one YAML file.
fn print(imported: &Imported) {
    let Imported { pipeline, template, template_text, .. } = imported;
    out!("{pipeline}");
    outln!("\n# The template, to be written to templates/{template}; `--out` does so:");
    for line in template_text.lines() {
        outln!("#| {line}");
    }
}

/// Writes pipeline and template, both or none, and over no other file.
fn write_files(imported: &Imported, out: &Path, root: &Path) -> Result<(), Diagnostic> {
    let template = root.join("templates").join(&imported.template);
    let refuse = |path: &Path| {
        let hint = "give another name with `--out`, or move the file away";
        Diagnostic::new(format!("{} is there already, and is not overwritten", path.display()), hint)
    };
    if out.symlink_metadata().is_ok() {
        return Err(refuse(out));
    }
    let is_ours = match template.symlink_metadata() {
        Err(_) => false,
        Ok(_) => std::fs::read(&template).is_ok_and(|bytes| bytes == imported.template_text.as_bytes()),
    };
    if !is_ours && template.symlink_metadata().is_ok() {
        return Err(refuse(&template));
    }
    let write = |path: &Path, text: &str| {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::AlreadyExists if path.is_file() => refuse(path),
            _ => {
                Diagnostic::new(format!("cannot write {}: {error}", path.display()), "give another place with `--out`")
            }
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(|error| {
            // Half a file is none.
            let _ = std::fs::remove_file(path);
            failed(error)
        })
    };
    if !is_ours {
        write(&template, &imported.template_text)?;
    }
    if let Err(fault) = write(out, &imported.pipeline) {
        if !is_ours {
            let _ = std::fs::remove_file(&template);
        }
        return Err(fault);
    }
    Ok(())
}

/// The root of the project that a pipeline file belongs to, which need not be there yet.
fn root_of(out: &Path) -> PathBuf {
    let out = std::path::absolute(out).unwrap_or_else(|_| out.to_path_buf());
    let own = out.parent().unwrap_or(&out);
    let holds = |folder: &&Path| {
        let pipelines = folder.join("pipelines");
        pipelines.is_dir() || folder.join("outputs").is_dir() || own.starts_with(&pipelines)
    };
    own.ancestors().find(holds).unwrap_or(own).to_path_buf()
}

fn stem(path: &Path) -> String {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let named = if whole.ends_with("adapter_config.json") { whole.parent().unwrap_or(&whole) } else { &whole };
    match named.is_dir() {
        true => named.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        false => named.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

/// A name of the pipeline language that is near to a word.
fn name_of(word: &str, default: &str) -> String {
    const LONGEST: usize = 60;
    let kept: String = word
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' })
        .take(LONGEST)
        .collect();
    let kept = kept.trim_matches(|c| c == '_' || c == '-').to_owned();
    match kept.as_str() {
        "" => default.to_owned(),
        name if names::is_name(name) => kept,
        name => format!("{default}_{name}"),
    }
}
