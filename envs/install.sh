#!/usr/bin/env bash
# Make the virtual environment $1 from the locks: PyTorch's CPU build, everything else (the lock $2, by default
# envs/cpu.lock.txt), then this project itself.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1
lock=${2:-envs/cpu.lock.txt}
locked="3.11"

say() { printf '%s\n' "$*" >&2; }

is_locked_version() { "$1" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != sys.argv[1])' "$locked" 2>/dev/null; }

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" "python$locked" python3 python; do
    if [ -n "$candidate" ] && is_locked_version "$candidate"; then
      printf '%s' "$candidate"
      return
    fi
  done
  say "Python $locked is missing: the locked packages are for that version, and this machine has" \
    "$(python3 --version 2>/dev/null || echo 'no python3'). Install Python $locked, or name it: make demo PYTHON=/path/to/python$locked"
  return 1
}

if ! is_locked_version "$venv/bin/python"; then
  python=$(find_python)
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    say "Python's venv module is missing: install it (Debian and Ubuntu: the package python$locked-venv)."
    exit 1
  fi
  say "Making $venv with $("$python" --version)"
  "$python" -m venv --clear "$venv"
fi

pip() { "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps "$@"; }

say "Installing PyTorch"
# shellcheck disable=SC2086  # several arguments
if ! pip --require-hashes ${TORCH_PIP_ARGS:-} -r envs/torch-cpu.lock.txt; then
  say "PyTorch's CPU build was not found where pip looks. Point pip at PyTorch's CPU wheels, for instance" \
    "make demo TORCH_PIP_ARGS='--extra-index-url ADDRESS', with the address that PyTorch's installation page gives."
  exit 1
fi
say "Installing the other packages"
pip --require-hashes -r envs/build.lock.txt
pip --require-hashes --no-build-isolation --use-pep517 -r "$lock"
pip --no-build-isolation --editable .
