"""What must not happen too often in an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from mrsearch.agent.records import MetaEpisode, Question
from mrsearch.agent.tally import MetaEpisodeCounts, Tally
from mrsearch.config import Study


def check(study: Study, records: Sequence[MetaEpisode], questions: Sequence[Question], where: str) -> dict[str, int]:
    """How many searches failed and how many questions ran out of time, after making sure that nothing is missing.

    ValueError where records and questions do not match, and where `Tally.check` finds too much.
    """
    if [record.question.id for record in records] != [question.id for question in questions]:
        raise ValueError(
            f"{where}: {len(records)} records answer {len(questions)} questions: the evaluation is incomplete"
        )
    tally = Tally()
    for record in records:
        tally.add(MetaEpisodeCounts.of(record))
    tally.check(study, where)
    return {"search_failures": tally.search_failures, "deadlines": tally.deadlines}
