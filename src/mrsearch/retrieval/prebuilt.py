"""A published exact index, taken over instead of encoding the corpus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mrsearch.config.study import Study
from mrsearch.data.download import join
from mrsearch.retrieval.atomic import publish_folder
from mrsearch.retrieval.builder import vector_dtype
from mrsearch.retrieval.dense import VECTORS
from mrsearch.retrieval.encoder import load_encoder
from mrsearch.retrieval.manifest import write_manifest
from mrsearch.retrieval.passages import PassageStore
from mrsearch.retrieval.vector_file import open_vectors


def import_index(study: Study, retriever_name: str, corpus: Path, parts: Sequence[Path], out: Path) -> None:
    """Join the parts of a FAISS IndexFlatIP and make them the index of one dense retriever in the folder `out`.

    Row i must be the vector of passage i. ValueError where the joined file is not as many vectors of the encoder's
    dimension as the corpus has passages.
    """
    config = study.retrieval.retrievers[retriever_name]
    if config.kind != "dense" or config.index != "flat":
        raise ValueError(
            f"retrieval.retrievers.{retriever_name}: a published index serves dense retrievers, index: flat"
        )
    store, encoder = PassageStore(corpus), load_encoder(config.encoder)
    work = out.with_name(out.name + ".work")
    work.mkdir(parents=True, exist_ok=True)
    if not (work / VECTORS).is_file():
        join(parts, work / VECTORS)
    open_vectors(work / VECTORS, len(store), encoder.dim, vector_dtype(config))
    facts = {"dim": encoder.dim, "dtype": vector_dtype(config), "encoder": encoder.fingerprint}
    write_manifest(work, retriever_name, config, store, **facts)
    publish_folder(work, out)
