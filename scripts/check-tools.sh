#!/usr/bin/env bash
# Names each missing tool that a build needs, and what to install. With `--test`, also what the tests need.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

missing=0
need() {
    missing=1
    printf 'error: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
}

wanted_rust="$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$ROOT/Cargo.toml")"
rust_help="install the stable toolchain from https://rustup.rs (a distribution's own rustc is often too old)"

if ! command -v "${CARGO:-cargo}" >/dev/null; then
    need "cargo is not on PATH: a Rust toolchain of version $wanted_rust or newer is needed" "$rust_help"
elif ! rustc="$("${RUSTC:-rustc}" --version 2>/dev/null)"; then
    need "rustc does not start: a Rust toolchain of version $wanted_rust or newer is needed" "$rust_help"
else
    found_rust="$(cut -d ' ' -f 2 <<<"$rustc" | cut -d - -f 1)"
    at_least "$found_rust" "$wanted_rust" || need "rustc $found_rust is too old: $wanted_rust or newer is needed" \
        "with rustup: rustup update stable && rustup default stable" "without: $rust_help"
fi

# Compilers matter until the bindings to libtorch are built; linking needs `cc` each time.
compiler_help=("on Debian or Ubuntu: apt install build-essential" "on Fedora: dnf install gcc-c++" "elsewhere: GCC 10 or newer; CC and CXX are honoured")
if ! command -v ${CC:-cc} >/dev/null; then
    need "no C compiler: '${CC:-cc}' is not on PATH" "${compiler_help[@]}"
fi
if ! command -v ${CXX:-c++} >/dev/null; then
    need "no C++ compiler: '${CXX:-c++}' is not on PATH" "${compiler_help[@]}"
elif [ ! -e "$ROOT/target/release/engine-worker" ]; then
    probe="$(mktemp -d)"
    trap 'rm -rf "$probe"' EXIT
    printf '#include <concepts>\n#include <string>\nint main() { return std::string().size(); }\n' >"$probe/probe.cpp"
    if ! ${CXX:-c++} -std=c++20 "$probe/probe.cpp" -lgomp -o "$probe/probe" >"$probe/log" 2>&1; then
        need "the C++ compiler '${CXX:-c++}' cannot build a C++20 program that links libgomp" "${compiler_help[@]}" \
            "it said: $(head -n 1 "$probe/log")"
    fi
fi

if [ "${1:-}" = --test ]; then
    command -v python3 >/dev/null || need "python3 is not on PATH: a test runs the data set's generator" \
        "on Debian or Ubuntu: apt install python3"
    for component in fmt clippy; do
        "${CARGO:-cargo}" "$component" --version >/dev/null 2>&1 || need "cargo $component is not installed" \
            "with rustup: rustup component add rustfmt clippy" "without: install your distribution's rustfmt and clippy packages"
    done
fi

exit "$missing"
