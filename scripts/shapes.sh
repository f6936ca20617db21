#!/usr/bin/env bash
# shapes.sh [NAME…]: one training of each of the studies' models with random weights, one after the other: what it was
# forecast to need, and what it needed. Each line is one JSON object. The largest needs 17 GiB of memory.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cd "$ROOT"

program=target/release/examples/forecast
steps=2
threads="$(nproc)"

# NAME  METHOD PRECISION MEMORY TASK ROWS LENGTH ANSWER
shapes="\
roberta-large  plain_lora float32 kept       classify 8 128 0
roberta-large  plain_lora bf16    kept       classify 8 128 0
rut5-large     plain_lora float32 kept       text     4 128 32
rut5-large     plain_lora bf16    kept       text     4 128 32
gemma-3-1b     plain_lora bf16    kept       text     2 128 32
gemma-3-1b     plain_dora bf16    recomputed text     2 128 32
llama-7b       plain_lora bf16    recomputed text     1 64  16"

while read -r name words; do
    if [ "$#" -gt 0 ] && [[ " $* " != *" $name "* ]]; then
        continue
    fi
    # shellcheck disable=SC2086
    printf '{"shape": "%s", "words": "%s", "found": %s}\n' "$name" "$words" \
        "$(nice "$program" "tests/shapes/$name.json" $words "$steps" "$threads")"
done <<<"$shapes"
