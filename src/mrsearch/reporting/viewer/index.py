"""What the viewer's list shows and filters, column by column."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from mrsearch.config import Study
from mrsearch.reporting.frame import benchmark_label, method_label
from mrsearch.reporting.viewer.records import ShownRecord

TRAINING = {"id": "train", "label": "Training questions"}
RecordTags = dict[str, Any]
"""study, model, method, seed, decoding and benchmark of a record."""


class RecordIndex:
    """What the list shows and filters, column by column."""

    def __init__(self, studies: list[Study], steps: Iterable[int], chunk: int) -> None:
        """steps: of trainings whose groups are shown. chunk: records in one file."""
        self.studies, self.chunk = studies, chunk
        self.questions: dict[tuple[str, str, str], int] = {}
        self.listed: list[dict[str, Any]] = []
        self.total = 0
        self.values = _filters(studies, sorted(set(steps)))
        self._codes = {name: {value: code for code, value in enumerate(values)} for name, values in self.values.items()}
        further = ("question", "member", "instructive", "pattern", "answer", "text")
        self.columns: dict[str, list[Any]] = {name: [] for name in [*self.values, *further]}

    def add(self, keys: RecordTags, record: ShownRecord) -> None:
        """Add the next record."""
        key = (keys["study"], keys["benchmark"], record.question.id)
        if key not in self.questions:
            self.questions[key] = len(self.listed)
            golds = list(record.question.golden_answers)
            self.listed.append({"id": record.question.id, "question": record.question.question, "golds": golds})
        for name, codes in self._codes.items():
            self.columns[name].append(codes[keys[name]])
        self.columns["question"].append(self.questions[key])
        for name in ("member", "instructive", "pattern", "answer", "text"):
            self.columns[name].append(getattr(record, name))

    def text(self) -> str:
        """The whole index as JSON."""
        methods = {name: method_label(study, name) for study in reversed(self.studies) for name in study.methods}
        benchmarks = {
            name: benchmark_label(study, name) for study in reversed(self.studies) for name in study.benchmarks
        }
        benchmarks[TRAINING["id"]] = TRAINING["label"]
        content = {
            "title": self.studies[0].title if len(self.studies) == 1 else "",
            "studies": self.values["study"],
            "models": self.values["model"],
            "methods": [{"id": name, "label": methods[name]} for name in self.values["method"]],
            "seeds": self.values["seed"],
            "decodings": self.values["decoding"],
            "benchmarks": [{"id": name, "label": benchmarks[name]} for name in self.values["benchmark"]],
            "prompts": [{method: _prompts(study, method) for method in study.methods} for study in self.studies],
            "chunk": self.chunk,
            "total": self.total,
            "questions": self.listed,
            "columns": self.columns,
        }
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _prompts(study: Study, method: str) -> dict[str, Any]:
    """What the method's agent is told, as the protocol has it: before tokens, with fields for question and passages."""
    settings = study.of(method)
    protocol = settings.protocol
    return {
        "system": protocol.prompts.system,
        "first": protocol.prompts.first(settings.methods[method].procedure),
        "reflection": protocol.prompts.reflection,
        "templated": protocol.chat == "template",
    }


def _filters(studies: list[Study], steps: list[int]) -> dict[str, list[Any]]:
    """The values of each filter; the steps are those of trainings, which stand beside decodings and benchmarks."""
    decodings = [name for study in studies for name in study.evaluation.decoding]
    benchmarks = [name for study in studies for name in study.benchmarks]
    return {
        "study": [study.name for study in studies],
        "model": _distinct(name for study in studies for name in study.models),
        "method": _distinct(name for study in studies for name in study.methods),
        "seed": _distinct(seed for study in studies for seed in study.seeds),
        "decoding": _distinct([*decodings, *map(step_name, steps)]),
        "benchmark": _distinct([*benchmarks, *([TRAINING["id"]] if steps else [])]),
    }


def step_name(step: int) -> str:
    """A training's step as it stands among the decodings."""
    return f"training step {step}"


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))
