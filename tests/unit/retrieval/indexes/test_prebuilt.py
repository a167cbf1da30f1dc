"""A published float32 index in parts, taken over in the precision that the retriever asks for."""

import faiss
import numpy as np
import pytest

from mrsearch.config import load_run, load_study
from mrsearch.files import file_sha256
from mrsearch.retrieval.indexes import prebuilt
from mrsearch.retrieval.indexes.index import open_searcher
from mrsearch.retrieval.indexes.manifest import verify
from mrsearch.retrieval.indexes.passages import PassageStore, build_store
from mrsearch.retrieval.indexes.prebuilt import import_index
from mrsearch.retrieval.indexes.vector_file import VectorWriter

COUNT = 500


def study(index):
    dense = {"kind": "dense", "encoder": {"kind": "minilm"}, "index": index, "nlist": 4}
    return load_study(
        load_run({"study": "demo", "overrides": {"retrieval.compared": [], "retrieval.retrievers": {"dense": dense}}})
    )


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Corpus, parts and vectors of a published index."""
    place = tmp_path_factory.mktemp("published")
    build_store(((str(n), "t", str(n)) for n in range(COUNT)), place / "corpus")
    vectors = np.random.default_rng(0).standard_normal((COUNT, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = faiss.index_factory(384, "Flat", faiss.METRIC_INNER_PRODUCT)
    index.add(vectors)
    whole = faiss.serialize_index(index).tobytes()
    parts = [place / name for name in ("part_aa", "part_ab", "part_ac")]
    for part, (start, stop) in zip(parts, ((0, 20), (20, 300_001), (300_001, None)), strict=True):
        part.write_bytes(whole[start:stop])
    return place / "corpus", parts, vectors


@pytest.mark.parametrize("index", ["flat", "torch", "sq_fp16", "ivf_sq8"])
def test_taken_over_in_the_retrievers_precision(published, tmp_path, monkeypatch, index):
    corpus, parts, vectors = published
    monkeypatch.setattr(prebuilt, "BLOCK_ROWS", 128)
    import_index(study(index), "dense", corpus, parts, tmp_path / "dense")
    searcher = open_searcher(study(index), "dense", PassageStore(corpus), tmp_path)
    verify(tmp_path / "dense")
    kept = vectors if index == "flat" else vectors.astype(np.float16)
    np.testing.assert_array_equal(searcher._rows, kept)
    assert not (tmp_path / "dense.work").exists()


def test_killed_import_goes_on_where_it_stopped(published, tmp_path, monkeypatch):
    corpus, parts, vectors = published
    monkeypatch.setattr(prebuilt, "BLOCK_ROWS", 100)
    starts = []
    write = VectorWriter.write

    def stop_at_300(self, start, rows):
        starts.append(start)
        if start == 300 and len(starts) == 4:
            raise KeyboardInterrupt
        write(self, start, rows)

    monkeypatch.setattr(VectorWriter, "write", stop_at_300)
    with pytest.raises(KeyboardInterrupt):
        import_index(study("torch"), "dense", corpus, parts, tmp_path / "dense")
    assert not (tmp_path / "dense").exists()
    import_index(study("torch"), "dense", corpus, parts, tmp_path / "dense")
    assert starts == [0, 100, 200, 300, 300, 400]
    verify(tmp_path / "dense")
    searcher = open_searcher(study("torch"), "dense", PassageStore(corpus), tmp_path)
    np.testing.assert_array_equal(searcher._rows, vectors.astype(np.float16))


@pytest.mark.parametrize(
    ("starts", "known"), [((0, 2, 4), True), ((0, 4, 2), False), ((0, 2), False), ((0, 0, 2), False)]
)
def test_a_file_of_vectors_knows_its_hash_where_rows_were_written_in_order(tmp_path, starts, known):
    rows = np.arange(18, dtype=np.float32).reshape(6, 3)
    writer = VectorWriter(tmp_path / "vectors", 6, 3, "float32", {})
    for start in starts:
        writer.write(start, rows[start : start + 2])
    assert writer.sha256() == (file_sha256(tmp_path / "vectors") if known else None)


def test_cut_or_foreign_parts_are_refused(published, tmp_path):
    corpus, parts, _ = published
    for wrong in (parts[:2], [parts[1], parts[0], parts[2]]):
        with pytest.raises(ValueError, match="do not hold 500 float32 vectors of 384"):
            import_index(study("torch"), "dense", corpus, wrong, tmp_path / "dense")
    broken = tmp_path / "broken"
    broken.write_bytes(parts[2].read_bytes()[:-4] + np.float32("nan").tobytes())
    with pytest.raises(ValueError, match="vectors 0 to 499 hold numbers that are not finite"):
        import_index(study("torch"), "dense", corpus, [*parts[:2], broken], tmp_path / "dense")
    assert not (tmp_path / "dense").exists()
