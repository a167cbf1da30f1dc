"""Inside the Ray cluster: verl's own entry point with our trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(config: DictConfig) -> None:
    """Train to the end; the trainer's error passes through as Ray's RayTaskError."""
    import ray
    from verl.trainer import main_ppo

    base: Any = main_ppo.TaskRunnerV1.__ray_metadata__.modified_class

    class Runner(base):
        """verl's, once our trainer and estimators are known in its process."""

        def run(self, config: Any) -> None:
            import logging
            import sys

            logging.basicConfig(level=logging.INFO, stream=sys.stderr)
            import mrsearch.training.verl.trainer  # noqa: F401

            super().run(config)

    try:
        main_ppo.run_ppo(config, task_runner_class=ray.remote(num_cpus=1)(Runner))
    finally:
        ray.shutdown()  # before the cluster ends: who still belongs to it would wait a minute for it
