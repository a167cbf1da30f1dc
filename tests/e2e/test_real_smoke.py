"""The whole DAG over real questions and real passages, searched over HTTP; nothing is left running."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrsearch.agent.record_files import read_records
from mrsearch.config import Run, load_study
from mrsearch.config.layout import Layout

from .conftest import Project

pytestmark = pytest.mark.e2e
FEW = "data.passages: 300, data.questions_per_benchmark: 2"
CONFIG = ["study=real-smoke", f"overrides={{{FEW}}}"]
RUN = Run(study="real-smoke")


@pytest.fixture(scope="module")
def ran(project: Project, real_data: Path) -> Project:
    """The project after one run over a few real questions."""
    project.snakemake(config=CONFIG)
    return project


@pytest.fixture
def layout(ran: Project) -> Layout:
    return Layout(RUN, load_study(RUN, ran.folder))


def test_every_method_answers_the_real_questions(ran: Project, layout: Layout) -> None:
    study = load_study(RUN, ran.folder)
    for method in study.methods:
        for path in layout.record_files("tiny", method, 0):
            assert len(list(read_records(ran.folder / path))) == 2
    assert {path.suffix for path in (ran.folder / layout.root / "tables").iterdir()} >= {".csv", ".md", ".tex"}


def test_passages_reach_the_model_over_http(ran: Project, layout: Layout) -> None:
    files = layout.record_files("tiny", "rag", 0)
    records = [record for path in files for record in read_records(ran.folder / path)]
    assert all(record.search_failures == 0 for record in records)
    titles = {hit.passage.title for record in records for turn in record.episodes[0].turns for hit in turn.hits}
    assert len(titles) > len(files), "different questions find different passages"


def test_the_untrained_agent_searches_answers_and_reflects(ran: Project, layout: Layout) -> None:
    files = layout.record_files("tiny", "agent", 0)
    records = [record for path in files for record in read_records(ran.folder / path)]
    turns = [turn for record in records for episode in record.episodes for turn in episode.turns]
    assert {turn.action.value for turn in turns} == {"search", "answer", "invalid"}
    assert all(turn.hits and turn.observation for turn in turns if turn.action == "search")
    assert {len(record.episodes) for record in records} == {3}


def test_the_retriever_is_stopped_after_success(ran: Project, layout: Layout) -> None:
    assert running(ran, layout) == []


def test_nothing_runs_again_for_another_service_setting(ran: Project) -> None:
    config = ["study=real-smoke", f"overrides={{{FEW}, retrieval.service.cache_entries: 5}}"]
    assert ran.planned(config) == {}


def test_a_missing_record_starts_the_retriever_and_one_evaluation(ran: Project, layout: Layout) -> None:
    record = ran.folder / layout.record_files("tiny", "rag", 0)[0]
    before = record.read_bytes()
    record.unlink()
    assert ran.planned(CONFIG, "evaluations") == {"evaluate": 1, "evaluations": 1, "total": 2}
    output = ran.snakemake("--rerun-incomplete", "evaluations", config=CONFIG)
    assert "Retrieval server: minilm" in output
    assert record.read_bytes() == before
    assert running(ran, layout) == []


def test_the_retriever_is_stopped_after_a_failure(ran: Project, layout: Layout) -> None:
    (ran.folder / layout.record_files("tiny", "rag", 0)[0]).unlink()
    weights = ran.folder / layout.base("tiny") / "model.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(b"no weights")
    code, output = ran.attempt("--rerun-incomplete", "evaluations", config=CONFIG)
    weights.write_bytes(kept)
    assert code != 0
    assert "Retrieval server: minilm" in output
    assert running(ran, layout) == []


def running(project: Project, layout: Layout) -> list[str]:
    """Command lines of this project's retrieval servers, and its endpoint file if it is there."""
    endpoint_file = project.folder / layout.endpoint("minilm")
    found = [str(endpoint_file)] if endpoint_file.exists() else []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "mrsearch" in line and str(endpoint_file.parent) in line:
            found.append(line)
    return found
