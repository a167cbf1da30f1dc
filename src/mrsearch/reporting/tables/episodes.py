"""Scores by episode, and how answers changed from one episode to the next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mrsearch.config import Study
from mrsearch.evaluation.scores import TRANSITIONS
from mrsearch.reporting.frame import Metrics, Value, method_label, origin_note, parallel
from mrsearch.reporting.tables.methods import interval_text, put
from mrsearch.reporting.tables.table import Block, Mark, Table, TableCell, mark_best, number

CHANGES = ("corrected", "corrupted", "kept")
"""Columns of the table; the file of numbers has `unanswered` too."""


def episode_table(metrics: Metrics) -> Table:
    """Mean EM of each episode and the share of answers corrected, corrupted and kept since the episode before."""
    study = metrics.study
    methods = [method for method, settings in study.methods.items() if settings.episodes > 1] or list(study.methods)
    last = max(study.methods[method].episodes for method in methods)
    header = ["Method", "EM 1"]
    for episode in range(2, last + 1):
        header += [f"EM {episode}", *(f"{change} {episode}" for change in CHANGES)]
    blocks = []
    for decoding in metrics.decodings:
        for model in study.models:
            blocks.append(_block(metrics, model, decoding, methods, last))
    notes = [
        "EM (%) of the answer of each episode, 0 where it gave none; means over benchmarks. Best in bold, second "
        "underlined.",
        "Shares of all questions (%): corrected (wrong, then right), corrupted (right, then a wrong answer), kept "
        "(right twice); EM of an episode is corrected plus kept. What was right and then had no answer is none of "
        "them; the CSV has it as unanswered.",
        *_about_samples(study),
        origin_note(metrics),
    ]
    return Table("episodes", "Episode by episode", header, blocks, notes)


def _about_samples(study: Study) -> list[str]:
    labels = [method_label(study, method) for method in study.methods if parallel(study, method)]
    return [f"Of parallel samples ({', '.join(labels)}): the vote of the first samples."] if labels else []


def _block(metrics: Metrics, model: str, decoding: str, methods: list[str], last: int) -> Block:
    """A row per method, the best EM of each episode marked, and a last row with n."""
    study = metrics.study
    block = Block(f"{model}, {decoding}" if len(study.models) > 1 else decoding, group=decoding)
    block.rows = [[TableCell(method_label(study, method))] for method in methods]
    block.closing = [[TableCell("n")]]
    for episode in range(1, last + 1):
        for metric in ("em", *CHANGES) if episode > 1 else ("em",):
            values = [_value(metrics, (model, decoding, method), metric, episode) for method in methods]
            texts = ["" if value is None else number(value.value, 100) for value in values]
            marks = mark_best(texts) if metric == "em" else [Mark.none] * len(texts)
            for row, value, text, mark in zip(block.rows, values, texts, marks, strict=True):
                hint = "" if value is None else interval_text(value, study.report.confidence)
                row.append(TableCell(text, mark, hint=hint))
            block.closing[0].append(
                TableCell(str(next(value.n for value in values if value)) if metric == "em" else "")
            )
    return block


def _value(metrics: Metrics, key: tuple[str, str, str], metric: str, episode: int) -> Value | None:
    """None where the method has no such episode, or its episodes are samples that know nothing of each other."""
    study, method = metrics.study, key[2]
    samples = parallel(study, method)
    if episode > study.methods[method].episodes or (samples and metric in CHANGES):
        return None
    return metrics.at(*key, "average", "em_vote" if samples else metric, str(episode))


def episode_rows(metrics: Metrics) -> Iterator[dict[str, Any]]:
    """A row per model, decoding, method, benchmark and episode, unrounded; em_vote and em_best are of all so far."""
    for model, decoding, method, benchmark in metrics.cells():
        for episode in range(1, metrics.study.methods[method].episodes + 1):
            key = (model, decoding, method, benchmark)
            row: dict[str, Any] = {"model": model, "decoding": decoding, "method": method, "benchmark": benchmark}
            row["episode"] = episode
            for metric in ("em", "em_vote", "em_best", "f1", "searches", "generated_tokens"):
                put(row, metric, metrics.at(*key, metric, str(episode)))
            for metric in TRANSITIONS:
                row[metric] = metrics.at(*key, metric, str(episode)).value if episode > 1 else ""
            em = metrics.at(*key, "em", str(episode))
            yield {**row, "n": em.n, "seeds": em.seeds}
