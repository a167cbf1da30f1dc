"""The workflow's outside: the DAG of every study, refused configurations, style."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
BIN = Path(sys.executable).parent
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def dry_run(root: Path, tmp_path: Path) -> Run:
    """`snakemake -n` with the given `--config`, on results that do not exist yet."""

    def run(
        *config: str, snakefile: str = "Snakefile", options: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        places = f"paths={{results: {tmp_path}/results, resources: {tmp_path}/resources}}"
        command = [BIN / "snakemake", "-n", "--snakefile", snakefile, "--config", *config, places, *options]
        return subprocess.run(
            command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
        )

    return run


def jobs(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Jobs per rule in a dry-run's statistics."""
    assert done.returncode == 0, done.stdout
    table = done.stdout.rpartition("Job stats:")[2].partition("\n\n")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def test_the_demos_dag_trains_and_evaluates_every_method(dry_run: Run) -> None:
    planned = jobs(dry_run("study=demo"))
    assert planned["questions"] == 1 + 8
    assert "retriever" not in planned
    assert planned["evaluate"] >= 8


def test_seeds_multiply_training_and_evaluation_only(dry_run: Run) -> None:
    one, two = jobs(dry_run("study=demo", "seeds=[4]")), jobs(dry_run("study=demo", "seeds=[4,5]"))
    assert {name for name in one if one[name] != two[name]} == {"train", "evaluate", "total"}
    assert two["train"] == 2 * one["train"]


def test_the_real_texts_dag_starts_one_retriever_and_trains_nothing(dry_run: Run) -> None:
    planned = jobs(dry_run("study=real-smoke"))
    assert (planned["retriever"], planned["evaluate"], planned["questions"]) == (1, 8, 8)
    assert "train" not in planned


def test_the_papers_dag_is_drawn_whole(dry_run: Run) -> None:
    planned = jobs(dry_run("study=paper", snakefile="workflow/Snakefile"))
    assert (planned["download_model"], planned["train"], planned["evaluate"]) == (2, 6, 20)
    assert (planned["download_registered"], planned["questions"], planned["overlap"]) == (12, 9, 1)


def test_downloads_can_be_run_alone(dry_run: Run) -> None:
    planned = jobs(dry_run("study=paper", options=("--until", "download_registered", "download_model")))
    assert planned == {"download_model": 2, "download_registered": 12, "total": 14}


def test_the_scaling_studys_dag_trains_its_policies_once(dry_run: Run) -> None:
    planned = jobs(dry_run("study=scaling"))
    assert planned["train"] < planned["evaluate"]


def test_the_sweeps_dag_trains_every_point_and_one_warm_start_a_seed(dry_run: Run) -> None:
    planned = jobs(dry_run("study=docs/guides/sweep.yaml"))
    assert (planned["train"], planned["evaluate"]) == (2 * (1 + 6), 2 * (1 + 6))


def test_the_experiments_dag_trains_what_points_share_once(dry_run: Run) -> None:
    planned = jobs(dry_run("study=when-development"))
    points, trained, evaluated, warm_starts = 9, 3, 5, 3
    # Another prior trains one more warm start; two episodes of context leave what has one episode as it is.
    assert planned["train"] == points * trained + warm_starts - 2
    assert planned["evaluate"] == points * evaluated + warm_starts - 3
    assert planned["corpus"] == planned["index"] == 1


def test_the_dag_is_written_as_a_graph(root: Path, tmp_path: Path) -> None:
    config = ["study=demo", f"paths={{results: {tmp_path}/results, resources: {tmp_path}/resources}}"]
    command = [BIN / "snakemake", "--dag", "--config", *config]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("digraph")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("study=nope", "study ('nope') is neither a file nor one of the studies"),
        ("overrides={training.step: 2}", "demo.yaml: training.step: unknown key"),
        ("overrides={methods.mr_search.episodes: 0}", "demo.yaml: methods.mr_search.episodes: "),
    ],
)
def test_a_wrong_configuration_is_one_message_and_makes_nothing(
    dry_run: Run, tmp_path: Path, config: str, message: str
) -> None:
    done = dry_run(config)
    assert done.returncode != 0
    assert message in done.stdout
    assert "Traceback" not in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [["snakemake", "--lint"], ["snakefmt", "--check", "Snakefile", "rules", "workflow"]],
    ids=lambda command: command[0],
)
def test_the_workflow_is_in_good_style(root: Path, command: list[str]) -> None:
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_table_of_contents_stays_short(root: Path) -> None:
    assert len((root / "Snakefile").read_text().splitlines()) < 60


def test_profile_names_resolve_as_typed(root: Path) -> None:
    assert (root / "slurm" / "config.v8+.yaml").is_file()
    assert (root / "profile" / "local" / "config.v8+.yaml").is_file()
