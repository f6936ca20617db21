#!/usr/bin/env bash
# Prints the path of a cargo-deny that can read this workspace: the one on PATH, else the one built into `.tools/`.
#
# It is built without optimisation and without what the advisories check needs: a check takes two seconds either way.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

VERSION=0.20.2
OLDEST=0.18.0 # reads edition 2024, lock file version 4 and this deny.toml
OWN="$ROOT/.tools/bin/cargo-deny"

for candidate in "$OWN" cargo-deny; do
    if found="$("$candidate" --version 2>/dev/null)" && at_least "${found#cargo-deny }" "$OLDEST"; then
        command -v "$candidate"
        exit
    fi
done

echo "cargo-deny $VERSION: building into .tools/, once" >&2
build="$ROOT/target/cargo-deny"
CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=256 \
    CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=none \
    cargo install --quiet cargo-deny --version "$VERSION" --locked --no-default-features --force \
    --root "$ROOT/.tools" --target-dir "$build" >&2 ||
    fail "cargo could not build cargo-deny $VERSION" "where the download was cut: run make again" \
        "or install it yourself, version $OLDEST or newer: cargo install cargo-deny --locked"
rm -rf "$build"
echo "$OWN"
