//! Computes the build id: a digest of the sources of all engine crates and of `Cargo.lock`. A digest that tells trees
//! apart is enough; it defends against nobody, so the standard library's hasher serves.

use std::{
    fs,
    hash::{DefaultHasher, Hasher},
    io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for folder in children(&crates)? {
        for part in ["src", "build.rs", "Cargo.toml"] {
            collect(&folder.join(part), &mut files)?;
        }
    }
    collect(&crates.join("../Cargo.lock"), &mut files)?;
    let mut hasher = DefaultHasher::new();
    for file in files {
        let bytes = fs::read(&file)?;
        let name = file.strip_prefix(&crates).unwrap_or(&file).to_string_lossy().into_owned();
        for part in [name.as_bytes(), &bytes] {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
    }
    println!("cargo::rustc-env=ENGINE_BUILD_ID={:016x}", hasher.finish());
    Ok(())
}

/// Adds a file, or every file below a folder, in the order of their names; what is not there adds nothing.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    println!("cargo::rerun-if-changed={}", path.display());
    collect_below(path, files)
}

fn collect_below(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    children(path)?.iter().try_for_each(|child| collect_below(child, files))
}

fn children(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
