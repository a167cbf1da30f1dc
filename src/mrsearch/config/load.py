"""Reading and resolving configuration files."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mrsearch.config.dotted import set_key
from mrsearch.config.experiment_points import with_points
from mrsearch.config.extends import read_extended
from mrsearch.config.problems import LONGEST_VALUE, problems
from mrsearch.config.run import Run
from mrsearch.config.source import ConfigError, study_path
from mrsearch.config.study import Study
from mrsearch.config.sweep import expanded
from mrsearch.config.trained_models import mismatches, with_trained_protocol
from mrsearch.files import write_text
from mrsearch.folder_rights import other_writers

log = logging.getLogger(__name__)
NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?")
WORDS = {"true": True, "True": True, "false": False, "False": False, "null": None, "~": None}
"""Values that overrides write as words."""
M = TypeVar("M", bound=BaseModel)


def load_run(config: Mapping[str, Any]) -> Run:
    """The validated run of a Snakemake `config` mapping; ConfigError names the offending key.

    `snakemake --config` hands the values inside lists and mappings over as text, so text in `seeds` and `overrides`
    is read as the number, truth value or null that it spells. Everything else stays text, and so does what stands in
    quotes of its own.
    """
    typed = {key: _scalars(value) if key in ("seeds", "overrides") else value for key, value in config.items()}
    return validated(Run, typed, "config")


def check_folders(run: Run) -> None:
    """ConfigError where other users can write to the run's folders, or a warning where `paths.writable_by_others` asks
    for one."""
    for key in ("results", "resources"):
        folder = Path(getattr(run.paths, key))
        if (writers := other_writers(folder)) is None:
            continue
        message = f"paths.{key} ({folder}) can be written by {writers}, who could change results and what your jobs run"
        if run.paths.writable_by_others == "refuse":
            raise ConfigError(f"{message}: `chmod go-w`, or set paths.writable_by_others to warn")
        log.warning("%s", message)


def load_study(run: Run, root: Path = Path()) -> Study:
    """The run's study, over what it extends, with the run's overrides and seeds applied, and the protocol of trained
    models that it names by folder.

    A model that was trained under another protocol than the study says is told in a warning. Raises ConfigError with
    one message naming file, key and reason.
    """
    study = _study(run, root)
    check_gpu_index(study, run.paths.retriever_environment)
    for mismatch in mismatches(study.models, study.protocol):
        log.warning("%s", mismatch)
    return study


def _study(run: Run, root: Path) -> Study:
    path = study_path(run.study, root, root, "config: study")
    raw = read_extended(path, root)
    for dotted, value in run.overrides.items():
        set_key(raw, dotted, value, f"{path}: overrides.{dotted}")
    if run.seeds is not None:
        raw["seeds"] = [run.seeds] if isinstance(run.seeds, int) else list(run.seeds)
    try:
        raw = with_trained_protocol(raw)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    return _worded(validated(Study, expanded(with_points(raw, str(path)), str(path)), str(path)), str(path))


def _worded(study: Study, where: str) -> Study:
    """The study with the texts that its preset takes from files; ConfigError as `load_study`."""
    protocol = study.protocol
    missing = protocol.unworded()
    if protocol.wording is None or not missing:
        return study
    try:
        texts = protocol.wording.texts()
    except ValueError as error:
        raise ConfigError(f"{where}: protocol.{error}") from error
    update = {name: text for name, text in texts.items() if name in missing}
    prompts = protocol.prompts.model_copy(update=update)
    return study.model_copy(update={"protocol": protocol.model_copy(update={"prompts": prompts})})


def check_gpu_index(study: Study, retriever_environment: str | None) -> None:
    """ConfigError where the retrieval server has GPUs that its index cannot use in its environment."""
    gpus = study.resources.retriever.gpus
    usable = "torch" in study.gpu_indexes() or study.reranks()
    if gpus and retriever_environment is None and not usable:
        raise ConfigError(
            f"study {study.name}: resources.retriever.gpus ({gpus}): index: flat uses GPUs only with FAISS's build "
            "for them: set index: torch, which searches exactly on GPUs, or `make retriever-gpu-env` and name that "
            "folder in paths.retriever_environment, or set resources.retriever.gpus to 0"
        )


def read_study(source: str | Path) -> Study:
    """The study of a file, or of a shipped name such as "demo"; ConfigError as `load_study`.

    Where its server's environment is is not known here, so `check_gpu_index` is left to who starts it.
    """
    return _study(Run(study=str(source)), Path())


def write_study(study: Study, path: Path) -> None:
    """Write the resolved study as JSON, whole or not at all; `read_study` reads it back."""
    write_text(path, resolved_text(study) + "\n")


def resolved_text(study: Study) -> str:
    """The study as JSON with every value. Its preset is there too, so that no trained model changes what it says."""
    values = study.model_dump(mode="json")
    values["protocol"] = {"preset": study.protocol.preset, **values["protocol"]}
    return json.dumps(values, indent=2, ensure_ascii=False)


def digest(*values: Any) -> str:
    """Short hash of configuration values (models, or what JSON can hold); equal on every machine for equal values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=_plain).encode()).hexdigest()[:16]


def _plain(key: object) -> Any:
    if isinstance(key, BaseModel):
        return key.model_dump(mode="json")
    raise TypeError(f"{type(key).__name__} has no place in a digest")


def _scalars(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _scalars(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_scalars(item) for item in value]
    if not isinstance(value, str):
        return value
    if value in WORDS:
        return WORDS[value]
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    if not NUMBER.fullmatch(value) or len(value) > LONGEST_VALUE:
        return value
    return float(value) if any(letter in value for letter in ".eE") else int(value)


def validated(model: type[M], raw: dict[str, Any], where: str) -> M:
    """The model of a mapping; ConfigError names `where`, key and reason, one line each."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{where}: {line}" for line in problems(error))) from error
