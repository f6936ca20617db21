#!/usr/bin/env bash
# Tests of scripts/install-libtorch.sh and scripts/check-tools.sh, in a project of their own. They download nothing.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

unset LIBTORCH LIBTORCH_USE_PYTORCH VIRTUAL_ENV
WORK="$(cd "$(mktemp -d)" && pwd -P)"
trap 'rm -rf "$WORK"' EXIT
PROJECT="$WORK/project"
mkdir -p "$PROJECT"
cp -R "$ROOT/scripts" "$ROOT/Cargo.toml" "$PROJECT/"
INSTALL="$PROJECT/scripts/install-libtorch.sh"
SITE="$PROJECT/.libtorch/site"

# expect STATUS TEXT COMMAND…: the command ends with STATUS and says TEXT.
expect() {
    local status="$1" text="$2" said got=0
    shift 2
    said="$("$@" 2>&1)" || got=$?
    if [ "$got" -ne "$status" ] || [[ "$said" != *"$text"* ]]; then
        printf 'failed: %s\n  expected status %s and: %s\n  got status %s and: %s\n' "$*" "$status" "$text" "$got" "$said" >&2
        exit 1
    fi
}

# holds CONDITION…: the test's own condition, as `test` writes it.
holds() {
    [ "$@" ] || { echo "failed: line ${BASH_LINENO[0]}: $*" >&2 && exit 1; }
}

# libtorch DIR: a folder that looks like libtorch 2.11.0 as wheels have it.
libtorch() {
    mkdir -p "$1/lib" "$1/include/torch/headeronly"
    touch "$1/lib/libtorch_cpu.so"
    printf '#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 11\n#define TORCH_VERSION_PATCH 0\n' \
        >"$1/include/torch/headeronly/version.h"
}

# program NAME LINE…: a program on PATH that is a shell script of these lines.
program() {
    local path="$WORK/bin/$1"
    shift
    rm -f "$path"
    printf '%s\n' '#!/bin/sh' "$@" >"$path"
    chmod +x "$path"
}
mkdir "$WORK/bin"
with_programs() { PATH="$WORK/bin:$PATH" "$@"; }

# What a user names must be libtorch 2.11.0.
expect 1 "LIBTORCH names a folder that is not there: $WORK/absent" env LIBTORCH="$WORK/absent" "$INSTALL"
expect 1 "LIBTORCH names a folder without libtorch's headers" env LIBTORCH="$WORK/bin" "$INSTALL"
libtorch "$WORK/old"
echo 2.8.0+cpu >"$WORK/old/build-version"
expect 1 "LIBTORCH names libtorch 2.8.0, and 2.11.0 is needed" env LIBTORCH="$WORK/old" "$INSTALL"
libtorch "$WORK/static"
rm "$WORK/static/lib/libtorch_cpu.so"
expect 1 "LIBTORCH names a folder without lib/libtorch_cpu.so" env LIBTORCH="$WORK/static" "$INSTALL"
program python3 'exit 1'
expect 1 "LIBTORCH_USE_PYTORCH is set, and $WORK/bin/python3 has no torch" with_programs env LIBTORCH_USE_PYTORCH=1 "$INSTALL"
holds ! -e "$SITE"

# What is refused changes nothing, what is right is linked, and stays without the variable.
libtorch "$WORK/right"
expect 0 "using $WORK/right" env LIBTORCH="$WORK/right" "$INSTALL"
expect 1 "LIBTORCH names libtorch 2.8.0" env LIBTORCH="$WORK/old" "$INSTALL"
expect 0 "" with_programs "$INSTALL"
expect 0 "" env LIBTORCH="$SITE/torch" "$INSTALL"
holds "$(cd "$SITE/torch" && pwd -P)" = "$WORK/right"
libtorch "$WORK/site-packages/torch"
program python3 "echo '$WORK/site-packages/torch'"
expect 0 "using $WORK/site-packages/torch" with_programs env LIBTORCH_USE_PYTORCH=1 "$INSTALL"

# A link to what is gone is no install: the next step is to install one, for which pip is needed.
rm -r "$WORK/site-packages"
program python3 'exit 1'
expect 1 "$WORK/bin/python3 has no pip" with_programs "$INSTALL"

# An install that was cut is begun again; pip's failure leaves none.
program python3 'case "$*" in *install*) echo cut; exit 2;; esac'
expect 1 "run make again" with_programs "$INSTALL"
expect 1 "run make again" with_programs "$INSTALL"
holds ! -e "$SITE/torch"

# One that was complete but not renamed is taken.
rm -rf "$SITE"
mkdir -p "$PROJECT/.libtorch/partial/site"
libtorch "$PROJECT/.libtorch/partial/site/torch"
echo "2.11.0 cuda" >"$PROJECT/.libtorch/partial/site/variant"
program python3 'exit 1'
expect 0 "" with_programs "$INSTALL"
holds -e "$SITE/torch/lib/libtorch_cpu.so"

# A driver that appears turns the CPU's install into CUDA's.
echo "2.11.0 cpu" >"$SITE/variant"
program nvidia-smi 'exit 0'
expect 1 "has no pip" with_programs "$INSTALL"
rm "$WORK/bin/nvidia-smi"

# A missing or old tool is named.
CHECK="$PROJECT/scripts/check-tools.sh"
expect 0 "" "$CHECK"
expect 1 "cargo is not on PATH" env CARGO="$WORK/absent" "$CHECK"
expect 1 "rustc does not start" env RUSTC="$WORK/absent" "$CHECK"
program rustc 'echo "rustc 1.80.1 (000000000 2024-08-06)"'
expect 1 "rustc 1.80.1 is too old: 1.95 or newer is needed" with_programs "$CHECK"
rm "$WORK/bin/rustc"
expect 1 "no C compiler: '$WORK/absent'" env CC="$WORK/absent" "$CHECK"
expect 1 "no C++ compiler: '$WORK/absent'" env CXX="$WORK/absent" "$CHECK"
expect 1 "cannot build a C++20 program" env CXX="c++ -fabsent" "$CHECK"

echo "scripts: all tests passed"
