"""Jobs on Slurm, submitted through submitit."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsearch.cluster.files import JobFiles
from mrsearch.cluster.queue import LOST, WAITING, JobState, SlurmError, cancel_job, find_job, job_state
from mrsearch.cluster.task import Task, TaskSpec, write_task
from mrsearch.config.site import Site
from mrsearch.config.study import Resources

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
        self._known: dict[str, tuple[float, JobState | None]] = {}

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
        self._known.pop(job_id, None)
        return job_id

    def script(self, command: Sequence[str], name: str, log: Path) -> str:
        """The batch script that `submit` would hand over; nothing is written."""
        self._checked_site()
        executor = self._executor(JobFiles.beside(log), name, log)
        return str(executor._make_submission_file_text(executor._submitit_command_str, "uid"))

    def active(self, job_id: str) -> bool:
        """Whether the job waits or runs; true while Slurm cannot be asked."""
        try:
            state = self._state(job_id)
        except SlurmError:
            return True
        return state is not None and state.active

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
        self._known.pop(job_id, None)

    def find(self, name: str, log: Path) -> str | None:
        """An active job of this user with that name."""
        return find_job(name)

    def _state(self, job_id: str) -> JobState | None:
        """Asked at most once per `poll_seconds`, since every question goes to the one controller of the cluster."""
        known = self._known.get(job_id)
        if known is None or time.monotonic() - known[0] > 0.9 * self.poll_seconds:
            known = self._known[job_id] = (time.monotonic(), job_state(job_id))
        return known[1]

    def _checked_site(self) -> Site:
        assert self._site is not None and self._resources is not None, "only launchers of a site submit"
        if misfits := self._site.misfits(self._stage, self._resources):
            raise ValueError("the site file and the study do not fit:\n" + "\n".join(misfits))
        return self._site

    def _task_spec(self, command: Sequence[str], log: Path, site: Site) -> TaskSpec:
        return TaskSpec(
            command=inside_container(command, site),
            log=str(log.absolute()),
            max_requeues=site.max_requeues,
            fence_seconds=site.fence_seconds,
            stop_seconds=STOP_SHARE * site.signal_seconds,
            graceful=self._graceful,
        )

    def _executor(self, files: JobFiles, name: str, log: Path) -> Any:
        import submitit

        site, asked = self._site, self._resources
        assert site is not None and asked is not None

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
            "nodes": asked.nodes,
            "ntasks_per_node": 1,
            "cpus_per_task": asked.threads,
            "mem": f"{asked.mem_mb}M",
            "gres": site.gres(self._stage, asked.gpus),
            "time": asked.runtime,
            "signal_delay_s": min(site.signal_seconds, 30 * asked.runtime),
            "comment": f"mrsearch {self._stage}",
            "wckey": None,
            "setup": setup_lines(site),
            # srun does not take over --cpus-per-task from sbatch any more.
            "srun_args": ["--kill-on-bad-exit=1", f"--cpus-per-task={asked.threads}"],
            "additional_parameters": {"requeue": True, "output": output, "error": output, **site.sbatch},
        }
        executor.update_parameters(**{key: value for key, value in parameters.items() if value is not None})
        executor.parameters["wckey"] = None
        return executor


def setup_lines(site: Site) -> list[str]:
    """Shell lines before a job's command; the first that fails ends the job."""
    modules = [f"module load {shlex.quote(module)}" for module in site.modules]
    return ["set -e", *modules, *site.setup] if modules or site.setup else []


def inside_container(command: Sequence[str], site: Site) -> list[str]:
    """The command as it runs in the site's container, if it has one; the image's own Python takes the place of ours."""
    if site.container is None:
        return list(command)
    words = ["python", *command[1:]] if command[0] == sys.executable else list(command)
    return ["apptainer", "exec", *site.container_options, "--pwd", str(Path.cwd()), site.container, *words]


@contextlib.contextmanager
def _without_job_variables() -> Iterator[None]:
    """Inside a job, Slurm's variables would become the new job's settings."""
    kept = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name.startswith(("SLURM_", "SBATCH_", "SRUN_")) and name != "SLURM_CONF"
    }
    try:
        yield
    finally:
        os.environ |= kept
