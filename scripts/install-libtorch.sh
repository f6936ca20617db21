#!/usr/bin/env bash
# Puts libtorch where every build looks for it: `.libtorch/site/torch`, see `.cargo/config.toml`.
#
# Unpacks PyTorch's wheel with pip: libtorch, its headers, and of CUDA what the CPU build loads; all of CUDA where there
# is an NVIDIA driver. With LIBTORCH=DIR or LIBTORCH_USE_PYTORCH=1 it links the libtorch that is there already.
#
# The install is made in `.libtorch/partial` and renamed when it is complete, so `.libtorch/site` is complete or absent.
# `.libtorch/site/variant` says what was installed: "2.11.0 cpu", "2.11.0 cuda" or "2.11.0 DIR".

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

VERSION=2.11.0
CPU_PACKAGES=("torch==$VERSION" nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85)
CUDA_PACKAGES=("torch==$VERSION")

HOME_DIR="$ROOT/.libtorch"
SITE="$HOME_DIR/site"
PARTIAL="$HOME_DIR/partial"

# version_of DIR: the version of the libtorch in DIR, empty where there is none. Reads files, starts nothing.
version_of() {
    local header
    if [ -e "$1/build-version" ]; then
        sed 's/+.*//' "$1/build-version"
        return
    fi
    for header in "$1"/include/torch/headeronly/version.h "$1"/include/torch/csrc/api/include/torch/version.h; do
        [ -e "$header" ] || continue
        awk '$2 == "TORCH_VERSION_MAJOR" {a = $3} $2 == "TORCH_VERSION_MINOR" {b = $3} $2 == "TORCH_VERSION_PATCH" {c = $3}
             END {if (a != "") print a "." b "." c}' "$header"
        return
    done
}

# is_libtorch DIR: DIR has the headers and the library of the right version.
is_libtorch() {
    [ -e "$1/lib/libtorch_cpu.so" ] && [ "$(version_of "$1")" = "$VERSION" ]
}

has_nvidia_driver() {
    [ -e /proc/driver/nvidia/version ] || { command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; }
}

# installed: the variant in place, empty where nothing usable is.
installed() {
    if [ -e "$SITE/variant" ] && is_libtorch "$SITE/torch"; then sed "s/^$VERSION //" "$SITE/variant"; fi
}

has_cuda_library() { [ -e "$1/torch/lib/libtorch_cuda.so" ] && echo yes || echo no; }

# put_in_place VARIANT: what was made in PARTIAL becomes the install.
put_in_place() {
    # torch-sys looks for this library when it is built, and would go on linking it.
    if [ -d "$ROOT/target/release" ] && [ "$(has_cuda_library "$SITE")" != "$(has_cuda_library "$PARTIAL/site")" ]; then
        (cd "$ROOT" && cargo clean --quiet --release -p torch-sys)
    fi
    echo "$VERSION $1" >"$PARTIAL/site/variant"
    sync -f "$PARTIAL/site" 2>/dev/null || sync
    rm -rf "$SITE"
    mv "$PARTIAL/site" "$SITE"
    rm -rf "$PARTIAL"
}

# link_own DIR NAME: uses the libtorch in DIR, which the user named by NAME.
link_own() {
    local dir found
    dir="$(cd "$1" 2>/dev/null && pwd -P)" || fail "$2 names a folder that is not there: $1" \
        "name the folder that holds libtorch's lib/ and include/, or unset $2 and run make again: it installs libtorch $VERSION"
    # The project's own install, named by its path.
    [ "$dir" != "$(cd "$SITE/torch" 2>/dev/null && pwd -P)" ] || return 0
    found="$(version_of "$dir")"
    [ -n "$found" ] || fail "$2 names a folder without libtorch's headers: $dir" \
        "name the folder that holds libtorch's lib/ and include/, or unset $2 and run make again: it installs libtorch $VERSION"
    [ "$found" = "$VERSION" ] || fail "$2 names libtorch $found, and $VERSION is needed: $dir" \
        "name a libtorch $VERSION, or unset $2 and run make again: it installs one"
    is_libtorch "$dir" || fail "$2 names a folder without lib/libtorch_cpu.so: $dir" \
        "a libtorch with shared libraries is needed; or unset $2 and run make again: it installs one"
    rm -rf "$PARTIAL"
    mkdir -p "$PARTIAL/site"
    ln -s "$dir" "$PARTIAL/site/torch"
    put_in_place "$dir"
    echo "libtorch $VERSION: using $dir"
}

# pythons_torch: the folder of the torch that Python has, chosen as torch-sys chooses it.
pythons_torch() {
    local python=python3
    [ -z "${VIRTUAL_ENV:-}" ] || python=python
    command -v "$python" >/dev/null || fail "LIBTORCH_USE_PYTORCH is set, and there is no $python on PATH" \
        "unset LIBTORCH_USE_PYTORCH and run make again: it installs libtorch $VERSION"
    "$python" -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])' 2>/dev/null ||
        fail "LIBTORCH_USE_PYTORCH is set, and $(command -v "$python") has no torch" \
            "install it: $python -m pip install torch==$VERSION" \
            "or unset LIBTORCH_USE_PYTORCH and run make again: it installs libtorch $VERSION"
}

# check_pip: stops where Python or its pip is missing.
check_pip() {
    command -v python3 >/dev/null || fail "python3 is not on PATH: its pip unpacks libtorch" \
        "on Debian or Ubuntu: apt install python3 python3-pip" \
        "or set LIBTORCH to the folder of a libtorch $VERSION that you have"
    python3 -m pip --version >/dev/null 2>&1 || fail "$(command -v python3) has no pip: it unpacks libtorch" \
        "on Debian or Ubuntu: apt install python3-pip" "on Fedora: dnf install python3-pip" "elsewhere: python3 -m ensurepip" \
        "or set LIBTORCH to the folder of a libtorch $VERSION that you have"
}

# install VARIANT: unpacks the wheels.
install() {
    local variant="$1" packages gigabytes free
    local options=(--target "$PARTIAL/site" --no-compile --no-warn-script-location)
    if [ "$variant" = cpu ]; then
        packages=("${CPU_PACKAGES[@]}") gigabytes=2
        options+=(--no-deps)
    else
        packages=("${CUDA_PACKAGES[@]}") gigabytes=7
    fi
    case "$(uname -sm)" in
        "Linux x86_64" | "Linux aarch64") ;;
        *) fail "no libtorch is known for $(uname -sm)" "set LIBTORCH to the folder of a libtorch $VERSION that you have" ;;
    esac
    check_pip

    # The wheel is only unpacked: a Python that torch has no wheel for takes the one for 3.12.
    if ! python3 -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))'; then
        options+=(--python-version 3.12 --only-binary=:all:)
    fi

    rm -rf "$PARTIAL"
    mkdir -p "$PARTIAL/tmp"
    free="$(df -Pk "$PARTIAL" | awk 'NR == 2 {print int($4 / 1048576)}')"
    [ "$free" -ge "$gigabytes" ] || fail "libtorch needs $gigabytes GB, and $HOME_DIR has $free GB free" \
        "free some space and run make again, or set LIBTORCH to the folder of a libtorch $VERSION that you have"

    echo "libtorch $VERSION ($variant): installing into .libtorch/"
    # pip unpacks under TMPDIR and then moves: on the same file system it is a rename. A user's own settings for pip may
    # forbid what --target does, hence the others.
    TMPDIR="$PARTIAL/tmp" PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore \
        PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip install "${options[@]}" "${packages[@]}" ||
        fail "pip could not install ${packages[0]}" "where the download was cut: run make again, it starts this step over" \
            "where no version was found: torch has wheels for glibc 2.28 or newer, and pip must be 20.3 or newer ($(python3 -m pip --version | cut -d ' ' -f 1-2))" \
            "or set LIBTORCH to the folder of a libtorch $VERSION that you have"
    is_libtorch "$PARTIAL/site/torch" || fail "the wheel of torch $VERSION does not hold libtorch $VERSION" "run make again"
    put_in_place "$variant"
}

mkdir -p "$HOME_DIR"
if command -v flock >/dev/null; then
    exec 9>"$HOME_DIR/lock"
    flock -n 9 || { echo "libtorch: another install is at work, waiting for it" && flock 9; }
fi

# An install that was complete, and interrupted just before it was renamed.
if [ ! -e "$SITE" ] && [ -e "$PARTIAL/site/variant" ]; then
    mv "$PARTIAL/site" "$SITE"
    rm -rf "$PARTIAL"
fi

if [ -n "${LIBTORCH_USE_PYTORCH+set}" ]; then
    torch="$(pythons_torch)"
    link_own "$torch" LIBTORCH_USE_PYTORCH
elif [ -n "${LIBTORCH:-}" ] && [ "$LIBTORCH" != "$SITE/torch" ]; then
    link_own "$LIBTORCH" LIBTORCH
else
    case "$(installed)" in
        cuda | /*) ;;
        cpu) if has_nvidia_driver; then install cuda; fi ;;
        *) if has_nvidia_driver; then install cuda; else install cpu; fi ;;
    esac
fi
