"""BM25 by Lucene, through Anserini."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mrsearch.config.retrieval import LexicalRetriever
from mrsearch.progress import Meter
from mrsearch.retrieval.indexes import java
from mrsearch.retrieval.indexes.manifest import read_manifest
from mrsearch.retrieval.indexes.passages import PassageStore
from mrsearch.retrieval.indexes.ranking import Ranking

log = logging.getLogger(__name__)
LUCENE = "lucene"
MOST_WORDS = 512
"""Words of a query that are searched for: Lucene refuses queries of more than 1024 clauses."""
INDEXER = "io.anserini.index.IndexCollection"


class LexicalSearcher:
    """BM25 rankings. Equal scores are ordered by position, whatever the number of indexing threads was."""

    def __init__(self, folder: Path, config: LexicalRetriever) -> None:
        self._searcher = java.load("io.anserini.search.SimpleSearcher")(str(folder / LUCENE))
        self._searcher.set_bm25(config.k1, config.b)
        self.count: int = self._searcher.get_total_num_docs()
        self._threads = os.cpu_count() or 1
        self._list = java.load("java.util.ArrayList")

    def search(self, queries: list[str], topk: int) -> list[Ranking]:
        """Documents without any of the query's words are no hits."""
        clean = [_cut(query) for query in queries]
        if len(clean) == 1:
            return [_ranking(self._searcher.search(clean[0], topk))]
        texts, names = self._list(), self._list()
        for number, query in enumerate(clean):
            texts.add(query)
            names.add(str(number))
        hits = self._searcher.batch_search(texts, names, topk, self._threads)
        return [_ranking(hits.get(str(number))) for number in range(len(clean))]


def _cut(query: str) -> str:
    return " ".join(query.encode("utf-8", "replace").decode("utf-8").replace("\0", " ").split()[:MOST_WORDS])


def _ranking(hits: Any) -> Ranking:
    ranked = [(int(hit.docid), float(hit.score)) for hit in hits or ()]
    return Ranking([position for position, _ in ranked], [score for _, score in ranked])


def build_lexical(store: PassageStore, work: Path) -> dict[str, object]:
    """Index the corpus with all cores into `work`; returns facts for `index.json`. RuntimeError repeats Anserini's last
    lines if it fails or indexes another number of passages."""
    threads = os.cpu_count() or 1
    shutil.rmtree(work / LUCENE, ignore_errors=True)
    with _as_json(store, work / "input", threads) as folder:
        command = [
            *(str(java.home() / "bin" / "java"), "-cp", str(java.jar()), INDEXER),
            *("-collection", "JsonCollection", "-generator", "DefaultLuceneDocumentGenerator"),
            *("-input", str(folder), "-index", str(work / LUCENE), "-threads", str(threads)),
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError("Anserini failed:\n" + "\n".join(done.stdout.splitlines()[-15:]))
    log.info("%s", "\n".join(done.stdout.splitlines()[-8:]))
    count = java.load("io.anserini.search.SimpleSearcher")(str(work / LUCENE)).get_total_num_docs()
    if count != len(store):
        raise RuntimeError(f"Anserini indexed {count} passages of {len(store)}; its output:\n{done.stdout[-2000:]}")
    return {"jar": java.jar().name}


@contextmanager
def _as_json(store: PassageStore, folder: Path, files: int) -> Iterator[Path]:
    """The corpus as Anserini reads it, one file per thread; the padded position is the document's id, so that Lucene's
    order of ids is ours. Removed afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with ExitStack() as stack, Meter("writing passages", len(store)) as meter:
            outputs = [stack.enter_context((folder / f"{n}.jsonl").open("w", encoding="utf-8")) for n in range(files)]
            for position, passage in enumerate(store):
                row = {"id": f"{position:010d}", "contents": f"{passage.title}\n{passage.text}"}
                outputs[position % files].write(json.dumps(row) + "\n")
                if position % 10_000 == 9_999:
                    meter.advance(10_000)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def open_lexical(name: str, config: LexicalRetriever, store: PassageStore, folder: Path) -> LexicalSearcher:
    """The searcher of a built index; ValueError if it does not fit corpus or configuration."""
    read_manifest(folder, name, config, store)
    searcher = LexicalSearcher(folder, config)
    if searcher.count != len(store):
        raise ValueError(f"{folder}: {searcher.count} documents do not fit {len(store)} passages: build it again")
    return searcher
