#!/usr/bin/env bash
# Runs inside the environment that Snakemake made from cpu.yaml, in the folder where the workflow runs.
set -euo pipefail
envs/install.sh "$CONDA_PREFIX" cpu
