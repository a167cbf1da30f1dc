"""The viewer's folder: its page, an index of all records, and the records in chunks that are loaded when needed.

Records are what evaluations wrote, and the groups that trainings kept; a training's steps stand among the decodings.

Browsers let a page opened from disk load scripts but not data, so every data file is a script that hands over one
string of JSON. The page puts strings into text nodes alone; nothing that a model or a passage says becomes markup.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from mrsearch.agent.record_files import read_records
from mrsearch.agent.records import MetaEpisode
from mrsearch.config import Study
from mrsearch.config.layout import GROUPS_FILE, RecordKey, all_record_files, seed_folder
from mrsearch.files import atomic_folder
from mrsearch.reporting.frame import benchmark_label, method_label
from mrsearch.reporting.viewer.records import instructive, packed, scores_of, search_text

CHUNK = 64
"""Records in one file."""
MAX_RECORDS = 20_000
TRAINING = {"id": "train", "label": "Training questions"}
RecordTags = dict[str, Any]
"""study, model, method, seed, decoding and benchmark of a record."""
Paths = dict[RecordKey, Path]
Groups = list[tuple[RecordTags, list[MetaEpisode]]]


class StudyRecords(NamedTuple):
    """One study and where its meta-episodes lie."""

    study: Study
    records: Path
    """Folder of its evaluations."""
    models: Path | None = None
    """Folder of its models, where trainings keep groups beside theirs."""


def write_viewer(sources: Sequence[StudyRecords], out: Path, max_records: int = MAX_RECORDS) -> None:
    """Write the folder `out`, whose index.html shows the studies' records; the same records give the same bytes.

    Of larger studies the same questions are kept for every method (chosen by a hash of their ids), so that at most
    about `max_records` are shown; the page says how many. Raises ValueError when a record file is missing, or two
    studies have the same name.
    """
    names = [source.study.name for source in sources]
    if len(set(names)) < len(names):
        raise ValueError(f"studies {', '.join(names)}: two have the same name: show one of them")
    record_paths = [_record_paths(source) for source in sources]
    per_file = max(1, max_records // sum(map(len, record_paths)))
    groups_of = [_kept_groups(source) for source in sources]
    index = _Index(
        [source.study for source in sources], [record for groups in groups_of for _, of in groups for record in of]
    )
    shown = (
        itertools.chain(_records(source.study, paths, per_file, index), _group_records(groups, index))
        for source, paths, groups in zip(sources, record_paths, groups_of, strict=True)
    )
    with atomic_folder(out) as draft:
        (draft / "data").mkdir()
        _copy_page(draft)
        for number, chunk in enumerate(_chunks(itertools.chain.from_iterable(shown))):
            text = json.dumps(packed(number, chunk), ensure_ascii=False, separators=(",", ":"))
            _script(draft / "data" / f"{number}.js", "mrsearchChunk(", text, ");")
        _script(draft / "data" / "index.js", "var mrsearchIndexText = ", index.text(), ";")


class _Index:
    """What the list shows and filters, column by column."""

    def __init__(self, studies: list[Study], group_records: list[MetaEpisode]) -> None:
        self.studies = studies
        self.steps = sorted({record.tags["step"] for record in group_records})
        self.questions: dict[tuple[str, str, str], int] = {}
        self.listed: list[dict[str, Any]] = []
        self.total = 0
        self.values = _filters(studies, self.steps)
        self._codes = {name: {value: code for code, value in enumerate(values)} for name, values in self.values.items()}
        further = ("question", "member", "instructive", "pattern", "answer", "text")
        self.columns: dict[str, list[Any]] = {name: [] for name in [*self.values, *further]}

    def add(self, keys: RecordTags, record: MetaEpisode) -> None:
        """Add the next record."""
        key = (keys["study"], keys["benchmark"], record.question.id)
        if key not in self.questions:
            self.questions[key] = len(self.listed)
            golds = list(record.question.golden_answers)
            self.listed.append({"id": record.question.id, "question": record.question.question, "golds": golds})
        for name, codes in self._codes.items():
            self.columns[name].append(codes[keys[name]])
        answers = [episode.answer for episode in record.episodes if episode.answer is not None]
        self.columns["question"].append(self.questions[key])
        self.columns["member"].append(record.tags.get("member"))
        self.columns["instructive"].append(int(instructive(record)))
        self.columns["pattern"].append("".join("1" if value == 1.0 else "0" for value in scores_of(record)["em"]))
        self.columns["answer"].append(answers[-1] if answers else None)
        self.columns["text"].append(search_text(record))

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
            "chunk": CHUNK,
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
        "decoding": _distinct([*decodings, *map(_step_name, steps)]),
        "benchmark": _distinct([*benchmarks, *([TRAINING["id"]] if steps else [])]),
    }


def _record_paths(source: StudyRecords) -> Paths:
    paths = all_record_files(source.study, source.records)
    missing = [path for path in paths.values() if not path.is_file()]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(paths)} record files are missing, the first is {missing[0]}: run the evaluation "
            "again, or convert records of earlier versions with `mrsearch records convert`"
        )
    return paths


def _records(study: Study, paths: Paths, per_file: int, index: _Index) -> Iterator[MetaEpisode]:
    """The records to show; those of one question stand together, so that comparing them loads one file."""
    combinations = list(itertools.product(study.models, study.methods, study.seeds, study.evaluation.decoding))
    for benchmark in study.benchmarks:
        by_question: dict[str, list[tuple[RecordTags, MetaEpisode]]] = {}
        for model, method, seed, decoding in combinations:
            keys = {"study": study.name, "model": model, "method": method, "seed": seed}
            keys |= {"decoding": decoding, "benchmark": benchmark}
            read = list(read_records(paths[model, method, seed, decoding, benchmark]))
            index.total += len(read)
            for record in sorted(read, key=_order)[:per_file]:
                by_question.setdefault(record.question.id, []).append((keys, record))
        for same_question in by_question.values():
            for keys, record in same_question:
                index.add(keys, record)
                yield record


def _kept_groups(source: StudyRecords) -> Groups:
    """Every training that kept groups, with what it kept."""
    study, models_dir = source.study, source.models
    record_paths: Groups = []
    if models_dir is None:
        return record_paths
    for model, method, seed in itertools.product(study.models, study.methods, study.seeds):
        path = seed_folder(models_dir, model, method, seed) / GROUPS_FILE
        if study.methods[method].train and path.is_file():
            keys = {"study": study.name, "model": model, "method": method, "seed": seed, "benchmark": TRAINING["id"]}
            record_paths.append((keys, list(read_records(path))))
    return record_paths


def _group_records(groups_of: Groups, index: _Index) -> Iterator[MetaEpisode]:
    for keys, records in groups_of:
        index.total += len(records)
        for record in records:
            index.add(keys | {"decoding": _step_name(record.tags["step"])}, record)
            yield record


def _step_name(step: int) -> str:
    return f"training step {step}"


def _order(record: MetaEpisode) -> str:
    return hashlib.sha256(record.question.id.encode()).hexdigest()


def _chunks(records: Iterator[MetaEpisode]) -> Iterator[list[MetaEpisode]]:
    while chunk := list(itertools.islice(records, CHUNK)):
        yield chunk


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _copy_page(out: Path) -> None:
    page = resources.files("mrsearch.reporting.viewer").joinpath("page")
    for file in page.iterdir():
        (out / file.name).write_bytes(file.read_bytes())


def _script(path: Path, before: str, text: str, after: str) -> None:
    """A script with `text` as one string literal; ASCII, without a sign that could end a script element."""
    literal = json.dumps(text).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    path.write_text(f"{before}{literal}{after}\n", encoding="ascii")
