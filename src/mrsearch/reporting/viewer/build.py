"""The viewer's folder: its page, an index of all records, and the records in chunks that are loaded when needed.

Records are what evaluations wrote, and the groups that trainings kept; a training's steps stand among the decodings.

Browsers let a page opened from disk load scripts but not data, so every data file is a script that hands over one
string of JSON. The page puts strings into text nodes alone; nothing that a model or a passage says becomes markup.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from mrsearch.agent.records import MetaEpisode, read_records
from mrsearch.config import Study
from mrsearch.evaluation.metrics import record_paths
from mrsearch.reporting.frame import benchmark_label, method_label
from mrsearch.reporting.viewer.records import packed, scores_of, search_text

CHUNK = 64
"""Records in one file."""
MAX_RECORDS = 20_000
GROUPS = "groups.jsonl.gz"
"""A training's kept groups, beside its model."""
TRAINING = {"id": "train", "label": "Training questions"}
Place = dict[str, Any]
"""model, method, seed, decoding and benchmark of a record."""


def write_viewer(
    study: Study, eval_dir: Path, out: Path, models_dir: Path | None = None, max_records: int = MAX_RECORDS
) -> None:
    """Write the folder `out`, whose index.html shows the study's records; the same records give the same bytes.

    `models_dir` holds <model>/<method>/seed<k>/groups.jsonl.gz of trainings that kept groups.
    Of larger studies the same questions are kept for every method (chosen by a hash of their ids), so that at most
    about `max_records` are shown; the page says how many. Raises ValueError when a record file is missing.
    """
    paths = record_paths(study, eval_dir)
    missing = [path for path in paths.values() if not path.is_file()]
    if missing:
        raise ValueError(f"{len(missing)} of {len(paths)} record files are missing, the first is {missing[0]}")
    per_file = max(1, max_records // len(paths))
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    (part / "data").mkdir(parents=True)
    _copy_page(part)
    kept = _kept_groups(study, models_dir) if models_dir else []
    index = _Index(study, kept)
    shown = itertools.chain(_records(study, paths, per_file, index), _group_records(kept, index))
    for number, chunk in enumerate(_chunks(shown)):
        text = json.dumps(packed(number, chunk), ensure_ascii=False, separators=(",", ":"))
        _script(part / "data" / f"{number}.js", "mrsearchChunk(", text, ");")
    _script(part / "data" / "index.js", "var mrsearchIndexText = ", index.text(), ";")
    shutil.rmtree(out, ignore_errors=True)
    part.replace(out)


class _Index:
    """What the list shows and filters, column by column."""

    def __init__(self, study: Study, kept: list[tuple[Place, list[MetaEpisode]]]) -> None:
        self.study = study
        steps = sorted({record.tags["step"] for _, records in kept for record in records})
        self.decodings = [*study.evaluation.decoding, *map(_step_name, steps)]
        self.benchmarks = [{"id": name, "label": benchmark_label(study, name)} for name in study.benchmarks]
        self.benchmarks += [TRAINING] if kept else []
        self.questions: dict[tuple[str, str], int] = {}
        self.asked: list[dict[str, Any]] = []
        self.total = 0
        names = ("model", "method", "seed", "decoding", "benchmark", "question", "member", "pattern", "answer")
        self.columns: dict[str, list[Any]] = {name: [] for name in [*names, "text"]}
        self._codes: dict[str, dict[Any, int]] = {
            "model": _numbered(study.models),
            "method": _numbered(study.methods),
            "seed": _numbered(study.seeds),
            "decoding": _numbered(self.decodings),
            "benchmark": _numbered(benchmark["id"] for benchmark in self.benchmarks),
        }

    def add(self, place: Place, record: MetaEpisode) -> None:
        """Add the next record."""
        key = (place["benchmark"], record.question.id)
        if key not in self.questions:
            self.questions[key] = len(self.asked)
            golds = list(record.question.golden_answers)
            self.asked.append({"id": record.question.id, "question": record.question.question, "golds": golds})
        for name, codes in self._codes.items():
            self.columns[name].append(codes[place[name]])
        answers = [episode.answer for episode in record.episodes if episode.answer is not None]
        self.columns["question"].append(self.questions[key])
        self.columns["member"].append(record.tags.get("member"))
        self.columns["pattern"].append("".join("1" if value == 1.0 else "0" for value in scores_of(record)["em"]))
        self.columns["answer"].append(answers[-1] if answers else None)
        self.columns["text"].append(search_text(record))

    def text(self) -> str:
        """The whole index as JSON."""
        study = self.study
        content = {
            "study": study.name,
            "title": study.title,
            "models": list(study.models),
            "methods": [{"id": name, "label": method_label(study, name)} for name in study.methods],
            "seeds": list(study.seeds),
            "decodings": self.decodings,
            "benchmarks": self.benchmarks,
            "baseline": study.report.baseline,
            "reflection": study.protocol.prompts.reflection,
            "chunk": CHUNK,
            "total": self.total,
            "questions": self.asked,
            "columns": self.columns,
        }
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _records(
    study: Study, paths: dict[tuple[str, str, int, str, str], Path], per_file: int, index: _Index
) -> Iterator[MetaEpisode]:
    """The records to show; those of one question stand together, so that comparing them loads one file."""
    combinations = list(itertools.product(study.models, study.methods, study.seeds, study.evaluation.decoding))
    for benchmark in study.benchmarks:
        by_question: dict[str, list[tuple[Place, MetaEpisode]]] = {}
        for model, method, seed, decoding in combinations:
            place = {"model": model, "method": method, "seed": seed, "decoding": decoding, "benchmark": benchmark}
            read = list(read_records(paths[model, method, seed, decoding, benchmark]))
            index.total += len(read)
            for record in sorted(read, key=_order)[:per_file]:
                by_question.setdefault(record.question.id, []).append((place, record))
        for same_question in by_question.values():
            for place, record in same_question:
                index.add(place, record)
                yield record


def _kept_groups(study: Study, models_dir: Path) -> list[tuple[Place, list[MetaEpisode]]]:
    """Every training that kept groups, with what it kept."""
    found = []
    for model, method, seed in itertools.product(study.models, study.methods, study.seeds):
        path = models_dir / model / method / f"seed{seed}" / GROUPS
        if study.methods[method].train and path.is_file():
            place = {"model": model, "method": method, "seed": seed, "benchmark": TRAINING["id"]}
            found.append((place, list(read_records(path))))
    return found


def _group_records(kept: list[tuple[Place, list[MetaEpisode]]], index: _Index) -> Iterator[MetaEpisode]:
    for place, records in kept:
        index.total += len(records)
        for record in records:
            index.add(place | {"decoding": _step_name(record.tags["step"])}, record)
            yield record


def _step_name(step: int) -> str:
    return f"training step {step}"


def _order(record: MetaEpisode) -> str:
    return hashlib.sha256(record.question.id.encode()).hexdigest()


def _chunks(records: Iterator[MetaEpisode]) -> Iterator[list[MetaEpisode]]:
    while chunk := list(itertools.islice(records, CHUNK)):
        yield chunk


def _numbered(names: Any) -> dict[Any, int]:
    return {name: number for number, name in enumerate(names)}


def _copy_page(out: Path) -> None:
    page = resources.files("mrsearch.reporting.viewer").joinpath("page")
    for file in page.iterdir():
        (out / file.name).write_bytes(file.read_bytes())


def _script(path: Path, before: str, text: str, after: str) -> None:
    """A script with `text` as one string literal; ASCII, without a sign that could end a script element."""
    literal = json.dumps(text).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    path.write_text(f"{before}{literal}{after}\n", encoding="ascii")
