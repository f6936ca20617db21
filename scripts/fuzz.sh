#!/usr/bin/env bash
# fuzz.sh MINUTES [TARGET…]: feeds each reader with texts made up for it, for so many minutes in all. A text that ends a
# reader is put into fuzz/artifacts/; the corpus, in fuzz/corpus/, is made small again at the end.
#
# cargo-fuzz is the one on PATH, else one that is built into `.tools/`. The fuzzer's instruments are called unstable by the
# compiler; RUSTC_BOOTSTRAP lets a stable one have them.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

VERSION=0.13.2
TARGETS=(pipeline substitute lock events names torch_file pickle safetensors tokenizers tokenizer_json rows
    archives)

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
found="$CARGO_TARGET_DIR/corpus"
for target in "${TARGETS[@]}"; do
    kept="fuzz/corpus/$target"
    new="$CARGO_TARGET_DIR/smallest/$target"
    seeds=("$kept")
    options=(-timeout=10 -rss_limit_mb=2048 -max_len=8192 -verbosity=0)
    if [ "$target" = pipeline ]; then
        seeds+=(tests/pipelines/valid tests/pipelines/invalid pipelines)
        options+=(-dict=fuzz/pipeline.dict)
    fi
    if [ "$target" = tokenizer_json ]; then
        seeds+=(engine/data/tests/golden/{byte_level,llama,word_piece})
    fi
    rm -rf "$new"
    mkdir -p "$kept" "$found/$target" "$new"
    printf '== %s: %s s\n' "$target" "$seconds"
    cargo fuzz run --sanitizer none "$target" "$found/$target" "${seeds[@]}" -- "${options[@]}" \
        -max_total_time="$seconds" -print_final_stats=1
    # The fewest texts that reach as much.
    cargo fuzz run --sanitizer none "$target" "$new" "$kept" "$found/$target" -- -merge=1 -use_counters=0 -verbosity=0
    rm -rf "$kept"
    mv "$new" "$kept"
done
