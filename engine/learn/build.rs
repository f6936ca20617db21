//! Lets the worker and the tests find libtorch where it was found at build time, and the worker say which one it is.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=LIBTORCH_VERSION=unknown version");
    let Ok(folder) = std::env::var("DEP_TCH_LIBTORCH_LIB") else { return };
    println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}");
    let root = Path::new(&folder).parent().unwrap_or(Path::new(&folder));
    let read = |name: &str| std::fs::read_to_string(root.join(name)).ok();
    let from_python = || {
        let text = read("version.py")?;
        let line = text.lines().find(|line| line.starts_with("__version__"))?;
        Some(line.split('\'').nth(1)?.to_owned())
    };
    if let Some(version) = read("build-version").or_else(from_python) {
        println!("cargo::rustc-env=LIBTORCH_VERSION={}", version.trim());
    }
}
