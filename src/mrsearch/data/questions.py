"""Questions and passages of a study's source, and the table that questions are stored in."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mrsearch.config.study import Study
from mrsearch.data.folder import read_folder_passages, read_folder_questions, read_folder_training
from mrsearch.data.hub import hub_passages, hub_questions
from mrsearch.data.overlap import without_shared
from mrsearch.data.registry import TRAIN
from mrsearch.data.subsets import first_by_id
from mrsearch.files import atomic_file
from mrsearch.unique_ids import refuse_repeated
from mrsearch.visible import is_blank


def write_questions(study: Study, dataset: str, out: Path, downloads: Path = Path()) -> None:
    """Write the questions of a benchmark, or of "train", as parquet, whole or not at all.

    The rows are verl's (`data_source`, `prompt`, `ability`, `reward_model`, `extra_info`) with `id`, `question` and
    `golden_answers` beside them; `downloads` is the folder of registered downloads. ValueError for an unknown data set,
    an id given twice or a question without an answer, and where no question is left.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    raw_rows = _source_rows(study, dataset, downloads)
    if not raw_rows:
        raise ValueError(f"{dataset}: every question is asked by a benchmark too: set data.drop_overlap to false")
    rows = [_table_row(study, dataset, number, raw) for number, raw in enumerate(raw_rows)]
    refuse_repeated(((n, row["id"]) for n, row in enumerate(rows, 1)), dataset, "question")
    with atomic_file(out) as draft:
        parquet.write_table(pyarrow.Table.from_pylist(rows), draft, compression="zstd")


def read_passages(study: Study, downloads: Path = Path()) -> Iterable[tuple[str, str, str]]:
    """(id, title, text) of every passage of the study's source; `downloads` is the folder of registered downloads."""
    data = study.data
    if data.kind == "world":
        from mrsearch.data.world import World

        return World(data).passages()
    if data.kind == "folder":
        return read_folder_passages(data, sources(study))
    return hub_passages(study, downloads)


def sources(study: Study) -> list[str]:
    """Names of the benchmarks' questions at the data source, in the study's order."""
    return [benchmark.source or name for name, benchmark in study.benchmarks.items()]


def _source_rows(study: Study, dataset: str, downloads: Path) -> list[dict[str, Any]]:
    data = study.data
    if dataset != TRAIN and dataset not in study.benchmarks:
        raise ValueError(f'{dataset!r} is neither "train" nor a benchmark of the study: {", ".join(study.benchmarks)}')
    if dataset == TRAIN:
        return _training_rows(study, downloads)
    source = study.benchmarks[dataset].source or dataset
    if data.kind == "world":
        from mrsearch.data.world import World

        return World(data).benchmark_questions(source)
    if data.kind == "folder":
        return read_folder_questions(data, source)
    return first_by_id(hub_questions(study, dataset, downloads), data.questions_per_benchmark)


def _training_rows(study: Study, downloads: Path) -> list[dict[str, Any]]:
    """Training questions; with `data.drop_overlap` without those that a benchmark asks, and be it in its part that
    `data.questions_per_benchmark` leaves out."""
    data = study.data
    if data.kind == "world":
        from mrsearch.data.world import World

        return World(data).train_questions()
    if data.kind == "folder":
        rows = read_folder_training(data)
        unlimited = data.model_copy(update={"questions_per_benchmark": None})
        benchmarks = (
            [read_folder_questions(unlimited, source) for source in sources(study)] if data.drop_overlap else []
        )
    else:
        rows = hub_questions(study, TRAIN, downloads)
        benchmarks = [hub_questions(study, name, downloads) for name in study.benchmarks] if data.drop_overlap else []
    return without_shared(rows, itertools.chain.from_iterable(benchmarks)) if data.drop_overlap else rows


def _table_row(study: Study, dataset: str, number: int, raw: dict[str, Any]) -> dict[str, Any]:
    question, golds = study.protocol.question_text(raw["question"]), list(raw["golden_answers"])
    if is_blank(raw["question"]) or not golds:
        raise ValueError(f"{dataset}: the row with id {raw['id']!r} lacks a question or an answer")
    protocol = study.protocol
    system = [{"role": "system", "content": protocol.prompts.system}] if protocol.prompts.system is not None else []
    user = {"role": "user", "content": protocol.prompts.search.replace("{question}", question)}
    return {
        "id": raw["id"],
        "question": question,
        "golden_answers": golds,
        "data_source": dataset,
        "prompt": [*system, user],
        "ability": "fact-reasoning",
        "reward_model": {"style": "rule", "ground_truth": {"target": golds}},
        "extra_info": {"split": "train" if dataset == TRAIN else "test", "index": number},
    }
