# Shared by the scripts beside this file; sourced by a POSIX shell that stands in the checkout's top folder.

# Newest first, but for a version that Lambda has as a preview.
VERSIONS="3.14 3.13 3.12 3.11 3.15"

# What is set for other programs of Python's decides nothing here. (PYTHON itself names the interpreter.)
while read -r _ variable; do
    case $variable in
        PYTHON[A-Z]*=*) unset "${variable%%=*}" ;;
    esac
done <<EXPORTED
$(export -p)
EXPORTED

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
    pyenv=${PYENV_ROOT:-$(pyenv root 2>/dev/null || printf '%s' "${HOME:-}/.pyenv")}
    for candidate in "python$1" "$pyenv"/versions/"$1".*/bin/python "/opt/python/$1/bin/python3"; do
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

# uv_as_pip PYTHON: gives uv the index and the certificates that pip has here, from its variables or its configuration
# files. PYTHON has pip; uv reads neither.
uv_as_pip() {
    # The system's certificates, under both names of the setting.
    export UV_SYSTEM_CERTS=true UV_NATIVE_TLS=true UV_PYTHON_DOWNLOADS=never
    [ -z "${PIP_CERT:-}" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"
    index=${PIP_INDEX_URL:-$("$1" -m pip config get global.index-url 2>/dev/null || :)}
    [ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
}

# make_venv PYTHON FOLDER PIP-ARGUMENT…: a virtual environment with these packages, quiet unless it fails. One that is there
# is used again if the same Python made it here, for the same arguments and requirements, and all was installed. Any other
# is made again from nothing: what an earlier installation has left, or half of one, would hide that a package is missing.
make_venv() {
    base=$1
    venv=$2
    shift 2
    wanted=$(
        "$base" -c 'import sys; print(sys.version)'
        printf '%s\n' "$PWD" "$@"
        for argument; do
            case $argument in
                . | .\[*) cat pyproject.toml ;;
                *) [ ! -f "$argument" ] || cat "$argument" ;;
            esac
        done
    )
    stamp="$venv/.installed"
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        return 0
    fi
    rm -f "$stamp"
    rm -rf "$venv"
    if ! output=$("$base" -m venv "$venv" 2>&1); then
        rm -rf "$venv"
        case $output in
            *ensurepip* | *'No module named venv'*)
                fail "$base has no module venv to make a virtual environment with. On Debian and Ubuntu: apt install python3-venv"
                ;;
        esac
        printf '%s\n' "$output" >&2
        fail "$base could not make a virtual environment in $venv (see above)."
    fi
    printf 'Installing into %s …\n' "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1' \
        && "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" \
        || fail "the installation into $venv failed (see above). The scripts need a Python package index they can reach."
    # The stamp comes last: whatever stops this half-way is made good by the next run.
    printf '%s\n' "$wanted" >"$stamp"
}
