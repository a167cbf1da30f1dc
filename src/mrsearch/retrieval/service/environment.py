"""Which Python the retrieval server runs in."""

from __future__ import annotations

from pathlib import Path

from mrsearch.cluster.environments import gpu_python, python_of
from mrsearch.config.load import check_gpu_index
from mrsearch.config.site import load_site
from mrsearch.config.study import Study


def server_python(
    study: Study, gpu_environment: Path, retriever_environment: Path | None, scheduler: str, site: Path
) -> Path | None:
    """The Python of the environment for GPUs, or of the retriever's own, where the server's job has GPUs; else None.

    None too on a site with a container, whose image takes the environment's place. ValueError where the environment is
    missing, or the index cannot use a GPU.
    """
    if not study.resources.retriever.gpus:
        return None
    check_gpu_index(study, None if retriever_environment is None else str(retriever_environment))
    if scheduler == "slurm" and load_site(site).container is not None:
        return None
    if retriever_environment is not None:
        return python_of(retriever_environment, "retriever_environment", "retriever-gpu-env")
    return gpu_python(gpu_environment)
