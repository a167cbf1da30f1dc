"""Questions of one's own, answered and scored as an evaluation of the study does it."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsearch.agent.agent import Agent, Request
from mrsearch.agent.answers import answers
from mrsearch.agent.interventions import swappable_texts
from mrsearch.agent.procedures import run_procedure
from mrsearch.agent.questions import read_questions
from mrsearch.agent.record_files import write_records
from mrsearch.agent.records import MetaEpisode, Question
from mrsearch.config.study import Study
from mrsearch.evaluation.limits import check
from mrsearch.evaluation.scores import score_record, score_row
from mrsearch.interactive.choice import AgentChoice
from mrsearch.progress import Meter
from mrsearch.unique_ids import refuse_repeated

if TYPE_CHECKING:
    import pandas as pd

UNNAMED = "questions"
"""Benchmark of questions that name none."""


@dataclass(frozen=True)
class EvaluatedQuestions:
    """The records and scores of questions that an agent answered."""

    records: list[MetaEpisode]
    """In the order of the questions, with their scores among the tags."""
    scores: pd.DataFrame
    """A row a question, with the columns of `scores.parquet`."""

    def write_records(self, path: str | Path) -> None:
        """Write the records as a file that `mrsearch inspect` and `read_records` read."""
        write_records(Path(path), self.records)


def evaluate_questions(
    study: Study,
    choice: AgentChoice,
    agent: Agent,
    questions: Sequence[Question] | str | Path,
    folder: Path,
    run: Callable[..., Any],
) -> EvaluatedQuestions:
    """The records and scores of `questions`, in memory or in a file. `folder` keeps records while they are made, `run`
    runs a coroutine. ValueError where a question has no gold answer or an id stands twice, and as of `limits.check`."""
    todo = read_questions(Path(questions)) if isinstance(questions, str | Path) else list(questions)
    _require_scorable(todo)
    records = run(_answered(study, choice, agent, todo, folder))
    for record in records:
        record.tags = {**record.tags, **_tags(study, choice, record.question), "scores": score_record(record)}
    check(study, records, todo, f"{len(todo)} questions, {choice.decoding}")
    return EvaluatedQuestions(records, _table(study, choice, records))


async def _answered(
    study: Study, choice: AgentChoice, agent: Agent, questions: Sequence[Question], folder: Path
) -> list[MetaEpisode]:
    settings, decoding = study.evaluation, study.evaluation.decoding[choice.decoding]
    agent = replace(agent, swappable=swappable_texts(questions))
    jobs = []
    for question in questions:
        # The id of an evaluation's request, so that the same question draws the same random numbers.
        request_id = f"{question.benchmark or UNNAMED}/{choice.decoding}/{question.id}"
        request = Request(request_id, choice.seed, decoding.temperature, decoding.top_p)
        jobs.append((request.id, functools.partial(run_procedure, question, agent, request)))
    journals = Path(tempfile.mkdtemp(dir=folder))
    whole_batches = settings.generator.whole_batches
    try:
        with Meter(f"{choice.method}: {choice.decoding}", len(jobs)) as meter:
            concurrency = settings.concurrency
            return list(await answers(jobs, agent.policy, concurrency, journals, meter, whole_batches=whole_batches))
    finally:
        shutil.rmtree(journals, ignore_errors=True)


def _require_scorable(questions: Sequence[Question]) -> None:
    if not questions:
        raise ValueError("no question to evaluate: give at least one")
    for question in questions:
        if not question.golden_answers:
            raise ValueError(f"question {question.id!r} has no golden_answers: an evaluation needs at least one")
    identifiers = ((number, f"{question.benchmark}/{question.id}") for number, question in enumerate(questions, 1))
    refuse_repeated(identifiers, "the list of questions", "question")


def _tags(study: Study, choice: AgentChoice, question: Question) -> dict[str, Any]:
    return choice.tags(study) | {"benchmark": question.benchmark or UNNAMED}


def _table(study: Study, choice: AgentChoice, records: Sequence[MetaEpisode]) -> pd.DataFrame:
    import pandas as pd

    episodes, topk = study.methods[choice.method].episodes, study.retrieval.topk
    rows = []
    for record in records:
        tags = _tags(study, choice, record.question)
        benchmark = study.benchmarks.get(tags["benchmark"])
        yes_no_rule = benchmark is not None and benchmark.yes_no_rule
        row = score_row(record, episodes, topk, yes_no_rule, study.protocol.answer)
        rows.append({name: value for name, value in tags.items() if name != "study"} | row)
    return pd.DataFrame(rows)
