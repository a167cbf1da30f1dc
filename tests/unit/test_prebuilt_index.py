"""A published index taken over in parts gives the hits of an index built here."""

from __future__ import annotations

import pytest

from mrsearch.config import load_study
from mrsearch.config.run import Run
from mrsearch.data.registry import prebuilt_index
from mrsearch.retrieval.indexes import build_index, open_searcher
from mrsearch.retrieval.passages import PassageStore, build_store
from mrsearch.retrieval.prebuilt import import_index


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
    for key, value in (("index", "hnsw"), ("encoder.revision", "f" * 40)):
        other = load_study(Run(study="paper", overrides={f"retrieval.retrievers.e5.{key}": value}), root)
        assert prebuilt_index(other, "e5") is None, key
    assert prebuilt_index(study(root), "minilm") is None
