"""Snakemake's Slurm executor with a check of its jobs that survives a cluster's bad days.

The executor's own check (read in version 2.8.0) forgets every job when one round of questions fails, waits for ever for
a job that was preempted, and counts one that was told to make way as failed. This one asks as the rest of the project
does. Submission waits for the controller, and cancelling includes the jobs that are being asked about.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

from mrsearch.cluster import queue
from mrsearch.cluster.watch import JobWatch, Verdict, cancel

WRITTEN_FOR = "2.8."
"""Versions of the plugin on whose inner working this relies."""
CANCEL_SECONDS = 60.0
"""How long a run that is interrupted tries to cancel its jobs."""
SLOWEST = 6
"""The longest time between two rounds of questions, in times of the shortest."""
QUERYING = ("SQUEUE_", "SACCT_", "SACCTMGR_", "SCANCEL_", "SCONTROL_", "SINFO_")


def install(max_resubmissions: int) -> None:
    """Give the executor of this process the check below; a lost job is submitted again up to `max_resubmissions` times.

    Variables that change what Slurm's commands show are taken out of this process, so that the executor's other
    questions are answered too. RuntimeError for a version of the plugin that this is not written for.
    """
    from snakemake_executor_plugin_slurm import Executor

    installed = version("snakemake-executor-plugin-slurm")
    if not installed.startswith(WRITTEN_FOR):
        raise RuntimeError(
            f"snakemake-executor-plugin-slurm {installed} is installed, and what replaces its check of jobs is written "
            f"for {WRITTEN_FOR}x: install envs/cpu.lock.txt"
        )
    for name in [name for name in os.environ if name.startswith(QUERYING)]:
        del os.environ[name]
    executor: Any = Executor
    submit = getattr(executor.run_job, "without_waiting", executor.run_job)

    def run_job(self: Any, job: Any) -> None:
        """Submit a job once the controller answers, unless the run ends before."""

        def ending() -> bool:
            return bool(vars(self).get("ending"))

        with contextlib.suppress(queue.SlurmError):  # the submission says itself what is missing
            queue.await_controller(ending)
        if not ending():
            submit(self, job)

    run_job.without_waiting = submit  # type: ignore[attr-defined]
    executor.run_job, executor.cancel_jobs = run_job, cancel_jobs
    executor.check_active_jobs, executor.max_resubmissions = check_active_jobs, max_resubmissions


async def check_active_jobs(self: Any, active_jobs: list[Any]) -> AsyncIterator[Any]:
    """The executor's check: reports jobs that have ended, and yields all others."""
    vars(self)["asked_about"] = active_jobs
    watch = vars(self).setdefault("job_watch", JobWatch(self.max_resubmissions, self.logger.warning))
    infos = {info.external_jobid: info for info in active_jobs}
    verdicts = await asyncio.to_thread(watch.look, {job_id: _title(info.job) for job_id, info in infos.items()})
    for job_id, (verdict, text) in verdicts.items():
        if verdict is Verdict.ACTIVE:
            yield infos[job_id]
        else:
            _settle(self, infos[job_id], verdict, text)
    vars(self)["asked_about"] = []
    shortest = self.workflow.remote_execution_settings.seconds_between_status_checks
    changed = any(verdict is not Verdict.ACTIVE for verdict, _ in verdicts.values())
    longer = min(self.next_seconds_between_status_checks + shortest, SLOWEST * shortest)
    self.next_seconds_between_status_checks = shortest if changed else longer


def cancel_jobs(self: Any, active_jobs: list[Any]) -> None:
    """The executor's way to end a run: all jobs, those that a check is asking about included."""
    vars(self)["ending"] = True
    infos = [*active_jobs, *vars(self).get("asked_about", [])]
    failure = cancel([info.external_jobid for info in infos if info.external_jobid], CANCEL_SECONDS)
    if failure:
        self.logger.error(f"Jobs of this run could not be cancelled: {failure}")


def _settle(executor: Any, info: Any, verdict: Verdict, text: str) -> None:
    if verdict is Verdict.SUCCEEDED:
        executor.report_job_success(info)
    elif verdict is Verdict.AGAIN:
        executor.logger.warning(text)
        executor._job_submission_executor.submit(executor.run_job, info.job)
    else:
        log = info.aux.get("slurm_logfile")
        executor.report_job_error(info, msg=text, aux_logs=[str(log)] if log else [])


def _title(job: Any) -> str:
    words = [f"{name}={value}" for name, value in sorted((getattr(job, "wildcards_dict", None) or {}).items())]
    return " ".join([str(job.name), *words])
