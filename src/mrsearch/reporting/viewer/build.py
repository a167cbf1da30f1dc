"""The viewer's folder: its page, an index of all records, and the records in chunks that are loaded when needed.

Records are what evaluations wrote, and the groups that trainings kept; a training's steps stand among the decodings.

Browsers let a page opened from disk load scripts but not data, so every data file is a script that hands over one
string of JSON. The page puts strings into text nodes alone; nothing that a model or a passage says becomes markup.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from mrsearch.agent.record_files import read_records
from mrsearch.config import Study
from mrsearch.config.layout import GROUPS_FILE, RecordKey, all_record_files, all_score_files, seed_folder
from mrsearch.files import atomic_folder
from mrsearch.reporting.viewer.choice import question_ids, records_of
from mrsearch.reporting.viewer.index import TRAINING, RecordIndex, RecordTags, step_name
from mrsearch.reporting.viewer.records import ShownRecord, packed, shown_record

CHUNK = 64
"""Records in one file."""
MAX_RECORDS = 20_000
Paths = dict[RecordKey, Path]


class StudyRecords(NamedTuple):
    """One study and where its meta-episodes lie."""

    study: Study
    records: Path
    """Folder of its evaluations."""
    models: Path | None = None
    """Folder of its models, where trainings keep groups beside theirs."""


def write_viewer(sources: Sequence[StudyRecords], out: Path, max_records: int = MAX_RECORDS) -> None:
    """Write the folder `out`, whose index.html shows the studies' records; the same records give the same bytes.

    Of larger studies the same questions are shown for every method (the first by sha1 of the id), so that there are at
    most about `max_records`; the page says how many. Which they are the files of scores say, so that files of records
    are read no further than their first records. Raises ValueError when a file is missing or two studies have the same
    name.
    """
    names = [source.study.name for source in sources]
    if len(set(names)) < len(names):
        raise ValueError(f"studies {', '.join(names)}: two have the same name: show one of them")
    evaluated = [_Evaluated.of(source) for source in sources]
    per_file = max(1, max_records // sum(len(files.records) for files in evaluated))
    groups_of = [list(_groups(source)) for source in sources]
    steps = [step for groups in groups_of for step, _, _ in groups]
    index = RecordIndex([source.study for source in sources], steps, CHUNK)
    shown = (
        itertools.chain(_evaluated_records(files, per_file, index), _group_records(groups, index))
        for files, groups in zip(evaluated, groups_of, strict=True)
    )
    with atomic_folder(out) as draft:
        (draft / "data").mkdir()
        _copy_page(draft)
        for number, chunk in enumerate(_chunks(itertools.chain.from_iterable(shown))):
            text = json.dumps(packed(number, chunk), ensure_ascii=False, separators=(",", ":"))
            _script(draft / "data" / f"{number}.js", "mrsearchChunk(", text, ");")
        _script(draft / "data" / "index.js", "var mrsearchIndexText = ", index.text(), ";")


class _Evaluated(NamedTuple):
    """A study and the files of its evaluations."""

    study: Study
    records: Paths
    scores: Paths

    @classmethod
    def of(cls, source: StudyRecords) -> _Evaluated:
        """ValueError where one is missing."""
        files = cls(source.study, *(of(source.study, source.records) for of in (all_record_files, all_score_files)))
        for kind, paths in (("record", files.records), ("score", files.scores)):
            missing = [path for path in paths.values() if not path.is_file()]
            if missing:
                raise ValueError(
                    f"{len(missing)} of {len(paths)} {kind} files are missing, the first is {missing[0]}: run the "
                    "evaluation again, or convert records of earlier versions with `mrsearch records convert`"
                )
        return files


def _evaluated_records(files: _Evaluated, per_file: int, index: RecordIndex) -> Iterator[ShownRecord]:
    """The records to show; those of one question stand together, so that comparing them loads one file."""
    study = files.study
    combinations = list(itertools.product(study.models, study.methods, study.seeds, study.evaluation.decoding))
    for benchmark in study.benchmarks:
        by_question: dict[str, list[tuple[RecordTags, ShownRecord]]] = {}
        for model, method, seed, decoding in combinations:
            keys = {"study": study.name, "model": model, "method": method, "seed": seed}
            keys |= {"decoding": decoding, "benchmark": benchmark}
            key = (model, method, seed, decoding, benchmark)
            ids = question_ids(study, key, files.scores[key])
            index.total += len(ids)
            by_id = {record.question.id: record for record in _shown(files.records[key], ids[:per_file])}
            for name in ids[:per_file]:
                by_question.setdefault(name, []).append((keys, by_id[name]))
        for same_question in by_question.values():
            for keys, record in same_question:
                index.add(keys, record)
                yield record


def _shown(path: Path, ids: Sequence[str]) -> Iterator[ShownRecord]:
    return map(shown_record, records_of(path, ids))


def _groups(source: StudyRecords) -> Iterator[tuple[int, RecordTags, ShownRecord]]:
    """Step, keys and record of every training's groups, where it kept some."""
    study, models_dir = source.study, source.models
    if models_dir is None:
        return
    for model, method, seed in itertools.product(study.models, study.methods, study.seeds):
        path = seed_folder(models_dir, model, method, seed) / GROUPS_FILE
        if study.methods[method].train and path.is_file():
            keys = {"study": study.name, "model": model, "method": method, "seed": seed, "benchmark": TRAINING["id"]}
            for record in read_records(path):
                step = record.tags["step"]
                yield step, keys | {"decoding": step_name(step)}, shown_record(record)


def _group_records(groups: Sequence[tuple[int, RecordTags, ShownRecord]], index: RecordIndex) -> Iterator[ShownRecord]:
    index.total += len(groups)
    for _, keys, record in groups:
        index.add(keys, record)
        yield record


def _chunks(records: Iterable[ShownRecord]) -> Iterator[list[ShownRecord]]:
    stream = iter(records)
    while chunk := list(itertools.islice(stream, CHUNK)):
        yield chunk


def _copy_page(out: Path) -> None:
    page = resources.files("mrsearch.reporting.viewer").joinpath("page")
    for file in page.iterdir():
        (out / file.name).write_bytes(file.read_bytes())


def _script(path: Path, before: str, text: str, after: str) -> None:
    """A script with `text` as one string literal; ASCII, without a sign that could end a script element."""
    literal = json.dumps(text).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    path.write_text(f"{before}{literal}{after}\n", encoding="ascii")
