"""How good a study's retrievers are: recall against exact search, how often an answer stands in the passages, and how
long one query takes."""

from __future__ import annotations

import csv
import io
import logging
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mrsearch.agent.records import Question
from mrsearch.agent.scoring import holds_answer
from mrsearch.config.retrieval import DenseRetriever, Retriever
from mrsearch.config.study import Study
from mrsearch.csv_cells import csv_text
from mrsearch.files import write_text
from mrsearch.progress import Meter
from mrsearch.retrieval.indexes.dense import EXACT, DenseSearcher
from mrsearch.retrieval.indexes.index import open_searcher
from mrsearch.retrieval.indexes.passages import PassageStore
from mrsearch.retrieval.indexes.ranking import Ranking, Searcher

log = logging.getLogger(__name__)
DEPTHS = (1, 3, 5, 10, 20)
BATCH = 64
OVERALL = "all"
TIMED_QUERIES = 50


@dataclass(frozen=True, slots=True)
class Measurement:
    """One retriever on one benchmark: a share per depth, of `questions` questions."""

    retriever: str
    measure: str
    """answer-hit (a gold answer stands in the first k passages) or recall (of the first k of exact search)."""
    benchmark: str
    questions: int
    at: dict[int, float]
    milliseconds: float
    """Median time of one query alone, encoding included; the same for every row of a retriever."""


Questions = Mapping[str, Sequence[Question]]
"""Per benchmark."""
Rankings = dict[str, list[Ranking]]
"""Per benchmark."""


def report(
    study: Study, corpus: Path, indexes: Path, questions: Questions, depths: Sequence[int] = DEPTHS
) -> list[Measurement]:
    """Rows for every retriever of `retrieval.compared` (of the study, where that is empty) whose index is there, per
    benchmark and over all questions.

    ValueError if there is no question.
    """
    if not any(questions.values()):
        raise ValueError("the report on retrieval has no questions: name files that hold some")
    store = PassageStore(corpus)
    rows: list[Measurement] = []
    exact: dict[tuple[str, str], Rankings] = {}
    for name in study.retrieval.compared or study.retrieval.retrievers:
        config = study.retrieval.retrievers[name]
        if config.kind == "remote":
            log.warning("retriever %s finds passages of another corpus than the study's: left out", name)
        elif all((indexes / member).is_dir() for member in study.members(name)):
            rows += _measure(name, config, open_searcher(study, name, store, indexes), store, questions, depths, exact)
        else:
            log.warning("retriever %s has no index in %s: left out", name, indexes)
    return rows


def write_report(rows: Sequence[Measurement], out: Path) -> None:
    """Write the table to `out`: Markdown for a name ending in .md, CSV otherwise."""
    write_text(out, as_markdown(rows) if out.suffix == ".md" else as_csv(rows))


def as_markdown(rows: Sequence[Measurement]) -> str:
    """The rows as a Markdown table, shares in per cent."""
    depths = list(rows[0].at) if rows else []
    head = ["retriever", "measure", "benchmark", "questions", *(f"@{k}" for k in depths), "ms a query"]
    lines = [head, ["---"] * len(head)]
    lines += [
        [
            *(r.retriever, r.measure, r.benchmark, str(r.questions)),
            *(f"{100 * r.at[k]:.1f}" for k in depths),
            f"{r.milliseconds:.2f}",
        ]
        for r in rows
    ]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def as_csv(rows: Sequence[Measurement]) -> str:
    """The rows as CSV, shares between 0 and 1, milliseconds per query."""
    depths = list(rows[0].at) if rows else []
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["retriever", "measure", "benchmark", "questions", *(f"at_{k}" for k in depths), "milliseconds"])
    for row in rows:
        shares = [f"{row.at[k]:.6f}" for k in depths]
        names = map(csv_text, (row.retriever, row.measure, row.benchmark))
        writer.writerow([*names, row.questions, *shares, f"{row.milliseconds:.3f}"])
    return out.getvalue()


def _measure(
    name: str,
    config: Retriever,
    searcher: Searcher,
    store: PassageStore,
    questions: Questions,
    depths: Sequence[int],
    exact: dict[tuple[str, str], Rankings],
) -> list[Measurement]:
    """Hits of one retriever, and recall where its index is not exact. exact: rankings over vectors that were searched
    exactly already, to which this adds."""
    rankings = _rank_all(searcher, questions, max(depths), name)
    milliseconds = _milliseconds(searcher, [item.question for items in questions.values() for item in items], depths)
    hits = {b: [_hits(store, *pair, depths) for pair in zip(rankings[b], questions[b], strict=True)] for b in questions}
    rows = _rows(name, "answer-hit", hits, depths, milliseconds)
    if not isinstance(config, DenseRetriever):
        return rows
    assert isinstance(searcher, DenseSearcher)
    if config.index in EXACT:
        # What an exact index returns depends on queries and vectors alone.
        exact[searcher.vectors] = rankings
        return rows
    if searcher.vectors not in exact:
        exact[searcher.vectors] = _rank_all(searcher.exact(), questions, max(depths), f"{name}, exact")
    pairs = {b: zip(rankings[b], exact[searcher.vectors][b], strict=True) for b in questions}
    recalls = {b: [_recalls(*pair, depths) for pair in pairs[b]] for b in questions}
    return [*rows, *_rows(name, "recall", recalls, depths, milliseconds)]


def _rank_all(searcher: Searcher, questions: Questions, depth: int, label: str) -> Rankings:
    return {benchmark: _rank(searcher, items, depth, f"{label}: {benchmark}") for benchmark, items in questions.items()}


def _rank(searcher: Searcher, items: Sequence[Question], depth: int, label: str) -> list[Ranking]:
    rankings: list[Ranking] = []
    with Meter(label, len(items)) as meter:
        for start in range(0, len(items), BATCH):
            batch = [item.question for item in items[start : start + BATCH]]
            rankings += searcher.search(batch, depth)
            meter.advance(len(batch))
    return rankings


def _milliseconds(searcher: Searcher, questions: Sequence[str], depths: Sequence[int]) -> float:
    """Median over questions spread evenly, one at a time."""
    timed = questions[:: -(-len(questions) // TIMED_QUERIES)]
    times = []
    for question in timed:
        begun = time.perf_counter()
        searcher.search([question], max(depths))
        times.append(time.perf_counter() - begun)
    return 1000 * statistics.median(times)


def _hits(store: PassageStore, ranking: Ranking, question: Question, depths: Sequence[int]) -> list[bool]:
    """Whether a gold answer stands in the first k passages, for every depth k."""
    first = _first_hit(store, ranking, question.golden_answers)
    return [first <= k for k in depths]


def _first_hit(store: PassageStore, ranking: Ranking, answers: Sequence[str]) -> float:
    """Rank of the first passage that holds an answer, counted from 1; infinity if none does."""
    for rank, position in enumerate(ranking.positions, 1):
        passage = store[position]
        if holds_answer(f"{passage.title}\n{passage.text}", answers):
            return rank
    return float("inf")


def _recalls(ranking: Ranking, exact: Ranking, depths: Sequence[int]) -> list[float]:
    return [
        len(set(ranking.positions[:k]) & set(exact.positions[:k])) / max(1, len(exact.positions[:k])) for k in depths
    ]


def _rows(
    retriever: str,
    measure: str,
    values: Mapping[str, Sequence[Sequence[float]]],
    depths: Sequence[int],
    milliseconds: float,
) -> list[Measurement]:
    together = {**values, OVERALL: [value for items in values.values() for value in items]}
    return [
        Measurement(
            retriever,
            measure,
            benchmark,
            len(items),
            {k: sum(item[n] for item in items) / max(1, len(items)) for n, k in enumerate(depths)},
            milliseconds,
        )
        for benchmark, items in together.items()
    ]
