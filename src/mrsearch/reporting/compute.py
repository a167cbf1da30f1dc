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
from mrsearch.config.study import Resources
from mrsearch.files import write_text
from mrsearch.reporting.frame import method_label
from mrsearch.reporting.html import to_html
from mrsearch.reporting.layout import Block, Table, TableCell, to_csv, to_latex, to_markdown

HOUR = 3600.0
SHARED_STAGES = {"data": "data", "corpus": "data", "index": "index", "retriever": "index"}
SHARED_STAGES |= {"models": "data", "report": "report"}
"""First part of a shared job's timing file, and the stage whose resources it took."""
HEADER = (
    *("Jobs", "Training (h)", "Evaluation (h)", "Seconds per question"),
    *("Core hours", "GPU hours", "CPU hours used", "Peak memory (GB)"),
)


@dataclass(frozen=True, slots=True)
class Job:
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
    def core_hours(self) -> float | None:
        """Wall time times the cores of all nodes."""
        return self._held(self.resources.threads)

    @property
    def gpu_hours(self) -> float | None:
        """Wall time times the GPUs of all nodes."""
        return self._held(self.resources.gpus)

    def _held(self, each: int) -> float | None:
        return None if self.seconds is None else self.seconds * each * self.resources.nodes / HOUR


def write_compute(study: Study, root: Path, out: Path) -> None:
    """Write compute.{csv,md,html,tex} below `out` from the study's folder `root`.

    It reads Snakemake's measurements (benchmarks/), the training's run.json (models/) and the evaluation's (eval/). A
    job without them is a dash, and is counted in the notes. ValueError names a file that cannot be read.
    """
    jobs = [*method_jobs(study, root), *shared_jobs(study, root / "benchmarks")]
    table = compute_table(study, jobs)
    write_text(out / "compute.csv", to_csv(map(_row, jobs)))
    write_text(out / "compute.md", to_markdown(table))
    write_text(out / "compute.html", to_html(table))
    write_text(out / "compute.tex", to_latex(table))


def method_jobs(study: Study, root: Path) -> Iterator[Job]:
    """Training and evaluation of every model, method and seed.

    A training is a job of its own that may be interrupted, so its time is the sum over its steps (run.json).
    """
    for model in study.models:
        for method, settings in study.methods.items():
            for seed in study.seeds:
                place = Path(model) / method / f"seed{seed}"
                names = (model, method, seed, place.as_posix())
                if settings.train:
                    run = _read_json(root / "models" / place / "run.json")
                    stage = study.training_stage(method)
                    held = run.get("config", {}).get("resources", {}).get(stage)
                    asked = Resources.model_validate(held) if held else getattr(study.resources, stage)
                    yield Job("train", *names, run.get("timing", {}).get("seconds"), asked)
                measured = read_timing(root / "benchmarks" / "eval" / place.with_name(f"{place.name}.tsv"))
                parts = _read_json(root / "eval" / place / "run.json").get("parts", {})
                answering = sum(part["seconds"] for part in parts.values()) if parts else None
                answered = sum(part.get("questions", 0) for part in parts.values()) if parts else None
                seconds = [measured.get("s"), answering]
                wall = max((value for value in seconds if value is not None), default=None)
                cpu, peak = measured.get("cpu_time"), measured.get("max_rss")
                yield Job("evaluate", *names, wall, study.resources.evaluate, cpu, peak, answered, answering)


def shared_jobs(study: Study, folder: Path) -> Iterator[Job]:
    """Questions, passages, indexes, untrained models and scores: what all methods share."""
    for path in sorted(folder.rglob("*.tsv")):
        place = path.relative_to(folder).with_suffix("")
        stage = SHARED_STAGES.get(place.parts[0])
        trained = place.parts[0] == "models" and place.name != "base"
        if stage is None or trained:
            continue
        measured = read_timing(path)
        resources = getattr(study.resources, stage)
        cpu, peak = measured.get("cpu_time"), measured.get("max_rss")
        yield Job(place.parts[0], "", "", "", place.as_posix(), measured.get("s"), resources, cpu, peak)


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
    found = {}
    for name in ("s", "cpu_time", "max_rss"):
        text = rows[0].get(name) or "NA"
        if text not in ("NA", "-"):
            found[name] = float(text)
    return found


def compute_table(study: Study, jobs: list[Job]) -> Table:
    """A row per method, summed over seeds, and a block of what methods share."""
    blocks = []
    for model in study.models:
        block = Block(model)
        for method in study.methods:
            own = [job for job in jobs if (job.model, job.method) == (model, method)]
            block.rows.append(_cells(method_label(study, method), own))
        blocks.append(block)
    shared = Block("shared by all methods")
    for stage in SHARED_STAGES:
        if own := [job for job in jobs if not job.method and job.stage == stage]:
            shared.rows.append(_cells(f"{stage} ({len(own)} {'job' if len(own) == 1 else 'jobs'})", own, shared=True))
    if jobs:
        shared.closing.append(_cells("All", jobs, shared=True))
    missing = sum(job.seconds is None for job in jobs)
    notes = [
        f"Sums over {len(study.seeds)} seed{'s' * (len(study.seeds) > 1)}. Core and GPU hours: wall time times what "
        "the job held, used or not. A policy's training stands in the row of the method that trained it.",
        "Seconds per question: wall time of an evaluation over its questions, which are answered many at a time.",
        "CPU hours used: measured by Snakemake; not for trainings, which are jobs of their own. "
        "A job that was interrupted counts its last attempt, a training all steps that were kept.",
        "The retrieval server is not counted; the stage retriever is the report that compares retrievers.",
        f"{missing} of {len(jobs)} jobs have no measurement.",
    ]
    return Table("compute", "Time and hardware by method", list(HEADER), [*blocks, shared], notes)


def _cells(label: str, jobs: list[Job], shared: bool = False) -> list[TableCell]:
    training, evaluation = ([job for job in jobs if job.stage == stage] for stage in ("train", "evaluate"))
    hours = [None if job.seconds is None else job.seconds / HOUR for job in jobs]
    by_stage = [
        _total([hour for job, hour in zip(jobs, hours, strict=True) if job in chosen])
        for chosen in (training, evaluation)
    ]
    used = [None if job.cpu_seconds is None else job.cpu_seconds / HOUR for job in jobs if job.stage != "train"]
    peaks = [job.peak_mb for job in jobs if job.peak_mb is not None]
    shown = [
        *(["", ""] if shared and not (training or evaluation) else by_stage),
        _per_question(evaluation),
        _total([job.core_hours for job in jobs]),
        _total([job.gpu_hours for job in jobs]),
        _total(used),
        f"{max(peaks) / 1000:.2f}" if peaks else "–",
    ]
    return [TableCell(label), *map(TableCell, shown)]


def _per_question(evaluation: list[Job]) -> str:
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
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "–"
    total = sum(known)
    return "0" if total == 0 else f"{total:.4f}" if total < 1 else f"{total:.1f}"


def _row(job: Job) -> dict[str, Any]:
    held = job.resources
    row: dict[str, Any] = {"stage": job.stage, "model": job.model, "method": job.method, "seed": job.seed}
    row |= {"job": job.name, "seconds": job.seconds, "nodes": held.nodes, "cores": held.threads, "gpus": held.gpus}
    row |= {"core_hours": job.core_hours, "gpu_hours": job.gpu_hours}
    row |= {"cpu_seconds": job.cpu_seconds, "peak_mb": job.peak_mb}
    row |= {"questions": job.answered, "answering_seconds": job.answering_seconds}
    return {key: "" if value is None else value for key, value in row.items()}


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read: {error}: run its job again") from error
    return found
