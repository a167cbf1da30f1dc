"""A study's agent answers: by command, in Python, with the pipeline's retriever and with one of its own."""

from __future__ import annotations

import contextlib
import io
import json
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.commands import mrsearch
from support.finished_study import evaluate_study, finished_study
from support.project import ROOT

import mrsearch as package
from mrsearch.agent.records import MetaEpisode, Question
from mrsearch.cluster.local import LocalLauncher
from mrsearch.config import Study
from mrsearch.config.layout import Layout, record_file
from mrsearch.interactive.loaded_study import LoadedStudy
from mrsearch.interactive.steps import steps
from mrsearch.retrieval.service import lifetime
from mrsearch.retrieval.service.endpoint import healthy, read_endpoint

pytestmark = pytest.mark.integration
PAGE = (ROOT / "docs" / "ask.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Layout, Path]:
    """A study that has run, where it lies, and the folder of the project."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        study, layout = finished_study(root)
        evaluate_study(study, layout)
    return study, layout, root


@pytest.fixture(scope="module")
def loaded(finished: tuple[Study, Layout, Path]) -> LoadedStudy:
    return package.load_study("demo", root=finished[2])


def test_the_command_answers_in_the_terminal(finished: tuple[Study, Layout, Path]) -> None:
    done = mrsearch("ask", "demo", "mr_search", "who is \x1b[31m the coach of Tulas ?", cwd=finished[2])
    assert done.returncode == 0, done.stderr
    lines = [line.split(" ")[0] for line in done.stdout.splitlines() if line.strip()]
    assert lines[:2] == ["question", "episode"]
    assert {"reasoning", "search", "passages", "reflection", "result", "cost"} <= set(lines)
    assert "\x1b" not in done.stdout and "\\x1b[31m" in done.stdout


def test_several_questions_are_lines_of_json(
    finished: tuple[Study, Layout, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("who is the coach of Tulas ?\n\n  what is her birthplace ?  \n"))
    done = mrsearch("ask", "demo", "mr_search", "--json", "--decoding", "sampled", cwd=finished[2])
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["question"] for line in lines] == ["who is the coach of Tulas ?", "what is her birthplace ?"]
    for line in lines:
        assert (line["method"], line["seed"], line["decoding"]) == ("mr_search", 0, "sampled")
        assert len(line["episodes"]) == 2
        assert line["costs"]["turns"] == sum(len(episode["turns"]) for episode in line["episodes"])
        assert "right" not in line, "nobody knows"


def test_what_a_question_needs_and_does_not_find_is_named(finished: tuple[Study, Layout, Path], tmp_path: Path) -> None:
    root = finished[2]
    assert "has no method 'nope': it has warm_start" in mrsearch("ask", "demo", "nope", "x", cwd=root).stderr
    assert "has no seed 7: it has 0" in mrsearch("ask", "demo", "mr_search", "x", "--seed", "7", cwd=root).stderr
    assert "has no text" in mrsearch("ask", "demo", "mr_search", " ", cwd=root).stderr
    (tmp_path / "study.json").write_bytes((root / "results" / "demo" / "study.json").read_bytes())
    done = mrsearch("ask", "study.json", "mr_search", "x", cwd=tmp_path)
    assert done.returncode == 2
    assert "results/demo/models/tiny/warm_start/seed0/model: the weights of study demo are not there" in done.stderr


def test_an_answer_is_what_the_evaluation_recorded(finished: tuple[Study, Layout, Path], loaded: LoadedStudy) -> None:
    study = finished[0]
    records = list(loaded.records("mr_search", "two_hop"))
    with loaded.open_agent("mr_search") as agent:
        for record in records:
            answer = agent.answer(record.question)
            assert steps(answer.record, study.protocol) == steps(record, study.protocol)
            assert answer.as_data()["right"] in (True, False)


def test_an_evaluation_of_a_benchmarks_questions_is_the_studys_own(
    finished: tuple[Study, Layout, Path], loaded: LoadedStudy
) -> None:
    _, layout, _ = finished
    with loaded.open_agent("mr_search", decoding="sampled") as agent:
        evaluated = agent.evaluate(layout.questions("two_hop"))
    path = record_file(layout.records("tiny", "mr_search", 0), "two_hop", "sampled")
    written = {record.question.id: record for record in package.read_records(path)}
    assert evaluated.records == [written[question.id] for question in loaded.questions("two_hop")]
    scores = loaded.scores()
    expected = scores[(scores.method == "mr_search") & (scores.decoding == "sampled") & (scores.benchmark == "two_hop")]
    rows = evaluated.scores.sort_values("question_id")
    for column in ("em_final", "searches", "corrected", "stop"):
        assert all(map(np.array_equal, rows[column], expected[column])), column


def test_the_page_runs_as_it_stands_there(
    finished: tuple[Study, Layout, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished[2])
    names: dict[str, object] = {}
    for example in EXAMPLES:
        exec(example, names)
    shown = capsys.readouterr().out
    assert "em_final" in shown and "1 episodes so far" in shown and "generated_tokens" in shown
    (record, _) = package.read_records(Path("my-questions.jsonl.zst"))
    assert record.tags["benchmark"] == "questions"
    done = mrsearch("inspect", "my-questions.jsonl.zst", "1", cwd=finished[2])
    assert "gold       Ledopol" in done.stdout


def test_an_interrupted_question_leaves_the_agent_open(loaded: LoadedStudy) -> None:
    views: list[MetaEpisode] = []

    def interrupt(record: MetaEpisode) -> None:
        if not views:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        views.append(record)

    with loaded.open_agent("mr_search") as agent:
        with pytest.raises(KeyboardInterrupt):
            agent.answer("who is the coach of Tulas ?", watch=interrupt)
        assert agent.answer("who is the coach of Tulas ?").record.episodes


def test_questions_that_cannot_be_scored_are_refused(loaded: LoadedStudy) -> None:
    with loaded.open_agent("mr_search") as agent:
        with pytest.raises(ValueError, match="question '1' has no golden_answers"):
            agent.evaluate([Question("1", "who ?", ())])
        with pytest.raises(ValueError, match="no question to evaluate"):
            agent.evaluate([])
        with pytest.raises(ValueError, match="questions/1"):
            agent.evaluate([Question("1", "who ?", ("A",), "questions")] * 2)


@pytest.fixture
def served(finished: tuple[Study, Layout, Path], tmp_path: Path) -> Iterator[tuple[LoadedStudy, Path]]:
    """The same study, whose agents search by a server, and the folder of temporary files."""
    study, layout, _ = finished
    service = study.retrieval.service.model_copy(update={"mode": "http"})
    retrieval = study.retrieval.model_copy(update={"service": service})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path))
        patch.setattr("tempfile.tempdir", str(tmp_path))
        yield LoadedStudy(study.model_copy(update={"retrieval": retrieval}), layout), tmp_path


def test_a_retriever_is_started_for_the_agent_and_ended_with_it(served: tuple[LoadedStudy, Path]) -> None:
    loaded, folder = served
    with contextlib.suppress(RuntimeError), loaded.open_agent("search_r1") as agent:
        (endpoint,) = folder.glob("mrsearch-*/dense.json")
        job = lifetime.status(endpoint)["job_id"]
        assert LocalLauncher().active(job)
        answer = agent.answer("who is the coach of Tulas ?")
        assert any(turn.hits for episode in answer.record.episodes for turn in episode.turns)
        raise RuntimeError("whatever goes wrong")
    assert not LocalLauncher().active(job)
    assert not list(folder.glob("mrsearch-*"))


def test_the_pipelines_retriever_is_used_and_left_alone(served: tuple[LoadedStudy, Path]) -> None:
    loaded, folder = served
    layout = loaded.layout
    endpoint = layout.endpoint("dense")
    lifetime.start(loaded.study, layout.corpus, layout.indexes, endpoint)
    try:
        with loaded.open_agent("search_r1") as agent:
            assert not list(folder.glob("mrsearch-*/dense.json"))
            answer = agent.answer("who is the coach of Tulas ?")
            assert any(turn.hits for episode in answer.record.episodes for turn in episode.turns)
        assert healthy(read_endpoint(endpoint))
    finally:
        lifetime.stop(endpoint)
