"""What must not happen too often in an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from mrsearch.agent.records import MetaEpisode, Question, StopReason
from mrsearch.config import Study


def check(study: Study, records: Sequence[MetaEpisode], questions: Sequence[Question], where: str) -> dict[str, int]:
    """How many searches failed and how many questions ran out of time, after making sure that nothing is missing.

    ValueError where records and questions do not match, where more searches failed than
    `retrieval.client.max_failure_rate` allows, or where more questions ended with `deadline` than
    `evaluation.engine.max_deadline_rate` allows.
    """
    if [record.question.id for record in records] != [question.id for question in questions]:
        raise ValueError(
            f"{where}: {len(records)} records answer {len(questions)} questions: the evaluation is incomplete"
        )
    failures = sum(record.search_failures for record in records)
    attempts = max(int(sum(sum(record.tags["scores"]["searches"]) for record in records)), failures)
    allowed = study.retrieval.client.max_failure_rate
    if failures > allowed * attempts:
        raise ValueError(
            f"{where}: {failures} of {attempts} searches failed, more than retrieval.client.max_failure_rate "
            f"({allowed}) allows: look at the retriever's log, then run again"
        )
    late = sum(record.stop is StopReason.deadline for record in records)
    allowed = study.evaluation.engine.max_deadline_rate
    if late > allowed * len(records):
        raise ValueError(
            f"{where}: {late} of {len(records)} questions ran out of time, more than "
            f"evaluation.engine.max_deadline_rate ({allowed}) allows: raise evaluation.engine.deadline_seconds "
            "or lower evaluation.engine.requests"
        )
    return {"search_failures": failures, "deadlines": late}
