//! Lets the worker and the tests find libtorch where it was found at build time, and compiles the C++ of `src/fused`
//! against its headers.

use std::env;
use std::path::{Path, PathBuf};

const SOURCES: [&str; 3] = ["src/fused/fused.cpp", "src/fused/buffers.cpp", "src/fused/saved.cpp"];
const HEADERS: [&str; 2] = ["src/fused/guarded.h", "src/fused/kernels.h"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for variable in ["LIBTORCH_INCLUDE", "LIBTORCH_CXX11_ABI"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    for file in SOURCES.iter().chain(&HEADERS) {
        println!("cargo::rerun-if-changed={file}");
    }
    // torch-sys tells it to those that depend on it directly.
    let Ok(folder) = env::var("DEP_TCH_LIBTORCH_LIB") else { return };
    println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}");
    compile(Path::new(&folder));
}

/// The headers lie beside the libraries, or where torch-sys is told to look for them.
fn include(libraries: &Path) -> PathBuf {
    let base = env::var_os("LIBTORCH_INCLUDE").map(PathBuf::from);
    base.unwrap_or_else(|| libraries.parent().unwrap_or(libraries).to_owned()).join("include")
}

fn compile(libraries: &Path) {
    let include = include(libraries);
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    let mut build = cc::Build::new();
    build.cpp(true).std("c++20").opt_level(3).warnings(false).files(SOURCES);
    build.include(&include).include(include.join("torch/csrc/api/include"));
    build.define("_GLIBCXX_USE_CXX11_ABI", abi.as_str());
    // libtorch's threads are OpenMP's, and the loops here run on the same ones.
    if build.get_compiler().is_like_gnu() {
        build.flag("-fopenmp");
    }
    build.compile("fused");
}
