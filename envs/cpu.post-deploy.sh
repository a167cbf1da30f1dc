#!/usr/bin/env bash
# Runs inside the environment that Snakemake made from cpu.yaml, in the folder where the workflow runs.
set -euo pipefail
pip="python -m pip install --no-deps"
# shellcheck disable=SC2086  # several arguments
$pip --require-hashes ${TORCH_PIP_ARGS:-} -r envs/torch-cpu.lock.txt
$pip --require-hashes -r envs/build.lock.txt
$pip --require-hashes --no-build-isolation --use-pep517 -r envs/cpu.lock.txt
$pip --no-build-isolation --editable .
