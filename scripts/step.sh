#!/usr/bin/env bash
# step.sh NAME COMMAND…: runs one step of the tests and says how long it took.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

name="$1"
shift
printf '== %s\n' "$name"
status=0
"$@" || status=$?
if [ "$status" -eq 0 ]; then
    printf '== %s: %s s\n' "$name" "$SECONDS"
else
    printf '== %s: failed after %s s\n' "$name" "$SECONDS" >&2
fi
exit "$status"
