#!/usr/bin/env bash
# Make the virtual environment $1 for trainings on GPUs from the lock of a generation engine, $2: sglang or vllm.
# Needs Python 3.12 and, to build flash-attn, CUDA's compiler; FLASH_ATTN names a wheel of the same version to use instead.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1
lock=envs/train-$2.lock.txt
locked="3.12"
python=${PYTHON:-python$locked}
if ! "$python" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != sys.argv[1])' "$locked" 2>/dev/null; then
  printf 'Python %s is missing: install it, or name it with PYTHON=/path/to/python%s\n' "$locked" "$locked" >&2
  exit 1
fi
[ -f "$lock" ] || { printf 'No lock %s: the engines are sglang and vllm\n' "$lock" >&2; exit 1; }
[ -x "$venv/bin/python" ] || "$python" -m venv --clear "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps "$@"; }
# flash-attn comes as source and is built against the torch that is installed by then.
without=$(mktemp)
only=$(mktemp)
trap 'rm -f "$without" "$only"' EXIT
awk '/^[A-Za-z0-9]/ {own = ($0 ~ /^flash-attn==/)} !own' "$lock" >"$without"
awk '/^[A-Za-z0-9]/ {own = ($0 ~ /^flash-attn==/)} own' "$lock" >"$only"
pip --require-hashes -r envs/build.lock.txt
pip --require-hashes --no-build-isolation --use-pep517 -r "$without"
if [ -n "${FLASH_ATTN:-}" ]; then pip "$FLASH_ATTN"; else pip --require-hashes --no-build-isolation -r "$only"; fi
pip --no-build-isolation --editable .
