import asyncio
import json
import shutil

import pytest

from mrsearch.agent.ports import SearchError
from mrsearch.config import load_run, load_study
from mrsearch.retrieval.engine import open_engine
from mrsearch.retrieval.indexes.index import build_index
from mrsearch.retrieval.indexes.passages import build_store

NAMES = ["Gadurin", "Zovon", "Fimol", "Nebil", "Kavos"]
WORDINGS = [
    "{} won the Dugumedal .",
    "{} is a native of Ledopol .",
    "{} has the partner {other} .",
    "{} had the coach {other} .",
]


def rows():
    number = 0
    for k, name in enumerate(NAMES):
        for wording in WORDINGS:
            yield str(number), f"{name} ( painter )", wording.format(name, other=NAMES[(k + 1) % len(NAMES)])
            number += 1


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("retrieval")
    build_store(rows(), place / "corpus")
    build_index(study(), "dense", place / "corpus", place / "indexes" / "dense")
    return place


def study(**overrides):
    return load_study(load_run({"study": "demo", "overrides": overrides}))


def search(engine, *queries, topk=1):
    async def ask():
        return await asyncio.gather(*(engine.search(query, topk) for query in queries))

    return asyncio.run(ask())


def test_the_passage_about_the_entity_in_the_asked_wording_wins(place):
    engine = open_engine(study(), place / "corpus", place / "indexes")
    found = search(engine, "Gadurin won", "gadurin COACH", "Gadurin", "Nebil prize of", "Gadurin painter won")
    assert [hits[0].passage.text for hits in found[:2]] == [
        "Gadurin won the Dugumedal .",
        "Gadurin had the coach Zovon .",
    ]
    assert [hits[0].passage.title.split()[0] for hits in found] == ["Gadurin", "Gadurin", "Gadurin", "Nebil", "Gadurin"]


def test_unknown_words_and_empty_queries_have_no_hits(place):
    engine = open_engine(study(), place / "corpus", place / "indexes")
    assert search(engine, "qqq zzz", "", "   ", "( ) .", "\ud800", topk=3) == [[], [], [], [], []]


def test_results_do_not_depend_on_what_is_asked_together(place):
    queries = [f"{name} {word}" for name in NAMES for word in ("won", "partner", "the", "native of Ledopol")]
    together = search(open_engine(study(), place / "corpus", place / "indexes"), *queries, topk=7)
    engine = open_engine(study(), place / "corpus", place / "indexes")
    alone = [search(engine, query, topk=7)[0] for query in reversed(queries)][::-1]
    assert together == alone
    assert search(engine, *queries, topk=7) == alone


def test_one_round_of_the_event_loop_is_one_batch(place):
    engine = open_engine(study(), place / "corpus", place / "indexes")
    batches = []
    engine._batcher.on_batch = lambda size, seconds: batches.append(size)
    search(engine, *[f"{name} won" for name in NAMES for _ in range(3)])
    search(engine, "Gadurin won", "Gadurin coach")
    assert batches == [5, 1]


def test_topk_beyond_the_corpus_is_named_when_opening(place):
    with pytest.raises(ValueError, match=r"retrieval.topk \(21\) is larger than the corpus \(20 passages\)"):
        open_engine(study(**{"retrieval.topk": 21}), place / "corpus", place / "indexes")


def test_index_of_another_corpus_or_configuration_is_refused(place, tmp_path):
    build_store(list(rows())[:-1], tmp_path / "short")
    build_store([*list(rows())[:-1], ("x", "y", "z")], tmp_path / "other")
    for corpus, reason in (("short", "holds 20 passages, the corpus 19"), ("other", "another corpus")):
        with pytest.raises(ValueError, match=reason):
            open_engine(study(), tmp_path / corpus, place / "indexes")
    changed = study(**{"retrieval.retrievers.dense.index": "sq_fp16"})
    with pytest.raises(ValueError, match=r"retrievers.dense.index is 'sq_fp16', but the index was built with 'flat'"):
        open_engine(changed, place / "corpus", place / "indexes")
    with pytest.raises(ValueError, match="no index of retriever 'dense' here"):
        open_engine(study(), place / "corpus", tmp_path)


def test_damaged_index_is_refused(place, tmp_path):
    shutil.copytree(place / "indexes", tmp_path / "indexes")
    file = tmp_path / "indexes" / "dense" / "vectors.faiss"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ValueError, match="damaged"):
        open_engine(study(), place / "corpus", tmp_path / "indexes")


def test_equal_input_gives_equal_index_bytes(place, tmp_path):
    build_index(study(), "dense", place / "corpus", tmp_path / "dense")
    first, second = (
        {f["sha256"] for f in files(folder).values()} for folder in (place / "indexes" / "dense", tmp_path / "dense")
    )
    assert first == second


def files(folder):
    return json.loads((folder / "index.json").read_text())["files"]


def test_failure_of_the_index_is_a_search_error(place):
    engine = open_engine(study(), place / "corpus", place / "indexes")

    def broken(queries, topk):
        raise RuntimeError("out of memory")

    engine._batcher._searcher.search = broken
    with pytest.raises(SearchError, match="out of memory"):
        search(engine, "Gadurin won")
