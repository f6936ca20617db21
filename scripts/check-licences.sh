#!/usr/bin/env bash
# Checks the dependencies against deny.toml: licences, crates in two versions, sources.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

deny="$("$ROOT/scripts/install-cargo-deny.sh")"
cd "$ROOT"
"$deny" --log-level warn check licenses bans sources
