"""What is believed of Slurm's answers: commands of the tests stand in for its own, and answer oddly."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from mrsearch.cluster import queue
from mrsearch.cluster.queue import JobState, SlurmError, job_state, job_states
from mrsearch.cluster.slurm import SlurmLauncher
from mrsearch.cluster.watch import UNKNOWN_SECONDS, UNSURE_SECONDS, JobWatch, Verdict, cancel

UID = os.getuid()
Commands = Callable[..., None]
NO_ACCOUNTING = "echo 'Slurm accounting storage is disabled' >&2; exit 1"
DOWN = "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1"
INVALID = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Makes the commands of a cluster: shell text by name."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def make(**scripts: str) -> None:
        for name, script in {"sacct": NO_ACCOUNTING, "scontrol": "exit 1", "scancel": "true", **scripts}.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / name).chmod(stat.S_IRWXU)

    return make


def said(job: str, state: str, label: str = "train|mrsearch") -> str:
    return f"echo 'mrsearch|{job}|{state}|None|{UID}|{label}'"


@pytest.mark.parametrize(
    "answer",
    [
        DOWN,
        "echo 'Welcome to the cluster'",
        "echo '12|RUNNING'; echo garbage",
        "printf 'mrsearch|12|'",
        "printf '\\377\\376\\000'",
        "exit 3",
        "echo 'Warning: maintenance on Monday'; " + said("11", "COMPLETED"),
    ],
)
def test_what_cannot_be_read_is_no_end(commands: Commands, answer: str) -> None:
    commands(squeue=answer)
    with pytest.raises(SlurmError):
        job_state("12")
    launcher = SlurmLauncher()
    assert launcher.active("12") and not launcher.lost("12")
    assert launcher.owns("12", "train", Path("log"))


def test_a_command_that_hangs_is_no_end(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "COMMAND_SECONDS", 0.3)
    commands(squeue="exec sleep 30")
    with pytest.raises(SlurmError, match="did not answer"):
        job_state("12")


def test_lines_of_others_around_an_answer_do_not_matter(commands: Commands) -> None:
    commands(squeue=f"echo 'Welcome|to|the|cluster'; {said('12', 'RUNNING')}")
    state = job_state("12")
    assert state is not None and state.name == "RUNNING"


def test_a_member_of_an_array_is_no_plain_job(commands: Commands) -> None:
    commands(squeue=said("12_3", "COMPLETED") + "; " + said("12_[4-7]", "PENDING"))
    assert job_state("12") is None
    assert [*job_states(["12_3"])] == ["12_3"]
    for strange in ("12_[4-7]", "12+0", "12;rm", "", "-1", "١٢"):
        with pytest.raises(ValueError, match="Slurm job"):
            job_state(strange)


@pytest.mark.parametrize(
    ("sacct", "state"),
    [
        (f"echo '12|CANCELLED by 0|{UID}|train|'", "CANCELLED"),
        (f"echo '12|COMPLETED|{UID}|train|'", "COMPLETED"),
        (f"echo '12|PREEMPTED|{UID}|train|'", "PREEMPTED"),
        (NO_ACCOUNTING, None),
    ],
)
def test_accounting_tells_what_the_queue_forgot(commands: Commands, sacct: str, state: str | None) -> None:
    commands(squeue=INVALID, sacct=sacct)
    answer = job_state("12")
    assert (answer.name if answer else None) == state


@pytest.mark.parametrize("sacct", ["echo 'sacct: error: Problem talking to the database' >&2; exit 1", "echo hello"])
def test_accounting_that_cannot_be_asked_hides_only_what_it_alone_knows(commands: Commands, sacct: str) -> None:
    commands(squeue=said("11", "RUNNING"), sacct=sacct)
    states = job_states(["11", "12"])
    assert isinstance(states["11"], JobState) and isinstance(states["12"], SlurmError)


@pytest.mark.parametrize("name", ["RESV_DEL_HOLD", "POWER_UP_NODE", "EXPEDITING", "REVOKED"])
def test_a_state_that_is_not_known_counts_as_active(
    commands: Commands, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    queue._name_strange_state.cache_clear()
    commands(squeue=said("12", name))
    assert SlurmLauncher().active("12") and SlurmLauncher().active("12")
    assert caplog.text.count("no state that is known here") == (name != "RESV_DEL_HOLD")


def test_variables_of_the_shell_reach_no_question(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SQUEUE_PARTITION", "SACCT_FORMAT", "SLURM_CLUSTERS", "SLURM_BITSTR_LEN", "SCANCEL_NAME", "SINFO_ALL"):
        monkeypatch.setenv(name, "odd")
    monkeypatch.setenv("SLURM_CONF", "/somewhere/slurm.conf")
    commands(sinfo="env | grep -E '^(SQUEUE|SACCT|SLURM|SCANCEL|SINFO|LC_ALL)' | sort")
    assert queue.slurm("sinfo").splitlines() == ["LC_ALL=C", "SLURM_CONF=/somewhere/slurm.conf"]


def test_a_reused_id_is_neither_attached_to_nor_ended(commands: Commands, tmp_path: Path) -> None:
    from mrsearch.cluster.slurm import _comment

    log, launcher = tmp_path / "train.log", SlurmLauncher()
    mine, other = _comment(log), _comment(tmp_path / "other.log")
    for label, owned in {
        f"train|{mine}": True,
        "train|": True,
        f"train|{other}": False,
        f"else|{mine}": False,
        "train|of somebody": False,
    }.items():
        launcher._states.clear()
        commands(squeue=said("12", "RUNNING", label))
        assert launcher.owns("12", "train", log) == owned, label
    commands(squeue=f"echo 'mrsearch|12|RUNNING|None|{UID + 1}|train|{mine}'")
    launcher._states.clear()
    assert not launcher.owns("12", "train", log)
    assert not launcher.owns("12_3", "train", log)


class Clock:
    """Time that passes when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_query_that_fails_changes_nothing(commands: Commands) -> None:
    told: list[str] = []
    watch = JobWatch(3, told.append)
    commands(squeue=said("12", "RUNNING"))
    assert watch.look({"12": "evaluate"})["12"][0] is Verdict.ACTIVE
    commands(squeue=DOWN)
    for _ in range(5):
        assert watch.look({"12": "evaluate"})["12"][0] is Verdict.ACTIVE
    commands(squeue=said("12", "COMPLETED"))
    assert watch.look({"12": "evaluate"})["12"][0] is Verdict.SUCCEEDED
    assert [line.split(",")[0].split(":")[0] for line in told] == [
        "Slurm cannot be asked about the jobs",
        "Slurm answers again",
    ]


@pytest.mark.parametrize(
    ("state", "scontrol"),
    [
        ("PREEMPTED", "exit 1"),
        ("NODE_FAIL", "exit 1"),
        ("FAILED", "echo 'JobId=12 PreemptEligibleTime=2026-01-01T00:00:00 PreemptTime=2026-01-01T00:00:01'"),
        ("CANCELLED", "echo 'JobId=12 PreemptTime=2026-01-01T00:00:01 Reason=None'"),
    ],
)
def test_a_job_that_made_way_is_submitted_again_up_to_a_limit(commands: Commands, state: str, scontrol: str) -> None:
    commands(squeue=said("12", state), scontrol=scontrol)
    watch = JobWatch(2, print)
    for _ in range(2):
        verdict, text = watch.look({"12": "evaluate"})["12"]
        assert verdict is Verdict.AGAIN and "does not count as a failure" in text
    verdict, text = watch.look({"12": "evaluate"})["12"]
    assert verdict is Verdict.FAILED and "max_requeues (2)" in text


@pytest.mark.parametrize("state", ["FAILED", "TIMEOUT", "CANCELLED", "OUT_OF_MEMORY", "DEADLINE"])
def test_a_job_that_failed_by_itself_has_failed(commands: Commands, state: str) -> None:
    commands(
        squeue=said("12", state), scontrol="echo 'JobId=12 PreemptEligibleTime=2026-01-01T00:00:00 PreemptTime=None'"
    )
    verdict, text = JobWatch(2, print).look({"12": "evaluate"})["12"]
    assert verdict is Verdict.FAILED and state in text


def test_a_failure_while_the_controller_was_away_is_none_of_the_commands(commands: Commands) -> None:
    watch = JobWatch(2, print)
    for answer, verdict in (
        (said("12", "RUNNING"), Verdict.ACTIVE),
        (DOWN, Verdict.ACTIVE),
        (said("12", "RUNNING"), Verdict.ACTIVE),
        (said("12", "FAILED"), Verdict.AGAIN),
        (said("12", "FAILED"), Verdict.FAILED),
    ):
        commands(squeue=answer)
        assert watch.look({"12": "evaluate"})["12"][0] is verdict


@pytest.mark.parametrize(("sacct", "seconds"), [(NO_ACCOUNTING, UNKNOWN_SECONDS), ("exit 1", UNSURE_SECONDS)])
def test_a_job_of_which_nothing_is_known_is_submitted_again_in_the_end(
    commands: Commands, sacct: str, seconds: float
) -> None:
    commands(squeue=INVALID, sacct=sacct)
    clock = Clock()
    watch = JobWatch(2, print, clock)
    assert watch.look({"12": "evaluate"})["12"][0] is Verdict.ACTIVE
    clock.now = seconds - 1
    assert watch.look({"12": "evaluate"})["12"][0] is Verdict.ACTIVE
    clock.now = seconds
    assert watch.look({"12": "evaluate"})["12"][0] is Verdict.AGAIN


def test_a_job_that_goes_back_into_the_queue_is_named(commands: Commands) -> None:
    told: list[str] = []
    watch = JobWatch(2, told.append)
    for state in ("PENDING", "RUNNING", "PENDING", "RUNNING"):
        commands(squeue=said("12", state))
        assert watch.look({"12": "evaluate method=cot"})["12"][0] is Verdict.ACTIVE
    assert len(told) == 1 and "evaluate method=cot" in told[0] and "preempted" in told[0]


def test_what_cannot_be_cancelled_is_named(commands: Commands) -> None:
    commands(scancel=DOWN)
    assert "scancel 12 13" in (cancel(["13", "12"], 0.0) or "")
    commands(scancel="true")
    assert cancel(["12"], 0.0) is None
