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

import orjson

from mrsearch.config.study import Study
from mrsearch.files import write_text
from mrsearch.retrieval.bow import words
from mrsearch.retrieval.dense import EXACT, DenseSearcher
from mrsearch.retrieval.indexes import open_searcher
from mrsearch.retrieval.passages import PassageStore
from mrsearch.retrieval.progress import Meter
from mrsearch.retrieval.ranking import Ranking, Searcher

log = logging.getLogger(__name__)
DEPTHS = (1, 3, 5, 10, 20)
BATCH = 64
OVERALL = "all"
TIMED_QUERIES = 50


@dataclass(frozen=True, slots=True)
class Row:
    """One retriever on one benchmark: a share per depth, of `questions` questions."""

    retriever: str
    measure: str
    """answer-hit (a gold answer stands in the first k passages) or recall (of the first k of exact search)."""
    benchmark: str
    questions: int
    at: dict[int, float]
    milliseconds: float
    """Median time of one query alone, encoding included; the same for every row of a retriever."""


Asked = Mapping[str, Sequence[tuple[str, Sequence[str]]]]
"""Per benchmark, questions with their gold answers."""


def report(study: Study, corpus: Path, indexes: Path, asked: Asked, depths: Sequence[int] = DEPTHS) -> list[Row]:
    """Rows for every retriever of `retrieval.compared` (of the study, where that is empty) whose index is there, per
    benchmark and over all questions.

    ValueError if there is no question.
    """
    if not any(asked.values()):
        raise ValueError("the report on retrieval has no questions: name files that hold some")
    store = PassageStore(corpus)
    rows: list[Row] = []
    for name in study.retrieval.compared or study.retrieval.retrievers:
        config = study.retrieval.retrievers[name]
        parts = config.of if config.kind == "hybrid" else (name,)
        if not all((indexes / part).is_dir() for part in parts):
            log.warning("retriever %s has no index in %s: left out", name, indexes)
            continue
        searcher = open_searcher(study, name, store, indexes)
        found = {
            benchmark: _rank(searcher, items, max(depths), f"{name}: {benchmark}") for benchmark, items in asked.items()
        }
        hits = {
            benchmark: [_first_hit(store, r, answers) for r, (_, answers) in zip(found[benchmark], items, strict=True)]
            for benchmark, items in asked.items()
        }
        milliseconds = _milliseconds(searcher, [question for items in asked.values() for question, _ in items], depths)
        rows += _rows(
            name,
            "answer-hit",
            {b: [[first <= k for k in depths] for first in firsts] for b, firsts in hits.items()},
            depths,
            milliseconds,
        )
        if config.kind == "dense" and config.index not in EXACT:
            assert isinstance(searcher, DenseSearcher)
            exact = {
                b: _rank(searcher.exact(), items, max(depths), f"{name}, exact: {b}") for b, items in asked.items()
            }
            rows += _rows(
                name,
                "recall",
                {b: [_recalls(a, e, depths) for a, e in zip(found[b], exact[b], strict=True)] for b in asked},
                depths,
                milliseconds,
            )
    return rows


def read_questions(path: Path) -> list[tuple[str, list[str]]]:
    """Questions with gold answers of a jsonl file in FlashRAG's schema or of a parquet file of this project."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(path, columns=["question", "golden_answers"]).to_pylist()
        return [(row["question"], list(row["golden_answers"])) for row in table]
    rows = [orjson.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
    return [(row["question"], list(row["golden_answers"])) for row in rows]


def write_report(rows: Sequence[Row], out: Path) -> None:
    """Write the table to `out`: Markdown for a name ending in .md, CSV otherwise."""
    write_text(out, as_markdown(rows) if out.suffix == ".md" else as_csv(rows))


def as_markdown(rows: Sequence[Row]) -> str:
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


def as_csv(rows: Sequence[Row]) -> str:
    """The rows as CSV, shares between 0 and 1, milliseconds per query."""
    depths = list(rows[0].at) if rows else []
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["retriever", "measure", "benchmark", "questions", *(f"at_{k}" for k in depths), "milliseconds"])
    for row in rows:
        shares = [f"{row.at[k]:.6f}" for k in depths]
        writer.writerow([row.retriever, row.measure, row.benchmark, row.questions, *shares, f"{row.milliseconds:.3f}"])
    return out.getvalue()


def has_answer(text: str, answers: Sequence[str]) -> bool:
    """Whether the words of an answer stand in the text, in order and without gap (as DPR counts hits)."""
    joined = f" {' '.join(words(text))} "
    return any(f" {' '.join(words(answer))} " in joined for answer in answers if words(answer))


def _rank(searcher: Searcher, items: Sequence[tuple[str, Sequence[str]]], depth: int, what: str) -> list[Ranking]:
    rankings: list[Ranking] = []
    with Meter(what, len(items)) as meter:
        for start in range(0, len(items), BATCH):
            batch = [question for question, _ in items[start : start + BATCH]]
            rankings += searcher.search(batch, depth)
            meter.advance(len(batch))
    return rankings


def _milliseconds(searcher: Searcher, questions: Sequence[str], depths: Sequence[int]) -> float:
    """Median over questions spread evenly, one at a time."""
    chosen = questions[:: -(-len(questions) // TIMED_QUERIES)]
    times = []
    for question in chosen:
        begun = time.perf_counter()
        searcher.search([question], max(depths))
        times.append(time.perf_counter() - begun)
    return 1000 * statistics.median(times)


def _first_hit(store: PassageStore, ranking: Ranking, answers: Sequence[str]) -> float:
    """Rank of the first passage that holds an answer, counted from 1; infinity if none does."""
    for rank, position in enumerate(ranking.positions, 1):
        passage = store[position]
        if has_answer(f"{passage.title}\n{passage.text}", answers):
            return rank
    return float("inf")


def _recalls(found: Ranking, exact: Ranking, depths: Sequence[int]) -> list[float]:
    return [len(set(found.positions[:k]) & set(exact.positions[:k])) / max(1, len(exact.positions[:k])) for k in depths]


def _rows(
    retriever: str,
    measure: str,
    values: Mapping[str, Sequence[Sequence[float]]],
    depths: Sequence[int],
    milliseconds: float,
) -> list[Row]:
    together = {**values, OVERALL: [value for items in values.values() for value in items]}
    return [
        Row(
            retriever,
            measure,
            benchmark,
            len(items),
            {k: sum(item[n] for item in items) / max(1, len(items)) for n, k in enumerate(depths)},
            milliseconds,
        )
        for benchmark, items in together.items()
    ]
