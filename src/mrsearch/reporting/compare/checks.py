"""Whether results of several studies can stand in one table, and why not."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from mrsearch.config import Study
from mrsearch.reporting.compare.sources import Source

DESPITE = ("protocol", "index")
"""Differences that may be what a comparison is about; others make it meaningless."""
OF_TRAINING = {
    "questions_per_benchmark",
    "train",
    "train_questions",
    "validation_share",
    "drop_overlap",
    "prebuilt_index",
}
"""Keys of the data that leave the benchmarks' questions what they are; subsets by size are nested."""
LONGEST_VALUE = 40


@dataclass(frozen=True)
class StudyDifference:
    """Something in which two studies differ, so that their numbers do not mean the same."""

    kind: Literal["protocol", "index", "split", "decoding"]
    text: str


def refuse(sources: list[Source], despite: Collection[str]) -> list[str]:
    """The differences that `despite` allows, a sentence each; ValueError with all others."""
    if unknown := set(despite) - set(DESPITE):
        raise ValueError(f"--despite {min(unknown)!r}: known are {', '.join(DESPITE)}")
    first, *later = sources
    pairs = [(source, difference) for source in later for difference in differences(first, source)]
    refused = [f"{source.label}: {difference.text}" for source, difference in pairs if difference.kind not in despite]
    if refused:
        kinds = {difference.kind for _, difference in pairs} - set(despite)
        options = [f"--despite {kind}" for kind in DESPITE if kind in kinds]
        way = (
            f"\n{' '.join(options)} sets them side by side all the same, and says so below the table" if options else ""
        )
        raise ValueError("\n".join([f"these cannot be compared with {first.label}:", *refused]) + way)
    return [f"{source.label} differs from {first.label}: {difference.text}." for source, difference in pairs]


def differences(first: Source, second: Source) -> Iterator[StudyDifference]:
    """Everything in which the second differs from the first."""
    yield from (StudyDifference("protocol", text) for text in _protocol(first.study, second.study))
    yield from (StudyDifference("index", text) for text in _index(first, second))
    yield from (StudyDifference("split", text) for text in _splits(first, second))
    before, after = first.study.evaluation.decoding, second.study.evaluation.decoding
    if not before.keys() & after.keys():
        yield StudyDifference("decoding", f"no decoding of {second.label} has the name of one of {first.label}'s")
    for name in sorted(before.keys() & after.keys()):
        if before[name] != after[name]:
            yield StudyDifference("decoding", f"evaluation.decoding.{name} is another way of sampling in each")


def same_questions(first: Source, second: Source) -> list[str]:
    """Benchmarks that both ask, in the first study's order."""
    return [name for name in first.study.benchmarks if name in second.study.benchmarks]


def _protocol(first: Study, second: Study) -> Iterator[str]:
    before, after = (_flat(study.protocol.model_dump(mode="json")) for study in (first, second))
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            yield f"protocol.{key} is {_short(after.get(key))}, not {_short(before.get(key))}"


def _index(first: Source, second: Source) -> Iterator[str]:
    before, after = first.study.retrieval, second.study.retrieval
    if before.topk != after.topk:
        yield f"retrieval.topk is {after.topk}, not {before.topk}"
    first_inputs, second_inputs = first.inputs(), second.inputs()
    if first_inputs.get("corpus") != second_inputs.get("corpus"):
        yield "its passages are others"
    if _settings(first.study) != _settings(second.study):
        yield f"its retriever ({after.use}) has other settings than {before.use}"
        return
    for name in sorted(first_inputs.keys() & second_inputs.keys()):
        if name.startswith("index/") and first_inputs[name] != second_inputs[name]:
            yield f"its {name} holds other vectors or files"


def _settings(study: Study) -> list[Any]:
    """The retriever in use without its name, and those that it searches."""
    retrievers = study.retrieval.retrievers
    names = study.reached(study.retrieval.use)
    return [retrievers[name].model_dump(mode="json", exclude={"of"}) for name in names]


def _splits(first: Source, second: Source) -> Iterator[str]:
    if not same_questions(first, second):
        yield "it has no benchmark of the same name"
        return
    first_inputs, second_inputs = first.inputs(), second.inputs()
    for name in same_questions(first, second):
        if first_inputs.get(f"questions/{name}") == second_inputs.get(f"questions/{name}"):
            continue
        same_data = _data(first.study) == _data(second.study) and first.study.data.kind != "folder"
        sources = {study.benchmarks[name].source or name for study in (first.study, second.study)}
        if not same_data or len(sources) > 1:
            yield f"benchmark {name} asks other questions: another split, source or data"


def _data(study: Study) -> dict[str, Any]:
    return study.data.model_dump(mode="json", exclude=OF_TRAINING)


def _flat(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return flat


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
