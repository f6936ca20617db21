//! What a member left, as the programs that do stages are told of it. Knows the store and the graph; no stage's settings.

use std::path::{Path, PathBuf};

use plan::{
    graph::{Node, NodeId},
    state::Freshness,
};
use spec::job::{Failure, JobInput};

use crate::{project::Project, session::Session};

/// What a member left, with the model that it belongs to. `file` is the pipeline file as it was named.
///
/// # Errors
/// When it, or what it belongs to, is not made.
pub fn left(
    project: &Project,
    session: &Session,
    survey: &[Freshness],
    file: &Path,
    (id, part): (NodeId, Option<String>),
) -> Result<JobInput, Failure> {
    let node = project.graph.node(id);
    let Freshness::Fresh(record) = &survey[id.0] else {
        return Err(Failure {
            message: format!("`{}` is not made yet", node.name()),
            place: None,
            hint: Some(format!("run `engine run {} --until '{}'` first", file.display(), node.name())),
        });
    };
    let carried = match node.settings.carries().and_then(|role| input(node, role)) {
        Some(base) => Some(Box::new(left(project, session, survey, file, base)?)),
        None => None,
    };
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    Ok(JobInput {
        stage: node.stage.clone(),
        kind: node.settings.kind().to_owned(),
        coordinates: node.labels(),
        part,
        result: absolute(session.store.tree_folder(record)),
        observed: absolute(session.store.observed_folder(&record.key)),
        carried,
        made: None,
    })
}

/// The member that an input is read from, and the part of it.
pub fn input(node: &Node, role: &str) -> Option<(NodeId, Option<String>)> {
    let input = node.inputs.iter().find(|input| input.role == role)?;
    Some((*input.members.first()?, input.part.clone()))
}
