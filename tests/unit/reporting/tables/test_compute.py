"""Time and hardware: sums over jobs that can be checked by hand, dashes where nothing was measured."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from mrsearch.config import Study
from mrsearch.reporting.tables.compute import compute_table, method_jobs, read_timing, write_compute

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def timing(path: Path, seconds: float, cpu: object = 60.0, peak: object = 500.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEAD}{seconds}\t0:00:20\t{peak}\t0\t0\t0\t0\t0\t0\t{cpu}\n")


def evaluated(parts: dict[str, tuple[float, int]]) -> dict:
    """What an evaluation's run.json says of its parts: seconds and questions of each."""
    return {
        "parts": {name: {"questions": questions} for name, (_, questions) in parts.items()},
        "timing": {"parts": {name: seconds for name, (seconds, _) in parts.items()}},
    }


@pytest.fixture
def measured(small_study: Study, tmp_path: Path) -> Path:
    """A study's folder: every evaluation took half an hour; trainings an hour on 2 nodes of 3 cores and 4 GPUs."""
    for method, settings in small_study.methods.items():
        for seed in small_study.seeds:
            timing(tmp_path / f"benchmarks/eval/tiny/{method}/seed{seed}.tsv", 1800)
            path = tmp_path / f"eval/tiny/{method}/seed{seed}/run.json"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps(evaluated({"one.greedy": (900, 600 + 600 * seed)})))
            if settings.train:
                timing(tmp_path / f"benchmarks/models/tiny/{method}/seed{seed}.tsv", 9999)
                held = {"threads": 3, "gpus": 4, "nodes": 2}
                run = {"timing": {"seconds": 3600}, "config": {"resources": {"train": held}}}
                path = tmp_path / f"models/tiny/{method}/seed{seed}/run.json"
                path.parent.mkdir(parents=True)
                path.write_text(json.dumps(run))
    timing(tmp_path / "benchmarks/corpus.tsv", 360)
    timing(tmp_path / "benchmarks/data/one.tsv", 360, cpu="NA", peak="-")
    timing(tmp_path / "benchmarks/models/tiny/base.tsv", 36)
    return tmp_path


def test_sums_by_hand(small_study: Study, measured: Path) -> None:
    write_compute(small_study, measured, measured / "tables")
    shown = (measured / "tables" / "compute.md").read_text()
    assert "| MR-Search | 2.0 | 1.0 | 1.000 | 13.0 | 16.0 | 0.0333 | 0.50 |" in shown
    assert "| Direct |  | 1.0 | 1.000 | 1.0 | 0 | 0.0333 | 0.50 |" in shown
    assert "| models (1 job) |  |  |  | 0.0100 | 0 | 0.0167 | 0.50 |" in shown
    assert "0 of 17 jobs have no measurement" in shown
    with (measured / "tables" / "compute.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 + 6 + 3
    assert sum(float(row["core_hours"]) for row in rows) == pytest.approx(6 * 6 + 8 * 0.5 + 0.21)
    assert {row["gpus"] for row in rows if row["stage"] == "train"} == {"4"}
    assert "Time and hardware" in (measured / "tables" / "compute.html").read_text()
    assert "\\toprule" in (measured / "tables" / "compute.tex").read_text()


def test_an_interrupted_evaluation_counts_what_its_parts_took(small_study: Study, measured: Path) -> None:
    path = measured / "eval/tiny/direct/seed0/run.json"
    path.write_text(json.dumps(evaluated({"one.greedy": (3000, 9), "two.greedy": (600, 9)})))
    (first, second, *_) = [job for job in method_jobs(small_study, measured) if job.method == "direct"]
    assert (first.seconds, second.seconds) == (3600, 1800)


def test_a_job_without_measurement_is_a_dash_and_is_counted(small_study: Study, measured: Path) -> None:
    (measured / "benchmarks/eval/tiny/direct/seed1.tsv").unlink()
    (measured / "eval/tiny/direct/seed1/run.json").unlink()
    table = compute_table(small_study, list(method_jobs(small_study, measured)))
    assert [cell.text for cell in table.blocks[0].rows[0]] == ["Direct", "", "–", "–", "–", "–", "–", "0.50"]
    assert "1 of 14 jobs have no measurement." in table.notes


def test_methods_of_one_job_share_its_measurement_by_their_seconds(small_study: Study, tmp_path: Path) -> None:
    """40 s and 12 CPU seconds of a job whose methods took 10 and 30 s; a later job for one of them took 8 s."""
    raw = small_study.model_dump()
    raw["methods"]["vote"] = {"procedure": "direct"}
    study = Study.model_validate(raw | {"seeds": (0,), "evaluation": {"share_policy": True}})
    timing(tmp_path / "benchmarks/eval/tiny/direct/seed0.tsv", 40, cpu=12, peak=700)
    for method, seconds in (("direct", 10.0), ("vote", 30.0)):
        job = {"methods": ["direct", "vote"], "policy_start_seconds": 4.0}
        write(
            tmp_path / f"eval/tiny/{method}/seed0/run.json", {"seconds": seconds, "finished": "2026-01-01", "job": job}
        )

    def shown() -> dict[str, tuple[float | None, float | None, float | None]]:
        jobs = [job for job in method_jobs(study, tmp_path) if job.method in ("direct", "vote")]
        return {job.method: (job.seconds, job.cpu_seconds, job.peak_mb) for job in jobs}

    assert shown() == {"direct": (10, 3, 700), "vote": (30, 9, 700)}
    timing(tmp_path / "benchmarks/eval/tiny/direct/seed0.tsv", 8, cpu=5, peak=600)
    again = {"seconds": 6.0, "finished": "2026-01-02", "job": {"methods": ["vote"], "policy_start_seconds": 4.0}}
    write(tmp_path / "eval/tiny/vote/seed0/run.json", again)
    assert shown() == {"direct": (10, None, None), "vote": (8, 5, 600)}
    assert "share what was measured" in compute_table(study, []).notes[-2]


def write(path: Path, timing: dict) -> None:
    """A run.json that says so much of its times."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"timing": timing}))


def test_a_broken_measurement_is_named(tmp_path: Path) -> None:
    path = tmp_path / "corpus.tsv"
    path.write_text(HEAD)
    with pytest.raises(ValueError, match=r"corpus.tsv: not one row"):
        read_timing(path)
