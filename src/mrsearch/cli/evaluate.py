"""`mrsearch evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrsearch.cli import options
from mrsearch.cli import scheduler as placement

if TYPE_CHECKING:
    from mrsearch.config import Study
    from mrsearch.evaluation.folders import MethodFolders


def evaluate(
    study: options.Study,
    model: options.Model,
    method: Annotated[
        list[str], typer.Option(help="Name of a method of the study; given again for others that share its policy.")
    ],
    seed: options.Seed,
    policy: Annotated[Path, typer.Option(help="Hugging Face folder of the weights.")],
    questions: Annotated[Path, typer.Option(help="Folder of the benchmarks' parquet files.")],
    corpus: options.Corpus,
    indexes: options.Indexes,
    out: Annotated[list[Path], typer.Option(help="What to write; once for each method, in their order.")],
    cache: Annotated[
        list[Path],
        typer.Option(
            help="Folder of finished parts, from which an interrupted evaluation goes on; once for each method."
        ),
    ],
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Ask only so many questions of each benchmark, the same ones at every try."),
    ] = None,
    endpoint: Annotated[
        list[Path] | None,
        typer.Option(
            help="Endpoint file of a running retriever, once for each method whose retriever has a server; without it "
            "the index is opened here."
        ),
    ] = None,
    gpu_environment: placement.JobGpuEnvironment = None,
    site: placement.JobSite = None,
) -> None:
    """Run one method, or several that share a policy, on every benchmark under every decoding and record all
    meta-episodes.

    Of several methods, those whose evaluation is finished already stay as they are.
    """
    from mrsearch.config import read_study

    loaded = read_study(study)
    paired = method_folders(loaded, method, out, cache, endpoint or [])
    if gpu_environment is not None and loaded.resources.evaluate.gpus:
        names = {"study": study, "model": model, "method": method, "seed": str(seed), "limit": limit}
        files = {"policy": policy, "questions": questions, "corpus": corpus, "indexes": indexes}
        placement.run_on_gpus(
            ["evaluate"], names | files | {"out": out, "cache": cache, "endpoint": endpoint}, gpu_environment, site
        )
    from mrsearch.evaluation.folders import EvaluationInputs
    from mrsearch.evaluation.run import evaluate_methods

    inputs = EvaluationInputs(policy, questions, corpus, indexes)
    evaluate_methods(loaded, model, paired, seed, inputs, limit=limit)


def method_folders(
    study: Study, methods: Sequence[str], outs: Sequence[Path], caches: Sequence[Path], endpoints: Sequence[Path]
) -> dict[str, MethodFolders]:
    """The folders of each method. ValueError for a method that is unknown or stands twice, and where there are not as
    many of each as there should be."""
    from mrsearch.evaluation.folders import MethodFolders

    if len(set(methods)) != len(methods):
        raise ValueError(f"--method ({', '.join(methods)}) names a method twice")
    served = [name for name in methods if study.of(name).has_server(study.retriever_of(name))]
    expected = {"--out": (outs, methods), "--cache": (caches, methods), "--endpoint": (endpoints or served, served)}
    for option, (values, owners) in expected.items():
        if len(values) != len(owners):
            names = ", ".join(owners) or "none of the methods"
            raise ValueError(f"{option} stands {len(values)} times: give it once for each of {names}, in this order")
    servers = dict(zip(served, endpoints, strict=True)) if endpoints else {}
    rows = zip(methods, outs, caches, strict=True)
    return {name: MethodFolders(out, cache, servers.get(name)) for name, out, cache in rows}
