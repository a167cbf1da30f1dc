"""Every command that README and docs show: it parses, and a test runs it or it says what it needs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from support.project import ROOT

from mrsearch.cli import app
from mrsearch.cli.reference import REFERENCE, cli_reference
from mrsearch.config import Run, Study, load_study
from mrsearch.config.data import holds_out
from mrsearch.config.retrieval import Retrieval

PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if "reference" not in path.parts)]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = ("", "bash", "sh")
INDENTED, SPAN = re.compile(r"^ {4}(\S.*)$", re.MULTILINE), re.compile(r"`([^`]+)`")
PROGRAMS = ("mrsearch", "snakemake", "make", "pip", "python", "sinfo", "sacctmgr", "squeue", "scancel", "scontrol")


def shown(page: Path) -> Iterator[str]:
    """Command lines of a page: lines of blocks, and spans that begin with a program and have an argument."""
    text = page.read_text(encoding="utf-8")
    lines = [line for language, block in BLOCK.findall(text) if language in SHELL for line in block.splitlines()]
    lines += [*INDENTED.findall(text), *SPAN.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL))]
    for line in lines:
        command = " ".join(line.split(" #")[0].split())
        if command.split(" ")[0] in PROGRAMS and " " in command:
            yield command


RUN_BY = {
    "mrsearch ask": ("integration/test_ask.py", '"ask", "demo", "mr_search"'),
    "mrsearch inspect": ("unit/interactive/test_terminal.py", '"inspect", str(path)'),
    "mrsearch records convert": ("unit/evaluation/test_conversion.py", '"records", "convert"'),
    "mrsearch rehearse": ("integration/test_rehearsal.py", '"rehearse"'),
    "mrsearch plan": ("unit/planning/test_plan.py", '"plan", "paper"'),
    "make config": ("unit/config/test_generate.py", "def test_"),
    "make demo": ("e2e/test_commands.py", '"--just-print", "demo"'),
    "make docs": ("integration/test_docs_site.py", '"docs"'),
    "make report": ("e2e/test_commands.py", '"report", "STUDY=tiny"'),
    "mrsearch bundle": ("e2e/test_commands.py", '"mrsearch", "bundle"'),
    "make train-env": ("integration/verl/conftest.py", "make train-env"),
    "make vllm-cpu-env": ("integration/vllm/conftest.py", "make vllm-cpu-env"),
    "mrsearch verl-config": ("integration/verl/test_recipe.py", '"verl-config"'),
    "mrsearch data download": ("integration/test_download.py", "download(wanted"),
    "mrsearch protocol check": ("unit/agent/test_protocol_real.py", '"protocol", "check"'),
    "mrsearch data check": ("integration/test_download.py", "test_offline_says_what_is_missing"),
    "mrsearch index estimate": ("unit/retrieval/indexes/test_quality.py", '"estimate"'),
    "mrsearch index compare": ("unit/retrieval/indexes/test_quality.py", '"compare"'),
    "mrsearch retriever serve": ("integration/test_retrieval_serve_command.py", '"retriever", "serve"'),
    "mrsearch preflight": ("e2e/test_commands.py", '"mrsearch", "preflight"'),
    "mrsearch report show": ("e2e/test_commands.py", '"report", "STUDY=tiny"'),
    "mrsearch report compare": ("unit/reporting/compare/test_compare.py", '"report", "compare"'),
    "mrsearch report viewer": ("unit/reporting/viewer/test_viewer.py", '"report", "viewer"'),
    "mrsearch retriever start": ("e2e/test_commands.py", '"retriever", "start"'),
    "mrsearch retriever status": ("e2e/test_commands.py", '"retriever", "status"'),
    "mrsearch retriever stop": ("e2e/test_commands.py", '"retriever", "stop"'),
    "mrsearch study": ("e2e/test_commands.py", '"mrsearch", "study"'),
    "mrsearch train ... --scheduler slurm --dry-run": ("unit/cluster/test_site.py", '"--dry-run"'),
    "mrsearch index verify": ("unit/retrieval/indexes/test_manifest.py", '"index", "verify"'),
    "mrsearch verify": ("e2e/test_commands.py", '"mrsearch", "verify"'),
    "mrsearch wandb-sync": ("integration/test_wandb_sync.py", '"wandb-sync", "small"'),
    "pip install --no-deps --require-hashes -r envs/lexical.lock.txt": (
        "e2e/test_commands.py",
        "envs/lexical.lock.txt",
    ),
    "snakemake -n": ("e2e/test_dag.py", '"snakemake", "-n"'),
    "snakemake -n --config study=paper": ("e2e/test_dag.py", '"study=paper"'),
    "snakemake --profile slurm --config study=paper --until download_registered download_model": (
        "e2e/test_dag.py",
        '"--until", "download_registered", "download_model"',
    ),
    "snakemake -n --config study=real-smoke": ("e2e/test_dag.py", '"study=real-smoke"'),
    "snakemake --dag | dot -Tsvg": ("e2e/test_dag.py", '"--dag"'),
    "snakemake --profile profile/local --config study=demo": (
        "e2e/test_commands.py",
        "snakemake --profile profile/local --config study=demo",
    ),
    "snakemake --profile profile/local --config study=demo seeds=[0,1,2]": ("e2e/test_dag.py", '"seeds=[4,5]"'),
    "snakemake --profile profile/local --config study=demo seeds=[1,2,3]": ("e2e/test_dag.py", '"seeds=[4,5]"'),
    "snakemake --profile profile/local --config study=my/study.yaml": ("e2e/conftest.py", "study=tests/e2e/tiny.yaml"),
    "snakemake --profile profile/local --config study=demo-verl": ("integration/verl/test_dag.py", '"study=demo-verl"'),
    "snakemake --profile profile/local --config study=docs/guides/interventions.yaml": (
        "integration/test_interventions.py",
        'study="docs/guides/interventions.yaml"',
    ),
    "snakemake --profile profile/local --config study=docs/guides/sweep.yaml": (
        "e2e/test_dag.py",
        '"study=docs/guides/sweep.yaml"',
    ),
    "snakemake --profile profile/local results/tutorial/tables/main.md": (
        "e2e/test_tutorial.py",
        "def test_every_command_of_the_tutorial_in_its_order",
    ),
    "snakemake --profile profile/local results/tutorial/metrics.parquet": (
        "e2e/test_tutorial.py",
        "def test_every_command_of_the_tutorial_in_its_order",
    ),
    "snakemake --profile profile/local --config study=when": ("e2e/test_dag.py", '"study=when-development"'),
    "snakemake --profile profile/local --config study=scaling": ("e2e/test_dag.py", '"study=scaling"'),
    "snakemake --profile profile/local --config study=real-smoke": ("e2e/test_real_smoke.py", "study=real-smoke"),
}
"""Test that runs a command, perhaps on a smaller study, and what of the command stands in it. The longest beginning of
a command that is here speaks for it."""
ON_A_CLUSTER = ("sacctmgr", "scancel", "scontrol", "sinfo", "snakemake --profile slurm", "snakemake --unlock", "squeue")
"""Need Slurm; `tests/integration/slurm` runs the profile and these programs on a real one."""
BY_HAND = (
    *("make lint", "make lock", "make test", "python benchmarks/"),
    *("make gpu-env", "make train-sglang-env", "make retriever-gpu-env"),
    "snakemake --touch",
    *(
        "snakemake --profile profile/local --config study=evaluate-checkpoint",
        "snakemake --profile profile/slurm --config study=search_r1",
        "snakemake --profile profile/local --resources gpu=1 --config study=small-gpu",
    ),
)
"""What needs published files, runs the tests, asks an index for new versions, takes a quiet machine, installs gigabytes
for GPUs, or is about results copied elsewhere."""
IN_THE_RULES = {
    found
    for rules in (ROOT / "rules").glob("*.smk")
    for found in re.findall(r"mrsearch [a-z]+(?: [a-z]+)?", rules.read_text())
}
"""Commands of the rules: `tests/e2e` runs each of them."""

COMMANDS = sorted({command for page in PAGES for command in shown(page)})


def known(program: str) -> list[str]:
    return [command for command in COMMANDS if command.split()[0] == program]


def test_the_pages_show_commands() -> None:
    assert len(known("mrsearch")) > 8 and len(known("snakemake")) > 4


@pytest.mark.parametrize("command", known("mrsearch"))
def test_a_shown_command_exists_with_its_options(command: str) -> None:
    here: Any = typer.main.get_command(app)
    words = shlex.split(command)[1:]
    while words and words[0] in getattr(here, "commands", {}):
        here = here.commands[words.pop(0)]
    if hasattr(here, "commands"):
        assert words in ([], ["..."]), f"{command}: no such sub-command"
        return
    options = {name for parameter in here.params for name in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in words if word.startswith("--") and word.split("=")[0] not in options | {"--help"}]
    assert unknown == [], f"{command}: unknown options"
    try:
        here.make_context(here.name, [word for word in words if word != "..."])
    except Exception as error:
        # A page may mention a command without its options.
        assert type(error).__name__ == "MissingParameter", f"{command}: {error}"


@pytest.mark.parametrize("command", known("make"))
def test_a_shown_target_exists(command: str) -> None:
    target = command.split()[1]
    assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_shown_command_is_run_by_a_test_or_says_what_it_needs(command: str) -> None:
    if command.startswith((*ON_A_CLUSTER, *BY_HAND)):
        return
    if command in IN_THE_RULES or command.removesuffix(" import").removesuffix(" build") in IN_THE_RULES:
        return
    spoken_for = [known for known in RUN_BY if f"{command} ".startswith(f"{known} ")]
    assert spoken_for, "name the test that runs it in RUN_BY"
    test, evidence = RUN_BY[max(spoken_for, key=len)]
    assert evidence in (ROOT / "tests" / test).read_text(encoding="utf-8"), f"not in {test}"


def test_no_test_is_named_for_a_command_that_the_docs_no_longer_show() -> None:
    assert [known for known in RUN_BY if not any(f"{command} ".startswith(f"{known} ") for command in COMMANDS)] == []


def test_the_commands_reference_is_up_to_date() -> None:
    assert (ROOT / REFERENCE).read_text(encoding="utf-8") == cli_reference(), "run `make config`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[\w-]+)?\)", text):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_retrievers_as_the_guide_shows_them_are_accepted(root: Path) -> None:
    shown = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs/guides/retriever.md").read_text(), re.M | re.S)
    fused, on_gpu, derived = map(yaml.safe_load, shown)
    kinds = {settings.kind for settings in Retrieval.model_validate(derived["retrieval"]).retrievers.values()}
    assert kinds == {"lexical", "reranked", "remote", "noisy"}
    assert Retrieval.model_validate(fused["retrieval"]).retrievers["fused"].kind == "hybrid"
    study = load_study(Run(study="demo", overrides=on_gpu | {"retrieval.compared": []}), root)
    assert study.resources.retriever.gpus == 1 and "torch" in study.gpu_indexes()


LINKED = re.findall(r"\]\(\.\./(src/[^)#]+)#(\w+)\)", (ROOT / "docs" / "algorithm.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("path", "name"), LINKED)
def test_the_algorithms_functions_are_where_the_page_says(path: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)


def test_the_tutorials_study_and_row_are_accepted(root: Path) -> None:
    *_, row, study, training = re.findall(r"^```yaml\n(.*?)^```$", (root / "docs/tutorial.md").read_text(), re.M | re.S)
    assert Study.model_validate(yaml.safe_load(study)).name == "mine"
    trained = Study.model_validate(yaml.safe_load(study) | yaml.safe_load(training))
    assert trained.training_stage("mr_search") == "train" and holds_out(trained.data, "validation")
    demo = yaml.safe_load((root / "config/studies/demo.yaml").read_text())
    demo["methods"] |= yaml.safe_load(row)["methods"]
    assert Study.model_validate(demo).methods["mr_search_two"].episodes == 2
