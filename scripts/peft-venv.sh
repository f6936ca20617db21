#!/usr/bin/env bash
# Prints the path of a Python that has what tests/peft/requirements.txt lists, and makes its environment in `.venv-peft/`
# where it is missing or interrupted. It takes some 6 GB and is needed only to compare with PEFT and to write golden values.
# With another word, such as `adapters`, the same for tests/peft/adapters.txt and `.venv-adapters/`.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

NAME="${1:-peft}"
WANTED="$ROOT/tests/peft/requirements.txt"
[ "$NAME" = peft ] || WANTED="$ROOT/tests/peft/$NAME.txt"
VENV="$ROOT/.venv-$NAME"
STAMP="$VENV/requirements.txt" # written last

if ! cmp -s "$WANTED" "$STAMP"; then
    command -v python3 >/dev/null || fail "python3 is not on PATH" "on Debian or Ubuntu: apt install python3 python3-venv"
    echo "installing what ${WANTED#"$ROOT"/} lists into .venv-$NAME/" >&2
    rm -rf "$VENV"
    python3 -m venv "$VENV" >&2 || fail "python3 cannot make a virtual environment" \
        "on Debian or Ubuntu: apt install python3-venv"
    PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 "$VENV/bin/python" -m pip install --requirement "$WANTED" >&2 ||
        fail "pip could not install what ${WANTED#"$ROOT"/} lists" "where the download was cut: run make again" \
            "torch has wheels for Python 3.10 to 3.14; this is $(python3 --version)"
    cp "$WANTED" "$STAMP"
fi
echo "$VENV/bin/python"
