"""FAISS's index on GPUs, as far as it can be tried without one: an exact index of the CPU stands for each GPU's."""

from __future__ import annotations

from types import SimpleNamespace

import faiss
import numpy as np
import pytest

from mrsearch.retrieval.indexes import faiss_gpu, faiss_index
from mrsearch.retrieval.indexes.ranking import rank


def build_with_gpus(count):
    """The names that the index uses; each shard is FAISS's own float16 index."""
    made = []

    def shard(resources, dim, config):
        made.append((config.device, config.useFloat16))
        return faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)

    return made, SimpleNamespace(
        GpuIndexFlatIP=shard,
        GpuIndexFlatConfig=SimpleNamespace,
        StandardGpuResources=object,
        get_num_gpus=lambda: count,
    )


@pytest.mark.parametrize("devices", [1, 3])
def test_shards_together_rank_as_float64_does(devices):
    rng = np.random.default_rng(0)
    rows, queries = rng.standard_normal((500, 24)).astype(np.float32), rng.standard_normal((7, 24)).astype(np.float32)
    made, build = build_with_gpus(devices)
    index = faiss_gpu.FaissGpuIndex(build, rows, faiss_gpu.gpus(build))
    assert made == [(device, True) for device in range(devices)]
    products = queries.astype(np.float64) @ rows.astype(np.float64).T
    assert [r.positions for r in rank(index, queries, 3)] == np.argsort(-products, axis=1)[:, :3].tolist()
    assert index.search(queries, 600)[1].shape == (7, 600) and (index.search(queries, 600)[1][:, 500:] == -1).all()
    with pytest.raises(ValueError, match=r"k \(3000\): FAISS on a GPU returns at most 2048"):
        index.search(queries, 3000)


def test_a_build_without_gpus_has_none():
    assert faiss_gpu.gpus(SimpleNamespace(get_num_gpus=lambda: 2)) == 0
    assert faiss_index.open_on_gpus(np.zeros((2, 8), np.float32)) is None
