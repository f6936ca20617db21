//! Downloads from the Hub: a small one on this machine, which answers as the real one does.

mod cached;
mod datasets;
mod models;
mod pinned;
mod refused;
pub mod server;

use std::fs;

use crate::project::Project;

/// A pipeline that downloads this, and nothing else.
fn download(from: &str) -> Project {
    Project::new(&format!("stages:\n  got: {{kind: download, from: {from}}}\n"))
}

/// The paths of all that the stage left, sorted.
fn left(project: &Project) -> Vec<String> {
    project.left("got").into_keys().collect()
}

/// Bytes that tell where they are cut or doubled.
fn bytes(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 7 % 251) as u8 ^ seed).collect()
}

/// Every file below a folder, links not followed, with what is in it, as far as it is text.
fn texts(folder: &std::path::Path) -> String {
    let mut all = String::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for item in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match item.file_type() {
                Ok(kind) if kind.is_dir() => open.push(item.path()),
                Ok(kind) if kind.is_file() => {
                    all.push_str(&item.path().display().to_string());
                    all.push_str(&String::from_utf8_lossy(&fs::read(item.path()).unwrap()));
                }
                _ => {}
            }
        }
    }
    all
}
