#!/usr/bin/env bash
# fuzz.sh MINUTES [TARGET…]: feeds each reader with texts made up for it, for so many minutes in all. What it finds is in
# fuzz/artifacts/; the corpus in fuzz/corpus/ is made small again at the end.
#
# cargo-fuzz is the one on PATH, else one that is built into `.tools/`. The fuzzer's instruments are called unstable by the
# compiler; RUSTC_BOOTSTRAP lets a stable one have them.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

VERSION=0.13.2
TARGETS=(pipeline substitute lock events names)

minutes="${1:-5}"
shift || true
[ $# -gt 0 ] && TARGETS=("$@")
cd "$ROOT"
PATH="$ROOT/.tools/bin:$PATH"
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "cargo-fuzz $VERSION: building into .tools/, once" >&2
    cargo install --quiet cargo-fuzz --version "$VERSION" --locked --root "$ROOT/.tools" >&2 ||
        fail "cargo could not build cargo-fuzz $VERSION" "where the download was cut: run make again"
fi
export RUSTC_BOOTSTRAP=1
export CARGO_TARGET_DIR="$ROOT/target/fuzz"
seconds=$((minutes * 60 / ${#TARGETS[@]}))
options=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=8192 -print_final_stats=1 -verbosity=0)
for target in "${TARGETS[@]}"; do
    seeds=()
    if [ "$target" = pipeline ]; then
        seeds=(tests/pipelines/valid tests/pipelines/invalid pipelines)
        options+=(-dict=fuzz/pipeline.dict)
    fi
    mkdir -p "fuzz/corpus/$target"
    printf '== %s: %s s\n' "$target" "$seconds"
    cargo fuzz run --sanitizer none "$target" "fuzz/corpus/$target" "${seeds[@]}" -- "${options[@]}"
    cargo fuzz cmin --sanitizer none "$target" "fuzz/corpus/$target" >/dev/null 2>&1
done
