"""`mrsearch train` with verl: on every node of the job, from the files to the exported model."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mrsearch.cluster.signals import Interrupts
from mrsearch.cluster.stopping import Stopped, stop_file
from mrsearch.config import Study
from mrsearch.files import atomic_file, read_json, write_text
from mrsearch.policy.tokenizer import require_no_code
from mrsearch.seal import damage
from mrsearch.training.ending import told_of_its_end
from mrsearch.training.health import require_health
from mrsearch.training.run import TrainingRun
from mrsearch.training.start_up import StartUp
from mrsearch.training.verl.compose import as_yaml
from mrsearch.training.verl.environment import process_environment
from mrsearch.training.verl.ray_cluster import Node, ray_cluster
from mrsearch.training.verl.rl import recipe
from mrsearch.training.verl.rl.resumption import monitors_of, resumed_log
from mrsearch.training.verl.run_files import RunFiles

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)
AGENT_LOOP = "mrsearch.training.verl.rl.agent_loop.MetaEpisodeLoop"
LOGICAL_CPUS = 16
"""What Ray is told without GPUs, where its processes share the cores; each of verl's asks for one."""


def train_with_verl(run: TrainingRun) -> bool:
    """Train, export and return True; on a node that only lends its GPUs, return False when all is done.

    The run's folder keeps checkpoints: called again, the training goes on from the newest. Stopped where SIGUSR2 asked
    for a stop after the next step.
    """
    run = run.absolute()
    files, node = RunFiles(run.folder), _node(run)
    if not _finished(files):
        with told_of_its_end(run.title, files.last) as signals:
            _train_on(node, run, files, signals)
    if node.rank:
        return False
    if not _finished(files):
        raise Stopped
    from mrsearch.training import groups
    from mrsearch.training.verl.export import export_checkpoint

    checkpoint = files.checkpoint(files.exported(run.study.training.verl.export))
    export_checkpoint(checkpoint, run.inputs.start, run.out.model, lora=run.study.training.lora)
    groups.publish(run.folder, run.out.model)
    return True


def _train_on(node: Node, run: TrainingRun, files: RunFiles, signals: Interrupts) -> None:
    """This node's part, to its end."""
    require_no_code(run.inputs.start)
    start = StartUp(run.folder)

    def import_verl() -> None:
        importlib.import_module("verl.trainer.main_ppo")
        start.ended("verl's imports")

    if node.rank == 0:
        _require_health(run, files, files.recover())  # before anything is started that takes minutes
        start.begin()
    with ray_cluster(node, _environment(run), import_verl) as address:
        if address is not None:
            start.ended("Ray")
            prepare(run, files)
            _drive(run, files, address, signals)


def prepare(run: TrainingRun, files: RunFiles) -> None:
    """Write what verl's processes read: the training itself, its questions and verl's agent loop file.

    The validation questions are held out from the training questions by a fixed draw.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    run.write(files.run)
    split_questions(run.inputs.questions, run.study, files.train, files.validation)
    entry = {"name": recipe.TRAINER, "_target_": AGENT_LOOP, "run": str(files.run)}
    write_text(files.agent_loops, yaml.safe_dump([entry], sort_keys=False))


def _drive(run: TrainingRun, files: RunFiles, address: str, signals: Interrupts) -> None:
    """verl's own entry point with our trainer, to the end."""
    config = recipe.compose(recipe.settings(run, address))
    recipe.validate(config)
    write_text(files.config, as_yaml(config))
    files.ended.unlink(missing_ok=True)
    if (last := files.last()) is not None:
        log.info("continuing after step %d", last)
    with stop_file(files.stop):
        run_ppo(config, signals)
    if not files.ended.is_file():
        _require_health(run, files, files.last())
        raise RuntimeError("verl's trainer returned without an end: its output stands above in this log")


def _require_health(run: TrainingRun, files: RunFiles, done: int | None) -> None:
    """Unhealthy where an alarm ended the training after the checkpoint of step `done`, by the rules as they are now."""
    require_health(monitors_of(run.study.training), resumed_log(run, files, done or 0).rows())


def run_ppo(config: DictConfig, signals: Interrupts) -> None:
    """Run verl's entry point in the Ray cluster; the trainer's error passes through as Ray's RayTaskError."""
    import ray
    from verl.trainer import main_ppo

    base: Any = main_ppo.TaskRunnerV1.__ray_metadata__.modified_class

    class Runner(base):
        """verl's, once our trainer and estimators are known in its process."""

        def run(self, config: Any) -> None:
            import logging
            import sys

            logging.basicConfig(level=logging.INFO, stream=sys.stderr)
            logging.getLogger("mrsearch").setLevel(logging.INFO)  # Ray and verl have set the root logger up
            import mrsearch.training.verl.rl.trainer  # noqa: F401

            StartUp(Path(config[recipe.TRAINER].run).parent).ended("the trainer's process")
            super().run(config)

    class Start:
        """Starts the runner, which verl does right after it has joined Ray, whose own handler of SIGTERM would print a
        stack and end this process on the spot."""

        def __init__(self, runner: Any) -> None:
            self._runner = runner

        def options(self, **changes: Any) -> Start:
            return Start(self._runner.options(**changes))

        def remote(self) -> Any:
            signals.retake(KeyboardInterrupt)  # what else a handler raises while it waits, Ray drops
            return self._runner.remote()

    try:
        main_ppo.run_ppo(config, task_runner_class=Start(ray.remote(num_cpus=1)(Runner)))
    finally:
        ray.shutdown()  # before the cluster ends: a process that is still connected would wait for it for a minute


def _finished(files: RunFiles) -> bool:
    """Whether the training has come to its own end, and the checkpoint of that end is whole."""
    ended = read_json(files.ended)
    return ended is not None and ended["reason"] != "stopped" and damage(files.checkpoint(ended["step"])) is None


def _node(run: TrainingRun) -> Node:
    resources = run.study.resources.train
    if recipe.on_cpu(run.study):
        ranks = max(1, run.study.training.verl.cpu_ranks // resources.nodes)
        return Node(run.folder, LOGICAL_CPUS, ranks, object_store_mb=500)
    return Node(run.folder, resources.threads, resources.gpus)


def _environment(run: TrainingRun) -> dict[str, str]:
    """What all of Ray's processes on this node inherit."""
    ray = {
        "HYDRA_FULL_ERROR": "1",
        "RAY_DEDUP_LOGS": "0",
        # Nobody else uses this cluster: it may end at once.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    }
    return process_environment(run.folder, recipe.on_cpu(run.study)) | ray


def split_questions(questions: Path, study: Study, train: Path, validation: Path) -> None:
    """Write training and validation questions; ValueError where too few are left for one step.

    Without validation, verl still wants a file: it gets the first question and never looks at it.
    """
    import pyarrow.parquet as parquet

    from mrsearch.training.validation import held_out

    table = parquet.read_table(questions)
    count, batch_size = study.training.verl.validation_questions, study.training.train_batch_size
    if table.num_rows - count < batch_size:
        raise ValueError(
            f"training.train_batch_size ({batch_size}) and training.verl.validation_questions ({count}) need more than "
            f"the training set has ({table.num_rows} questions)"
        )
    validated = held_out(table.num_rows, count)
    trained = sorted(set(range(table.num_rows)) - set(validated))
    for path, rows in ((train, trained), (validation, validated or [0])):
        with atomic_file(path) as draft:
            parquet.write_table(table.take(rows), draft)
