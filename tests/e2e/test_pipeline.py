"""The whole DAG on a very small study: every declared file, what reruns, and equal bytes from equal seeds."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as parquet
import pytest
from support.chromium import offline_page

from mrsearch.agent.record_files import read_records

from .conftest import Project, layout_of, place

pytestmark = pytest.mark.e2e
TABLES = ("main", "f1", "episodes", "cost", "extra", "scaling", "compute")
REPORT = {"metrics", "tables", "compute", "figures", "viewer"}
FIGURES = ("improvement", "episodes", "changes", "pareto", "training", "scaling", "retrieval")


def test_every_declared_file_is_there(ran: Project) -> None:
    study, layout = layout_of(ran, "results")
    trained = [name for name, method in study.methods.items() if method.train]
    for seed in study.seeds:
        for method in trained:
            folder = layout.trained("tiny", method, seed)
            groups = set() if method == "warm_start" else {"groups.jsonl.zst"}
            files = {"model", "model.contents.json", "train.jsonl", "run.json"}
            assert files | groups == {path.name for path in folder.iterdir()}
            assert (folder / "model" / "model.safetensors").stat().st_size > 0
        for method in study.methods:
            for path in layout.evaluation_files("tiny", method, seed):
                assert path.stat().st_size > 0
    for dataset in ("train", *study.benchmarks):
        assert parquet.read_metadata(layout.questions(dataset)).num_rows > 0
    for name in TABLES:
        for kind in ("html", "csv", "md", "tex"):
            assert (layout.root / "tables" / f"{name}.{kind}").stat().st_size > 0
    for name in FIGURES:
        for kind in ("pdf", "svg", "png", "csv"):
            assert (layout.root / "figures" / f"{name}.{kind}").stat().st_size > 0


def test_every_question_is_answered_once_under_each_decoding(ran: Project) -> None:
    study, layout = layout_of(ran, "results")
    for method in study.methods:
        for path in layout.record_files("tiny", method, study.seeds[0]):
            records = list(read_records(path))
            assert len({record.question.id for record in records}) == len(records) == 3
            assert all(len(record.episodes) <= study.methods[method].episodes for record in records)


def test_the_metrics_cover_every_method_and_benchmark(ran: Project) -> None:
    study, layout = layout_of(ran, "results")
    metrics = pd.read_parquet(layout.root / "metrics.parquet")
    assert set(metrics["method"]) == set(study.methods)
    assert set(metrics["benchmark"]) == {*study.benchmarks, "average"}
    assert set(metrics["decoding"]) == set(study.evaluation.decoding)


def test_a_second_run_does_nothing(ran: Project) -> None:
    assert "Nothing to be done" in ran.snakemake(config=place("results"))


@pytest.mark.parametrize(
    ("override", "rerun"),
    [
        ("report.seed: 9", REPORT),
        ("training.steps: 2", {"train", "evaluate", *REPORT}),
        ("evaluation.decoding.sampled.temperature: 0.5", {"evaluate", *REPORT}),
        ("retrieval.service.lease_seconds: 100", set()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_changed_setting_reruns_its_stages_only(ran: Project, override: str, rerun: set[str]) -> None:
    planned = ran.planned([*place("results"), f"overrides={{{override}}}"])
    assert set(planned) - {"all", "total"} == rerun


def test_a_changed_training_keeps_the_warm_start(ran: Project) -> None:
    planned = ran.planned([*place("results"), "overrides={methods.mr_search.train.gamma: 0.5}"])
    assert (planned["train"], planned["evaluate"]) == (1, 1)


def test_another_place_for_the_jobs_reruns_nothing(ran: Project) -> None:
    assert ran.planned([*place("results"), "scheduler=slurm", "site=tests/integration/slurm/site.yaml"]) == {}


@pytest.fixture(scope="module")
def report(ran: Project) -> Path:
    """The report, where `make report` puts it."""
    path = layout_of(ran, "results")[1].root / "report.html"
    ran.snakemake("--report", str(path), config=place("results"))
    return path


def test_the_report_is_one_page_with_tables_and_figures(report: Path) -> None:
    page = report.read_text()
    for shown in (*(f"{table}.html" for table in TABLES), *(f"{figure}.svg" for figure in FIGURES)):
        assert shown in page


def test_the_report_and_its_viewer_open_offline(report: Path, browser: Any) -> None:
    """Without network: the graph of rules, run times, a table, a caption, a figure, and the link to the viewer."""
    page = offline_page(browser, report.as_uri())
    page.get_by_text("Workflow", exact=True).click()
    page.wait_for_selector("canvas")
    assert {"corpus", "train", "evaluate", "tables"} <= set(re.findall(r'"rule": "(\w+)", "fx"', page.content()))
    page.get_by_role("link", name="viewer").click()
    page.wait_for_selector(".row")
    page.go_back()
    page.get_by_text("Statistics", exact=True).click()
    page.wait_for_selector("canvas >> nth=1")
    page.get_by_text("Tables", exact=True).click()
    row = page.locator("tr", has=page.get_by_text("EM", exact=True))
    row.locator("a").first.click()
    assert page.frame_locator("iframe").get_by_text("MR-Search").first.inner_text() == "MR-Search"
    row.locator("a").nth(1).click()
    page.wait_for_selector("text=point at a cell for its interval")
    assert page.problems == []
    page.context.close()


def test_equal_seeds_give_equal_weights_and_records(ran: Project) -> None:
    """Byte for byte; equal records give equal tables by `mrsearch verify` and the tests of metrics."""
    ran.snakemake("evaluations", config=place("again"))
    first, second = (layout_of(ran, name)[1].root for name in ("results", "again"))
    records = sorted(path.relative_to(first) for path in first.glob("eval/**/*.jsonl.zst"))
    weights = sorted(path.relative_to(first) for path in first.glob("models/**/*.safetensors"))
    assert records and weights
    for path in [*records, *weights]:
        assert sha256(first / path) == sha256(second / path), path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
