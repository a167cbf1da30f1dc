"""A published index taken over in parts gives the hits of an index built here."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from mrsearch.config import load_study
from mrsearch.config.run import Run
from mrsearch.data.registry import downloads_of, encoder, prebuilt_index
from mrsearch.retrieval.indexes.encoder import MINILM_PACKAGE
from mrsearch.retrieval.indexes.index import build_index, open_searcher
from mrsearch.retrieval.indexes.passages import PassageStore, build_store
from mrsearch.retrieval.indexes.prebuilt import import_index


def study(root, **overrides):
    return load_study(Run(study="real-smoke", overrides=overrides), root)


def test_joined_parts_search_as_an_index_built_here(root, tmp_path):
    words = ["river bank", "royal palace", "football club", "steam engine", "jazz pianist", "blue whale", "opera house"]
    build_store([(str(n), f"T{n}", text) for n, text in enumerate(words)], tmp_path / "corpus")
    build_index(study(root), "minilm", tmp_path / "corpus", tmp_path / "built" / "minilm")
    whole = (tmp_path / "built" / "minilm" / "vectors.faiss").read_bytes()
    parts = [tmp_path / "part_aa", tmp_path / "part_ab"]
    for path, piece in zip(parts, (whole[:4000], whole[4000:]), strict=True):
        path.write_bytes(piece)
    import_index(study(root), "minilm", tmp_path / "corpus", parts, tmp_path / "taken" / "minilm")
    store = PassageStore(tmp_path / "corpus")
    ours, theirs = (open_searcher(study(root), "minilm", store, tmp_path / name) for name in ("built", "taken"))
    assert ours.search(["a whale in the sea", "trains"], 3) == theirs.search(["a whale in the sea", "trains"], 3)
    with pytest.raises(ValueError, match="bytes do not hold 7 float32 vectors"):
        import_index(study(root), "minilm", tmp_path / "corpus", parts[:1], tmp_path / "cut" / "minilm")
    assert not (tmp_path / "cut" / "minilm").exists()


def test_a_published_index_serves_its_own_encoder_alone(root):
    paper = load_study(Run(study="paper"), root)
    assert prebuilt_index(paper, "e5").name == "wiki-18-e5"
    on_cpu = {"retrieval.retrievers.e5.index": "hnsw", "resources.retriever.gpus": 0}
    approximate = load_study(Run(study="paper", overrides=on_cpu), root)
    assert prebuilt_index(approximate, "e5") == prebuilt_index(paper, "e5")
    revised = load_study(Run(study="paper", overrides={"retrieval.retrievers.e5.encoder.revision": "f" * 40}), root)
    assert prebuilt_index(revised, "e5") is None
    assert encoder(paper, "e5").name == "e5-base-v2" and encoder(revised, "e5") is None
    names = {row.name for row in downloads_of(paper)}
    assert {"wiki-18-e5", "e5-base-v2"} < names and not {"qwen2.5-3b", "qwen2.5-7b"} & names
    assert prebuilt_index(study(root), "minilm") is None


def test_an_index_carries_its_published_encoder(root, tmp_path):
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    downloaded = tmp_path / "downloaded"
    shutil.copytree(Path(spec.origin).parent / "model", downloaded)
    published = {"kind": "hub", "path": "somebody/encoder", "revision": "f" * 40}
    hub = study(root, **{"retrieval.retrievers.minilm.encoder": published})
    build_store([(str(n), f"T{n}", text) for n, text in enumerate(["blue whale", "opera house"])], tmp_path / "corpus")
    build_index(hub, "minilm", tmp_path / "corpus", tmp_path / "built" / "minilm", downloaded)
    shutil.rmtree(downloaded)
    searcher = open_searcher(hub, "minilm", PassageStore(tmp_path / "corpus"), tmp_path / "built")
    assert [ranking.positions for ranking in searcher.search(["a whale", "singers"], 1)] == [[0], [1]]
    manifest = json.loads((tmp_path / "built" / "minilm" / "index.json").read_text())
    assert manifest["encoder"] == f"somebody/encoder@{'f' * 40}"
