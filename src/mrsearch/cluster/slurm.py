"""Jobs on Slurm, submitted through submitit."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsearch.cluster.addresses import NETWORK
from mrsearch.cluster.environments import inside_container
from mrsearch.cluster.files import JobFiles
from mrsearch.cluster.queue import (
    LOST,
    WAITING,
    JobState,
    SlurmError,
    await_controller,
    cancel_job,
    find_job,
    job_state,
    overriding,
)
from mrsearch.cluster.stopping import SCRATCH
from mrsearch.cluster.task import Task, TaskSpec, write_task
from mrsearch.config.resources import Resources
from mrsearch.config.site import Site

if TYPE_CHECKING:
    import submitit

STOP_SHARE = 0.6
"""Part of the notice before a job's end that its command may use; the rest is for putting it back into the queue."""


class SlurmTask:
    """What submitit runs on every node of a job."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __call__(self) -> int:
        """Run the task; an interrupted one is put back into the queue by Slurm, or here after a notice."""
        task = Task(Path(self._folder), slurm=True)
        put_back = signal.getsignal(signal.SIGUSR2)
        assert callable(put_back), "submitit handles the notice"
        signal.signal(signal.SIGUSR2, lambda *_: task.notice())
        status = task.run()
        if status and not task.leader:
            time.sleep(2 * task.spec.stop_seconds)  # an early end here would end the first node's work
        elif status and task.noticed:
            put_back(signal.SIGUSR2, None)  # requeues the job and ends this process
        return status

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """What comes back from the queue: the same again."""
        import submitit

        return submitit.helpers.DelayedSubmission(SlurmTask(self._folder))


class SlurmLauncher:
    """Submits jobs of one stage. Questions about jobs need no site."""

    def __init__(
        self,
        site: Site | None = None,
        stage: str = "",
        resources: Resources | None = None,
        graceful: bool = False,
    ) -> None:
        self._site, self._stage, self._resources, self._graceful = site, stage, resources, graceful
        self._states: dict[str, tuple[float, JobState | None]] = {}

    @property
    def poll_seconds(self) -> float:
        """Time between two looks at the queue."""
        return self._site.poll_seconds if self._site else 1.0

    @property
    def max_submissions(self) -> int:
        """How often a run whose job was lost may be submitted."""
        return 1 + (self._site.max_requeues if self._site else 0)

    @property
    def site(self) -> Site:
        """The site whose jobs these are."""
        assert self._site is not None, "only launchers of a site submit"
        return self._site

    def submit(self, command: Sequence[str], name: str, log: Path) -> str:
        """Submit the command; ConfigError if its partition can never run it, SlurmError if sbatch refuses."""
        files, site = JobFiles.beside(log), self._checked_site()
        write_task(files, self._task_spec(command, log, site))
        executor = self._executor(files, name, log)
        with _without_job_variables():
            try:
                job_id = str(executor.submit(SlurmTask(str(files.folder))).job_id)
            except Exception as error:
                raise SlurmError(f"sbatch refused the job {name}: {error}") from error
        self._states.pop(job_id, None)
        return job_id

    def script(self, command: Sequence[str], name: str, log: Path) -> str:
        """The batch script that `submit` would hand over; nothing is written."""
        self._checked_site()
        executor = self._executor(JobFiles.beside(log), name, log)
        return str(executor._make_submission_file_text(executor._submitit_command_str, "uid"))

    def command_in_job(self, command: Sequence[str]) -> list[str]:
        """The command as its job runs it: in the site's container, if it has one and the job has GPUs."""
        gpus = self._resources.gpus if self._resources else 0
        return inside_container(command, self.site) if gpus else list(command)

    def active(self, job_id: str) -> bool:
        """Whether the job waits or runs; true while Slurm cannot be asked."""
        try:
            state = self._state(job_id)
        except SlurmError:
            return True
        return state is not None and state.active

    def owns(self, job_id: str, name: str, log: Path) -> bool:
        """Whether user, name and comment are those of the job that `submit` made."""
        try:
            state = self._state(job_id)
        except SlurmError:
            return True
        except ValueError:
            return False
        return state is not None and state.belongs(name, _comment(log))

    def queued(self, job_id: str) -> bool:
        """Whether the job waits to be started, for the first time or again."""
        with contextlib.suppress(SlurmError):
            state = self._state(job_id)
            return state is not None and state.name in WAITING
        return False

    def lost(self, job_id: str) -> bool:
        """Whether node, preemption or time limit ended the job."""
        with contextlib.suppress(SlurmError):
            state = self._state(job_id)
            return state is not None and state.name in LOST
        return False

    def describe(self, job_id: str) -> str:
        """State and reason in Slurm's words."""
        try:
            state = self._state(job_id)
        except SlurmError as error:
            return f"unknown: {error}"
        return str(state) if state else "unknown to Slurm"

    def cancel(self, job_id: str) -> None:
        """scancel, and wait until the job is gone."""
        cancel_job(job_id)
        self._states.pop(job_id, None)

    def find(self, name: str, log: Path) -> str | None:
        """An active job of this user with that name and log; asked until the controller answers."""
        while True:
            await_controller()
            with contextlib.suppress(SlurmError):
                return find_job(name, _comment(log))
            time.sleep(self.poll_seconds)

    def _state(self, job_id: str) -> JobState | None:
        """Asked at most once per `poll_seconds`, since every question goes to the one controller of the cluster."""
        cached = self._states.get(job_id)
        if cached is None or time.monotonic() - cached[0] > 0.9 * self.poll_seconds:
            cached = self._states[job_id] = (time.monotonic(), job_state(job_id))
        return cached[1]

    def _checked_site(self) -> Site:
        assert self._site is not None and self._resources is not None, "only launchers of a site submit"
        if misfits := self._site.misfits(self._stage, self._resources):
            raise ValueError("the site file and the study do not fit:\n" + "\n".join(misfits))
        return self._site

    def _task_spec(self, command: Sequence[str], log: Path, site: Site) -> TaskSpec:
        return TaskSpec(
            command=self.command_in_job(command),
            log=str(log.absolute()),
            max_requeues=site.max_requeues,
            fence_seconds=site.fence_seconds,
            stop_seconds=STOP_SHARE * site.signal_seconds,
            graceful=self._graceful,
        )

    def _executor(self, files: JobFiles, name: str, log: Path) -> Any:
        import submitit

        site, resources = self._site, self._resources
        assert site is not None and resources is not None

        class Executor(submitit.SlurmExecutor):
            @classmethod
            def affinity(cls) -> int:
                """Above all others: scripts are rendered without Slurm too, and submitting says what is missing."""
                return 2

            def _make_submission_command(self, submission_file_path: Path) -> list[str]:
                """In a session of its own: Ctrl-C would end sbatch between the job's acceptance and its id."""
                return ["setsid", "--wait", *super()._make_submission_command(submission_file_path)]

        executor = Executor(folder=files.folder, max_num_timeout=site.max_requeues + 1)
        output = str(log.absolute())
        parameters = {
            "job_name": name,
            "partition": site.partition_of(self._stage),
            "account": site.account,
            "qos": site.qos,
            "nodes": resources.nodes,
            "ntasks_per_node": 1,
            "cpus_per_task": resources.threads,
            "mem": f"{resources.mem_mb}M",
            "gres": site.gres(self._stage, resources.gpus),
            "time": resources.runtime,
            "signal_delay_s": min(site.signal_seconds, 30 * resources.runtime),
            "comment": _comment(log),
            "wckey": None,
            "setup": setup_lines(site),
            # srun does not take over --cpus-per-task from sbatch any more.
            "srun_args": ["--kill-on-bad-exit=1", f"--cpus-per-task={resources.threads}"],
            "additional_parameters": {"requeue": True, "output": output, "error": output, **site.sbatch},
        }
        executor.update_parameters(**{key: value for key, value in parameters.items() if value is not None})
        executor.parameters["wckey"] = None
        return executor


def _comment(log: Path) -> str:
    """What tells a job from every other one, also of the same name; it stays when the job is put back."""
    return f"mrsearch {hashlib.sha256(str(log.absolute()).encode()).hexdigest()[:10]}"


def setup_lines(site: Site) -> list[str]:
    """Shell lines before a job's command; the first that fails ends the job."""
    modules = [f"module load {shlex.quote(module)}" for module in site.modules]
    network = [f"export {NETWORK}={shlex.quote(site.network)}"] if site.network else []
    scratch = [f"export {SCRATCH}={shlex.quote(site.scratch)}"] if site.scratch != "/tmp" else []
    lines = [*modules, *network, *scratch, *site.setup]
    return ["set -e", *lines] if lines else []


@contextlib.contextmanager
def _without_job_variables() -> Iterator[None]:
    """Inside a job, Slurm's variables would become the new job's settings."""
    removed = {name: os.environ.pop(name) for name in overriding()}
    try:
        yield
    finally:
        os.environ |= removed
