#!/usr/bin/env bash
# Make the virtual environment $1 from the locks of the environment $2 (by default cpu: envs/cpu.in and envs/cpu.lock.txt), with this
# project in it, and leave the mark $1/installed that make looks for. $1 may also be an environment that conda made.
# PYTHON names an interpreter, TORCH_PIP_ARGS gives pip further arguments when it looks for PyTorch's CPU build, and FLASH_ATTN
# names a wheel of flash-attn to add. uv installs, that of PATH if there is one; pip brings the environment's own, and PyTorch.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1
name=${2:-cpu}
lock=envs/$name.lock.txt

say() { printf '%s\n' "$*" >&2; }

if [ ! -f "envs/$name.in" ] || [ ! -f "$lock" ]; then
  say "No environment $name: envs/ has" "$(cd envs && for each in *.in; do [ ! -f "${each%.in}.lock.txt" ] || printf '%s ' "${each%.in}"; done)"
  exit 1
fi
read -ra versions < <(sed -n 's/^# Python: //p' "envs/$name.in")

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

is_locked_for() {
  local version
  version=$(version_of "$1") && [[ " ${versions[*]} " == *" $version "* ]]
}

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python "${versions[@]/#/python}"; do
    if [ -n "$candidate" ] && is_locked_for "$candidate"; then
      printf '%s' "$candidate"
      return
    fi
    [ -z "${PYTHON:-}" ] || break
  done
  say "No Python of a version that $lock is for (${versions[*]}): ${PYTHON:-this machine} has" \
    "$(version_of "${PYTHON:-python3}" || echo none). Install one of them, or name it: PYTHON=/path/to/python${versions[0]}"
  return 1
}

if ! is_locked_for "$venv/bin/python" ||
  { [ -n "${PYTHON:-}" ] && [ "$(version_of "$PYTHON")" != "$(version_of "$venv/bin/python")" ]; }; then
  python=$(find_python)
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    say "Python's venv module is missing: install it (Debian and Ubuntu: the package python$(version_of "$python")-venv)."
    exit 1
  fi
  say "Making $venv with $("$python" --version)"
  "$python" -m venv --clear "$venv"
fi
rm -f "$venv/installed"

with_pip() { "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps --use-pep517 "$@"; }

# pip compiles bytecode by itself. Where uv finds less than pip, whose settings it does not read, pip does its work from then on.
try_uv=yes
install() {
  local uv
  if [ -n "$try_uv" ] && uv=$(command -v uv || command -v "$venv/bin/uv"); then
    if "$uv" pip install --quiet --python "$venv/bin/python" --no-deps --compile-bytecode --no-build-isolation "$@"; then return; fi
    try_uv=
    say "uv cannot install here: pip goes on"
  fi
  with_pip --no-build-isolation "$@"
}

install_torch() {
  local reason
  # shellcheck disable=SC2086  # several arguments
  if [ "$(uname -s)" = Linux ]; then
    if reason=$(with_pip --require-hashes ${TORCH_PIP_ARGS:-} -r envs/torch-cpu.lock.txt 2>&1); then return; fi
    [ -z "${TORCH_PIP_ARGS:-}" ] || say "$reason"
    say "PyTorch's CPU build is not where pip looks (TORCH_PIP_ARGS='--extra-index-url ADDRESS' would say where):" \
      "installing the package index's build, whose libraries for GPUs take 4 GB more disk."
  fi
  install --require-hashes -r envs/torch.lock.txt
}

install --require-hashes -r envs/build.lock.txt
if ! grep -q '^torch==' "$lock"; then
  say "Installing PyTorch"
  install_torch
fi
say "Installing the other packages"
install --require-hashes -r "$lock"
[ -z "${FLASH_ATTN:-}" ] || install "$FLASH_ATTN"
install --editable .
"$venv/bin/python" -m compileall -q src
touch "$venv/installed"
