"""Builds that are killed, run out of disk, or use the real MiniLM."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from mrsearch.config import load_run, load_study
from mrsearch.files import read_json
from mrsearch.retrieval.indexes import builder
from mrsearch.retrieval.indexes.encoder import load_encoder
from mrsearch.retrieval.indexes.index import build_index, open_searcher
from mrsearch.retrieval.indexes.passages import PassageStore, build_store

pytestmark = pytest.mark.integration
SHARD = 1000
BUILD = """
import sys
from pathlib import Path
from mrsearch.config.study import Study
from mrsearch.retrieval.indexes.index import build_index, open_searcher
study, corpus, out = map(Path, sys.argv[1:])
build_index(Study.model_validate_json(study.read_text()), "dense", corpus, out)
"""


def study(**options):
    options = {"kind": "dense", "encoder": {"kind": "bow"}, "shard_passages": SHARD, **options}
    return load_study(
        load_run({"study": "demo", "overrides": {"retrieval.compared": [], "retrieval.retrievers": {"dense": options}}})
    )


def rows(count):
    rng = np.random.default_rng(0)
    for n in range(count):
        yield str(n), f"w{n % 700}", " ".join(f"w{k}" for k in rng.integers(0, 700, 12))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    corpus = tmp_path_factory.mktemp("build") / "corpus"
    build_store(rows(14_000), corpus)
    return corpus


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_killed_build_goes_on_and_ends_the_same(corpus, tmp_path, monkeypatch):
    (tmp_path / "study.json").write_text(study().model_dump_json())
    command = [sys.executable, "-c", BUILD, str(tmp_path / "study.json"), str(corpus), str(tmp_path / "killed")]
    process = subprocess.Popen(command)
    journal = tmp_path / "killed.work" / "journal.json"
    deadline = time.monotonic() + 60
    while (read_json(journal) or {"done": 0})["done"] < 3 * SHARD:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed").exists()
    done = read_json(journal)["done"]
    assert 3 * SHARD <= done < 14_000

    starts = []
    encode = builder._encode
    monkeypatch.setattr(builder, "_encode", lambda *args: (starts.append(args[2]), encode(*args))[1])
    build_index(study(), "dense", corpus, tmp_path / "killed")
    assert min(starts) == done, "finished shards are not encoded again"
    starts.clear()
    build_index(study(), "dense", corpus, tmp_path / "whole")
    assert min(starts) == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    locks = [".killed.lock", ".whole.lock"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*locks, "killed", "study.json", "whole"]


def test_work_of_another_corpus_is_not_continued(corpus, tmp_path, monkeypatch):
    build_store(rows(3 * SHARD), tmp_path / "other")
    encode = builder._encode

    def stop_after_one_shard(*args):
        if args[2] >= SHARD:
            raise KeyboardInterrupt
        return encode(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(builder, "_encode", stop_after_one_shard)
        build_index(study(), "dense", tmp_path / "other", tmp_path / "out")
    assert read_json(tmp_path / "out.work" / "journal.json")["done"] == SHARD
    build_store(rows(3 * SHARD - 1), tmp_path / "other")
    build_index(study(), "dense", tmp_path / "other", tmp_path / "out")
    build_index(study(), "dense", tmp_path / "other", tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_full_disk_is_named_and_leaves_nothing_that_looks_whole(corpus, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], check=True)
    try:
        with pytest.raises(OSError, match=r"the vectors need 39 MB, and .* has 2 MB free"):
            build_index(study(), "dense", corpus, small / "index")
        with pytest.raises(OSError, match="the disk is full"):
            build_store(rows(60_000), small / "corpus")
        assert sorted(path.name for path in small.iterdir()) == [".index.lock", "index.work"]
        assert list((small / "index.work").iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_minilm_alone_in_a_batch_and_in_several_processes_gives_the_same_vectors():
    config = study(encoder={"kind": "minilm"}).retrieval.retrievers["dense"].encoder
    encoder = load_encoder(config, device="cpu")
    titles = ["Malmö", "Kafka", "Citibank"] * 3
    texts = ["A city in Sweden." * (n + 1) for n in range(9)]
    together = encoder.passages(titles, texts)
    assert together.shape == (9, 384)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-6)
    alone = np.concatenate([encoder.passages([title], [text]) for title, text in zip(titles, texts, strict=True)])
    np.testing.assert_allclose(alone, together, atol=1e-6)
    with encoder.on_all_gpus(["cpu", "cpu"]):
        np.testing.assert_allclose(encoder.passages(titles, texts), together, atol=1e-6)
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def test_a_cross_encoder_is_read_and_ranks_each_query_by_itself(tmp_path):
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast, set_seed

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{n}" for n in range(40))]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    sizes = {"vocab_size": len(words), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    for labels in (1, 2):
        set_seed(0)
        model = BertForSequenceClassification(BertConfig(**sizes, intermediate_size=16, num_labels=labels))
        model.save_pretrained(tmp_path / f"model{labels}")
        BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / f"model{labels}")
    build_store(((str(n), f"w{n}", f"w{n} w{n + 1} " * (n + 1)) for n in range(20)), tmp_path / "corpus")
    overrides = {
        "retrieval.compared": [],
        "retrieval.retrievers.chance": {"kind": "random"},
        "retrieval.retrievers.best": {"kind": "reranked", "of": "chance", "path": str(tmp_path / "model1"), "depth": 9},
    }
    wanted = load_study(load_run({"study": "demo", "overrides": overrides}))
    store = PassageStore(tmp_path / "corpus")
    searcher = open_searcher(wanted, "best", store, tmp_path)
    queries = ["w1 w2", "w7", "w3 " * 9]
    rankings = searcher.search(queries, 4)
    assert rankings == [searcher.search([query], 4)[0] for query in queries]
    first = open_searcher(wanted, "chance", store, tmp_path).search(queries, 9)
    for ranking, candidates in zip(rankings, first, strict=True):
        assert set(ranking.positions) < set(candidates.positions)
        assert ranking.scores == sorted(ranking.scores, reverse=True) and len(set(ranking.scores)) == 4
    overrides["retrieval.retrievers.best"]["path"] = str(tmp_path / "model2")
    with pytest.raises(ValueError, match="a reranker needs a cross-encoder that gives one score"):
        open_searcher(load_study(load_run({"study": "demo", "overrides": overrides})), "best", store, tmp_path)
