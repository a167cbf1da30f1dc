"""Where a retrieval server with GPUs runs, and what is refused before it starts."""

from __future__ import annotations

import pytest

from mrsearch.config import ConfigError, Run, load_study, read_study, write_study
from mrsearch.retrieval.service.environment import server_python

FLAT = {"retrieval.retrievers.e5.index": "flat"}


def paper(root, paths=None, **overrides):
    run = {"study": "paper", "overrides": overrides, "paths": paths or {}}
    return load_study(Run.model_validate(run), root)


def environment(folder):
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    return folder


@pytest.mark.parametrize("index", ["sq_fp16", "ivf_sq8", "hnsw", "pq_refine"])
def test_gpus_that_no_index_can_use_are_an_error(root, index):
    with pytest.raises(ConfigError, match=r"resources\.retriever\.gpus \(1\).*'e5'.*index to torch.*to 0"):
        paper(root, **{"retrieval.retrievers.e5.index": index})
    assert paper(root, **{"retrieval.retrievers.e5.index": index, "resources.retriever.gpus": 0})


def test_flat_needs_the_environment_that_has_faiss_for_gpus(root, tmp_path):
    with pytest.raises(ConfigError, match=r"index: flat .*index: torch.*make retriever-gpu-env.*retriever_environment"):
        paper(root, **FLAT)
    study = paper(root, {"retriever_environment": "anywhere"}, **FLAT)
    write_study(study, tmp_path / "study.json")
    study = read_study(tmp_path / "study.json")
    with pytest.raises(ConfigError, match="index: flat"):
        server_python(study, tmp_path, None, "local", tmp_path)
    with pytest.raises(ValueError, match=r"paths\.retriever_environment .*nowhere.*make retriever-gpu-env"):
        server_python(study, tmp_path, tmp_path / "nowhere", "local", tmp_path)
    own = environment(tmp_path / "own")
    assert server_python(study, tmp_path, own, "local", tmp_path) == own / "bin" / "python"


def test_a_server_with_gpus_runs_in_their_environment(root, tmp_path):
    study = paper(root)
    with pytest.raises(ValueError, match=r"paths\.gpu_environment .*make gpu-env"):
        server_python(study, tmp_path, None, "local", tmp_path)
    folder = environment(tmp_path / "gpu")
    assert server_python(study, folder, None, "local", tmp_path) == folder / "bin" / "python"
    site = tmp_path / "site.yaml"
    site.write_text(
        "account: lab\npartition: gpu\ncontainer: image.sif\n"
        "partitions: {gpu: {cores: 8, mem_mb: 16000, gpus: 8, gpu_mem_mb: 80000}}\n"
    )
    assert server_python(study, tmp_path / "absent", None, "slurm", site) is None
    alone = paper(root, **{"resources.retriever.gpus": 0})
    assert server_python(alone, tmp_path / "absent", None, "local", tmp_path) is None
