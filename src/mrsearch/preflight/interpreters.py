"""Which Python runs which stages of a study, and what they import there."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mrsearch.cluster.environments import inside_container
from mrsearch.config import Run, Study
from mrsearch.config.site import Site

_SERVER = ("mrsearch", "torch", "faiss")
"""What a retrieval server imports."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """One environment as a study uses it."""

    title: str
    """How sentences name it."""
    make: str
    """Target of make that makes it; empty where none does."""
    python: Path | None
    """None inside a container."""
    users: dict[str, str] = field(default_factory=dict)
    """Who needs a module, by module."""
    on_gpus: bool = False
    """Whether its stages have GPUs."""
    compiles: bool = False
    """Whether what runs in it compiles CUDA source at its start, which needs nvcc and ninja."""


def interpreters(run: Run, study: Study, site: Site | None) -> list[Interpreter]:
    """The environments that the study's stages run in, each once, with what is imported there."""
    gpu, train = Path(run.paths.gpu_environment), Path(run.paths.train_environment)
    server = Path(run.paths.retriever_environment) if run.paths.retriever_environment else None
    if site is not None and site.container is not None:
        server = None  # the image takes its place
    current = Interpreter(f"this environment ({sys.prefix})", "", Path(sys.executable), _first(_in_this_process(study)))
    environments = [current]
    users = _first(_on_gpus(study, server is not None))
    if users:
        kinds = {study.evaluation.generator.kind, *(study.training_of(name).verl.rollout for name in study.methods)}
        compiles = "sglang" in kinds & set(users)
        container = site.container if site is not None else None
        title = f"container ({container})" if container else f"paths.gpu_environment ({gpu})"
        python = None if container else gpu.absolute() / "bin" / "python"
        environments.append(Interpreter(title, "" if container else "gpu-env", python, users, True, compiles))
    if server is not None and _serves_on_gpus(study):
        title, python = f"paths.retriever_environment ({server})", server.absolute() / "bin" / "python"
        environments.append(Interpreter(title, "retriever-gpu-env", python, dict.fromkeys(_SERVER, "retriever"), True))
    users = _first(_trained_without_gpus(study))
    if users:
        python = train.absolute() / "bin" / "python"
        environments.append(Interpreter(f"paths.train_environment ({train})", "train-env", python, users))
    return environments


def command_of(interpreter: Interpreter, arguments: list[str], site: Site | None) -> list[str] | None:
    """`python ARGUMENTS` there; None where that cannot be started on this machine."""
    if interpreter.python is not None:
        return [str(interpreter.python), *arguments] if interpreter.python.exists() else None
    assert site is not None, "a container is a site's"
    return inside_container([sys.executable, *arguments], site) if shutil.which("apptainer") else None


def _first(users: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Each module with the first that needs it."""
    users_of: dict[str, str] = {}
    for module, user in users:
        users_of.setdefault(module, user)
    return users_of


def _in_this_process(study: Study) -> Iterator[tuple[str, str]]:
    yield "pyarrow", "data"
    for stage in ("warm_start", "sft", "train", "evaluate"):
        if stage in study.active_stages() and not getattr(study.resources, stage).gpus:
            yield "torch", stage
            yield "transformers", stage
    if any(study.retrieval.retrievers[name].kind == "dense" for name in (*study.indexed(), *study.compared())):
        yield "faiss", "index"
    if study.reranks() and not study.resources.retriever.gpus:
        yield "sentence_transformers", "retriever" if study.served() else "evaluate"


def _on_gpus(study: Study, server_apart: bool) -> Iterator[tuple[str, str]]:
    """server_apart: the retrieval server has an environment of its own."""
    if _serves_on_gpus(study) and not server_apart:
        yield from ((module, "retriever") for module in _SERVER)
    for name, method in study.methods.items():
        if method.train and getattr(study.resources, study.training_stage(name)).gpus:
            yield from _training(study, name)
    if study.resources.evaluate.gpus:
        yield from ((module, "evaluate") for module in _generator(study))


def _serves_on_gpus(study: Study) -> bool:
    return study.resources.retriever.gpus > 0 and "retriever" in study.active_stages()


def _trained_without_gpus(study: Study) -> Iterator[tuple[str, str]]:
    for name, method in study.methods.items():
        trained = bool(method.train) and study.trained_by_verl(name)
        if trained and not getattr(study.resources, study.training_stage(name)).gpus:
            yield from _training(study, name)


def _training(study: Study, method: str) -> Iterator[tuple[str, str]]:
    """Modules of one training."""
    user, stage = f"methods.{method}", study.training_stage(method)
    modules = ["mrsearch", "torch", "transformers"]
    if study.trained_by_verl(method):
        modules += ["tensordict", "verl"]
        modules += ["ray", "transfer_queue"] if stage == "train" else []
    rollout = study.training_of(method).verl.rollout
    if stage == "train" and rollout != "transformers" and study.trained_by_verl(method):
        modules.append(rollout)
    settings = study.methods[method].train
    if stage == "sft" and settings is not None and settings.demonstrations == "self_generated":
        modules += _generator(study)
    yield from ((module, user) for module in modules)


def _generator(study: Study) -> list[str]:
    """What the server of evaluations and of sampling imports; a command of the study's own brings its own."""
    generator = study.evaluation.generator
    if generator.command is not None:
        return ["mrsearch", "transformers"]
    return ["mrsearch", "torch", "transformers", *([] if generator.kind == "torch" else [generator.kind])]
