"""Building and opening a study's indexes, whatever their kind."""

from __future__ import annotations

import logging
from pathlib import Path

from mrsearch.config.choices import choices
from mrsearch.config.installed_retriever import InstalledRetriever
from mrsearch.config.retrieval import Retriever
from mrsearch.config.study import Study
from mrsearch.files import locked, publish_folder
from mrsearch.retrieval.indexes.kinds import RetrieverInputs, kind_of, validated_settings
from mrsearch.retrieval.indexes.manifest import fits, read_manifest, write_manifest
from mrsearch.retrieval.indexes.passages import PassageStore
from mrsearch.retrieval.indexes.ranking import Searcher

log = logging.getLogger(__name__)


def build_index(study: Study, retriever_name: str, corpus: Path, out: Path, encoder: Path | None = None) -> None:
    """Build the index of one retriever of the study from the passage store `corpus` into the folder `out`.

    encoder: folder of a `hub` encoder's verified files; None asks the hub. `out` appears whole or not at all. The work
    in progress lies in `<out>.work`; a killed build goes on from there. A second build of the same index waits for the
    first one.
    """
    config = _retriever(study, retriever_name)
    store = PassageStore(corpus)
    if not config.indexed:
        indexed = " and ".join(study.members(retriever_name)) or "none"
        raise ValueError(
            f"retrieval.retrievers.{retriever_name}: kind {config.kind} has no index of its own; it needs {indexed}"
        )
    with locked(out.with_name(f".{out.name}.lock")) as waited:
        if waited and fits(out, retriever_name, config, store):
            return log.info("%s: another process has just built this index", out)
        work = out.with_name(out.name + ".work")
        work.mkdir(parents=True, exist_ok=True)
        inputs = RetrieverInputs(retriever_name, validated_settings(config), store, work, encoder=encoder)
        facts = kind_of(config).build(inputs)
        write_manifest(work, retriever_name, config, store, inputs.hashes, **facts)
        publish_folder(work, out)


def open_searcher(study: Study, retriever_name: str, store: PassageStore, indexes: Path) -> Searcher:
    """The searcher of one retriever; `indexes` holds one folder per retriever name."""
    config = _retriever(study, retriever_name)
    members = [open_searcher(study, member, store, indexes) for member in config.members]
    folder = indexes / retriever_name
    if isinstance(config, InstalledRetriever) and config.indexed:
        read_manifest(folder, retriever_name, config, store)
    inputs = RetrieverInputs(retriever_name, validated_settings(config), store, folder, members)
    return kind_of(config).open(inputs)


def _retriever(study: Study, name: str) -> Retriever:
    retrievers = study.retrieval.retrievers
    if name not in retrievers:
        raise ValueError(f"retriever ({name!r}) is not in retrieval.retrievers: {choices(retrievers)}")
    return retrievers[name]
