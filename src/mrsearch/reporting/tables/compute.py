"""What a study's jobs took: wall time, and the cores and GPUs that they held meanwhile.

Times differ between two equal runs, so they stand in a table of their own; the other tables are equal byte for byte.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrsearch.config import Study
from mrsearch.config.layout import MODELS, StudyFolder
from mrsearch.config.resources import Resources
from mrsearch.config.shared_policies import job_of
from mrsearch.reporting.contents import COMPUTE
from mrsearch.reporting.frame import method_label
from mrsearch.reporting.tables.files import write_table
from mrsearch.reporting.tables.table import Block, Table, TableCell

HOUR = 3600.0
SHARED_STAGES = {"data": "data", "corpus": "data", "index": "index", "retriever": "index"}
SHARED_STAGES |= {MODELS: "data", "report": "report"}
"""First part of a shared job's timing file, and the stage whose resources it took."""
HEADER = (
    *("Jobs", "Training (h)", "Evaluation (h)", "Seconds per question"),
    *("Core hours", "GPU hours", "CPU hours used", "Peak memory (GB)"),
)


@dataclass(frozen=True, slots=True)
class TimedJob:
    """One job. None where nothing was measured."""

    stage: str
    model: str
    method: str
    seed: int | str
    name: str
    seconds: float | None
    """Wall time."""
    resources: Resources
    """What it held meanwhile."""
    cpu_seconds: float | None = None
    """CPU time of its processes."""
    peak_mb: float | None = None
    """Largest resident memory."""
    answered: int | None = None
    """Questions that an evaluation answered, each decoding counted."""
    answering_seconds: float | None = None
    """Wall time from an evaluation's first question to its last, its start left out."""

    @property
    def hours(self) -> float | None:
        """Wall time."""
        return None if self.seconds is None else self.seconds / HOUR

    @property
    def cpu_hours(self) -> float | None:
        """CPU time of its processes."""
        return None if self.cpu_seconds is None else self.cpu_seconds / HOUR

    @property
    def core_hours(self) -> float | None:
        """Wall time times the cores of all nodes."""
        return self._hours(self.resources.threads)

    @property
    def gpu_hours(self) -> float | None:
        """Wall time times the GPUs of all nodes."""
        return self._hours(self.resources.gpus)

    def _hours(self, count: int) -> float | None:
        return None if self.seconds is None else self.seconds * count * self.resources.nodes / HOUR


def write_compute(study: Study, root: Path, out: Path) -> None:
    """Write compute.{csv,md,html,tex} below `out` from the study's folder `root`.

    It reads Snakemake's measurements (benchmarks/), the training's run.json (models/) and the evaluation's (eval/). A
    job without them is a dash, and is counted in the notes. ValueError names a file that cannot be read.
    """
    jobs = [*method_jobs(study, root), *shared_jobs(study, StudyFolder(root).timings)]
    table = compute_table(study, jobs)
    write_table(table, map(_row, jobs), out)


def method_jobs(study: Study, root: Path) -> Iterator[TimedJob]:
    """Training and evaluation of every model, method and seed.

    A training is a job of its own that may be interrupted, so its time is the sum over its steps (run.json).
    """
    folder = StudyFolder(root)
    for model in study.models:
        for method, settings in study.methods.items():
            for seed in study.seeds:
                key = (model, method, seed)
                names = (*key, f"{model}/{method}/seed{seed}")
                if settings.train:
                    run = _read_json(folder.training_record(*key))
                    stage = study.training_stage(method)
                    resources = run.get("config", {}).get("resources", {}).get(stage)
                    used = Resources.model_validate(resources) if resources else getattr(study.resources, stage)
                    yield TimedJob("train", *names, run.get("timing", {}).get("seconds"), used)
                measured = evaluation_timing(study, folder, *key)
                run = _read_json(folder.evaluation_record(*key))
                took, cells = run.get("timing", {}).get("parts", {}), run.get("parts", {})
                answering = sum(took.values()) if took else None
                answered = sum(cell["questions"] for cell in cells.values()) if cells else None
                seconds = [measured.get("s"), answering, run.get("timing", {}).get("seconds")]
                wall = max((value for value in seconds if value is not None), default=None)
                cpu, peak = measured.get("cpu_time"), measured.get("max_rss")
                yield TimedJob("evaluate", *names, wall, study.resources.evaluate, cpu, peak, answered, answering)


def shared_jobs(study: Study, folder: Path) -> Iterator[TimedJob]:
    """Questions, passages, indexes, untrained models and scores: what all methods share."""
    for path in sorted(folder.rglob("*.tsv")):
        key = path.relative_to(folder).with_suffix("")
        stage = SHARED_STAGES.get(key.parts[0])
        trained = key.parts[0] == MODELS and key.name != "base"
        if stage is None or trained:
            continue
        measured = read_timing(path)
        resources = getattr(study.resources, stage)
        cpu, peak = measured.get("cpu_time"), measured.get("max_rss")
        yield TimedJob(key.parts[0], "", "", "", key.as_posix(), measured.get("s"), resources, cpu, peak)


def evaluation_timing(study: Study, folder: StudyFolder, model: str, method: str, seed: int) -> dict[str, float]:
    """`read_timing` of an evaluation's job. Of one that made several methods' a method has the share that its seconds
    have in theirs (run.json), and the job's peak; {} where the measurement is that of a later job for other methods."""
    methods = job_of(study, method)
    measured = read_timing(folder.timing(folder.evaluation_job(model, methods[0], seed)))
    if len(methods) == 1 or not measured:
        return measured
    records = {name: _read_json(folder.evaluation_record(model, name, seed)) for name in methods}
    timings = {name: record["timing"] for name, record in records.items() if "job" in record.get("timing", {})}
    if method not in timings:
        return {}
    # Times of one format and zone, so that their texts are in their order.
    latest = max(timings.values(), key=lambda timing: str(timing["finished"]))["job"]["methods"]
    if method not in latest or timings[method]["job"]["methods"] != latest:
        return {}
    share = timings[method]["seconds"] / sum(timings[name]["seconds"] for name in latest if name in timings)
    return {name: value if name == "max_rss" else share * value for name, value in measured.items()}


def read_timing(path: Path) -> dict[str, float]:
    """Columns of one measurement of Snakemake's, s and cpu_time in seconds, max_rss in MB; {} where there is none.

    What Snakemake could not measure of a short job ("-", "NA") is left out.
    """
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    if len(rows) != 1 or not rows[0].get("s"):
        raise ValueError(f"{path}: not one row of Snakemake's measurements: remove it and run its job again")
    columns = {}
    for name in ("s", "cpu_time", "max_rss"):
        text = rows[0].get(name) or "NA"
        if text not in ("NA", "-"):
            columns[name] = float(text)
    return columns


def compute_table(study: Study, jobs: list[TimedJob]) -> Table:
    """A row per method, summed over seeds, and a block of what methods share."""
    blocks = []
    for model in study.models:
        block = Block(model)
        for method in study.methods:
            of_method = [job for job in jobs if (job.model, job.method) == (model, method)]
            block.rows.append(_cells(method_label(study, method), of_method))
        blocks.append(block)
    shared = Block("shared by all methods")
    for stage in SHARED_STAGES:
        if of_method := [job for job in jobs if not job.method and job.stage == stage]:
            shared.rows.append(
                _cells(f"{stage} ({len(of_method)} {'job' if len(of_method) == 1 else 'jobs'})", of_method)
            )
    if jobs:
        shared.closing.append(_cells("All", jobs))
    missing = sum(job.seconds is None for job in jobs)
    shares = "Methods whose evaluations shared a job share what was measured of it by their seconds in run.json."
    notes = [
        f"Sums over {len(study.seeds)} seed{'s' * (len(study.seeds) > 1)}. Core and GPU hours: wall time times what "
        "the job held, used or not. A policy's training stands in the row of the method that trained it.",
        "Seconds per question: wall time of an evaluation over its questions, which are answered many at a time.",
        "CPU hours used: measured by Snakemake; not for trainings, which are jobs of their own. "
        "A job that was interrupted counts its last attempt, a training all steps that were kept.",
        "The retrieval server is not counted; the stage retriever is the report that compares retrievers.",
        *([shares] if study.evaluation.share_policy else []),
        f"{missing} of {len(jobs)} jobs have no measurement.",
    ]
    return Table(COMPUTE, "Time and hardware by method", list(HEADER), [*blocks, shared], notes)


def _cells(label: str, jobs: list[TimedJob]) -> list[TableCell]:
    training, evaluation = ([job for job in jobs if job.stage == stage] for stage in ("train", "evaluate"))
    shown = [
        _total([job.hours for job in training]),
        _total([job.hours for job in evaluation]),
        _per_question(evaluation),
        _total([job.core_hours for job in jobs]),
        _total([job.gpu_hours for job in jobs]),
        _total([job.cpu_hours for job in jobs if job.stage != "train"]),
        _peak([job.peak_mb for job in jobs if job.peak_mb is not None]),
    ]
    return [TableCell(label), *map(TableCell, shown)]


def _peak(megabytes: list[float]) -> str:
    """The largest in GB; a dash where none was measured."""
    return f"{max(megabytes) / 1000:.2f}" if megabytes else "–"


def _per_question(evaluation: list[TimedJob]) -> str:
    """Seconds per question of these evaluations; nothing where there is none, a dash where one was not measured."""
    if not evaluation:
        return ""
    if any(not job.answered or job.answering_seconds is None for job in evaluation):
        return "–"
    seconds = sum(job.answering_seconds or 0.0 for job in evaluation)
    return f"{seconds / sum(job.answered or 0 for job in evaluation):.3f}"


def _total(values: list[float | None]) -> str:
    """A sum for a reader; nothing where there was no job, a dash where one of them was not measured."""
    if not values:
        return ""
    measured = [value for value in values if value is not None]
    if len(measured) < len(values):
        return "–"
    total = sum(measured)
    return "0" if total == 0 else f"{total:.4f}" if total < 1 else f"{total:.1f}"


def _row(job: TimedJob) -> dict[str, Any]:
    resources = job.resources
    row: dict[str, Any] = {"stage": job.stage, "model": job.model, "method": job.method, "seed": job.seed}
    row |= {
        "job": job.name,
        "seconds": job.seconds,
        "nodes": resources.nodes,
        "cores": resources.threads,
        "gpus": resources.gpus,
    }
    row |= {"core_hours": job.core_hours, "gpu_hours": job.gpu_hours}
    row |= {"cpu_seconds": job.cpu_seconds, "peak_mb": job.peak_mb}
    row |= {"questions": job.answered, "answering_seconds": job.answering_seconds}
    return {key: "" if value is None else value for key, value in row.items()}


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        columns: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read: {error}: run its job again") from error
    return columns
