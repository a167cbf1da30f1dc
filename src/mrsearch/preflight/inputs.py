"""Whether what a study reads is there: its data, its models, the packages of its retrievers."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from mrsearch.config import Study
from mrsearch.config.data import FolderData, holds_out
from mrsearch.config.models import FolderModel
from mrsearch.data.folder import question_files
from mrsearch.retrieval.indexes import java


def data(study: Study) -> Iterator[str]:
    """Files of a study's own data."""
    if not isinstance(study.data, FolderData):
        return
    folder = Path(study.data.path)
    if not folder.is_dir():
        yield f"data.path ({study.data.path}) is no folder: relative paths start at the project's root"
        return
    names = {"data.corpus": study.data.corpus, "data.support": study.data.support, "data.train": study.data.train}
    files = {key: folder / name for key, name in names.items() if name is not None}
    for name, benchmark in study.benchmarks.items():
        if not holds_out(study.data, source := benchmark.source or name):
            files |= {f"benchmarks.{name}": file for file in question_files(study.data, [source]).values()}
    for key, file in files.items():
        if not file.is_file():
            yield f"{key}: {file} is missing"


def models(study: Study) -> Iterator[str]:
    """Folders of a study's own models."""
    for name, model in study.models.items():
        if isinstance(model, FolderModel) and not (Path(model.path) / "config.json").is_file():
            trained = Path(model.path) / "model"
            way_out = f": name {trained}, which does" if (trained / "config.json").is_file() else ""
            yield f"models.{name}.path ({model.path}) is no model folder: it holds no config.json{way_out}"


def packages(study: Study) -> Iterator[str]:
    """Lucene and its Java runtime, where the study searches with them."""
    names = {*study.indexed(), *study.compared()}
    lexical = sorted(name for name in names if study.retrieval.retrievers[name].kind == "lexical")
    missing = [name for name in java.PACKAGES if importlib.util.find_spec(name) is None]
    if lexical and missing:
        yield (
            f"retrieval.retrievers.{lexical[0]} searches with Lucene, and {' and '.join(missing)} cannot be imported: "
            "install envs/lexical.lock.txt"
        )
