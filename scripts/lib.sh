# Shared by the scripts beside this file; sourced by a POSIX shell that stands in the checkout's top folder.

VERSIONS="3.14 3.13 3.12 3.11"

fail() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

# usable PYTHON: runs, and is 3.11 or newer. A version manager's shim on the PATH may exist and not run.
usable() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# find_version VERSION: the interpreter of a minor version, wherever it commonly lives; nothing if there is none.
find_version() {
    for candidate in "python$1" "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/"$1".*/bin/python "/opt/python/$1/bin/python3"; do
        if usable "$candidate" && [ "$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" = "$1" ]; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return 0
        fi
    done
    return 1
}

# default_python: PYTHON if the caller set it, else python3, else the newest that is there.
default_python() {
    if [ -n "${PYTHON:-}" ]; then
        usable "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.11 or newer that runs."
        printf '%s\n' "$PYTHON"
        return 0
    fi
    if usable python3; then
        python3 -c 'import sys; print(sys.executable)'
        return 0
    fi
    for version in $VERSIONS; do
        find_version "$version" && return 0
    done
    if found=$(python3 --version 2>/dev/null) && [ -n "$found" ]; then
        fail "asgi-stream needs Python 3.11 or newer; python3 here is $found. Install a newer one, or name it: PYTHON=/path/to/python3.12 $0"
    fi
    fail "asgi-stream needs Python 3.11 or newer and found none. Install it, or name it: PYTHON=/path/to/python3.12 $0"
}

# make_venv PYTHON FOLDER: a virtual environment; one that is there is used again if the same Python made it here.
make_venv() {
    identity="$("$1" -c 'import sys; print(sys.version)') $PWD"
    if [ "$(cat "$2/.identity" 2>/dev/null)" = "$identity" ] && "$2/bin/python" -m pip --version >/dev/null 2>&1; then
        return 0
    fi
    rm -rf "$2"
    if ! output=$("$1" -m venv "$2" 2>&1); then
        rm -rf "$2"
        case $output in
            *ensurepip* | *'No module named venv'*)
                fail "$1 has no module venv to make a virtual environment with. On Debian and Ubuntu: apt install python3-venv"
                ;;
        esac
        printf '%s\n' "$output" >&2
        fail "$1 could not make a virtual environment in $2 (see above)."
    fi
    printf '%s' "$identity" >"$2/.identity"
}

# install FOLDER PIP-ARGUMENT…: quiet unless it fails; skipped when nothing that it depends on has changed.
install() {
    venv=$1
    shift
    stamp="$venv/.installed"
    wanted=$(cat pyproject.toml; printf '%s ' "$@")
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return 0
    fi
    printf 'Installing into %s …\n' "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1' \
        && "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" \
        || fail "the installation into $venv failed (see above). The scripts need a Python package index they can reach."
    printf '%s' "$wanted" >"$stamp"
}
