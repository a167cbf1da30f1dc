"""One process of a fine-tuning: `torchrun -m mrsearch.training.verl.sft.worker CONFIG`."""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import sys
import time
from typing import Any

import torch
import torch.distributed as dist
from omegaconf import OmegaConf
from tensordict.tensorclass import NonTensorData
from verl.trainer.sft_trainer import SFTTrainer
from verl.utils import tensordict_utils as tu
from verl.utils.distributed import destroy_global_process_group, initialize_global_process_group

from mrsearch.cluster.children import ended_with_parent
from mrsearch.cluster.stopping import Stopped
from mrsearch.files import write_json
from mrsearch.seal import seal
from mrsearch.tracking import Tracker
from mrsearch.training.log import TrainingLog
from mrsearch.training.outlook import Budget
from mrsearch.training.run import TrainingRun
from mrsearch.training.verl.run_files import RunFiles
from mrsearch.training.verl.sft.recipe import SECTION

PROBES = 2
"""Sequences by which the trained policy is recognised after export."""


class FineTuner(SFTTrainer):
    """verl's supervised trainer, in the order of our plan, with our training log, probes and an early end."""

    def __init__(self, config: Any) -> None:
        self.run = TrainingRun.read(config[SECTION].run)
        self.files = RunFiles(self.run.folder)
        self.steps: TrainingLog | None = None
        self.tracker: Tracker | None = None
        self._stopping = False
        super().__init__(config)
        self.step = self.resume_global_step
        self._train, self._save = self.training_client.train_batch, self.ckpt_handler.save_checkpoint
        self.training_client.train_batch = self._train_batch
        self.ckpt_handler.save_checkpoint = self._save_checkpoint

    def _build_dataloader(self) -> None:
        super()._build_dataloader()
        # The data set has its order already: rank r of R takes rows r, r + R, r + 2 R, ..., so a batch is one of ours.
        self.train_sampler.shuffle = False

    def fit(self) -> None:
        """Train to the end; Stopped where somebody asked for it."""
        if self.rank == 0:
            self._open_log()
        try:
            super().fit()
        finally:
            if self.tracker is not None:
                self.tracker.finish(failed=sys.exc_info()[0] is not None)

    def _open_log(self) -> None:
        self.steps = TrainingLog(self.run.folder, self.run.title, Budget(self.total_training_steps))
        self.steps.resume_at(self.step)
        tracker = self.run.tracker()
        self.steps.listener = lambda row: tracker.log(row["step"], row)
        self.tracker = tracker

    def _train_batch(self, data: Any) -> Any:
        """verl's update, and its row in the log. FloatingPointError where the gradient is not finite, which verl would
        pass over."""
        if self._stopping:
            raise Stopped
        began = time.perf_counter()
        output = self._train(data=data)
        metrics = tu.get(output, "metrics")
        if not math.isfinite(metrics["grad_norm"]):
            raise FloatingPointError(
                f"sft: the gradient norm is {metrics['grad_norm']} at step {self.step}: lower sft.learning_rate"
            )
        if self.steps is not None:
            row = {"nll": metrics["loss"], "gradient_norm": metrics["grad_norm"]}
            row["tokens"] = int(sum(tu.get(data, "global_token_num")))
            self.steps.add({"step": self.step, **row, "seconds": time.perf_counter() - began})
        self.step += 1
        if self._asked_to_stop():
            self._stopping, self.save_freq = True, 1
        return output

    def _asked_to_stop(self) -> bool:
        """Whether a stop was asked for: what any process has seen, all do."""
        seen = torch.tensor(int(self.files.stop.exists()), device=self.device_name)
        dist.all_reduce(seen, op=dist.ReduceOp.MAX)
        return bool(seen.item())

    def _save_checkpoint(self, step: int) -> None:
        """A checkpoint and what its policy is recognised by; older ones go."""
        probe = self._probe()
        if self.rank == 0:
            write_json(self.files.probe(step), probe)
        self._save(step=step)
        if self.rank == 0:
            seal(self.files.checkpoint(step))
            self.files.prune(newest=2, keep_best=False)  # one may be damaged

    def _probe(self) -> dict[str, Any]:
        """Tokens, masks and log-probabilities of the policy as it is; every process computes the same."""
        rows = self.train_dataset.shortest(PROBES)
        settings = {
            "use_remove_padding": self.config.model.use_remove_padding,
            "use_dynamic_bsz": False,
            "micro_batch_size_per_gpu": 1,
            "temperature": 1.0,
            "global_batch_size": len(rows),
            "pad_mode": self.config.data.pad_mode,
            "pad_token_id": self.model_config.tokenizer.pad_token_id,
        }
        data = tu.get_tensordict(tensor_dict=self.collate_fn(rows), non_tensor_dict=settings)
        lengths = [len(row["input_ids"]) for row in rows]
        tu.assign_non_tensor(data, global_token_num=NonTensorData(lengths))
        values = self.training_client.infer_batch(data)["log_probs"].unbind()
        return {
            "temperature": 1.0,
            "rows": [_probe_row(row, logprobs_T) for row, logprobs_T in zip(rows, values, strict=True)],
        }


def _probe_row(row: dict[str, torch.Tensor], logprobs_T: torch.Tensor) -> dict[str, Any]:
    """verl gives at each position the log-probability of the token after it."""
    ids, mask = row["input_ids"].tolist(), row["loss_mask"].tolist()
    return {"prompt": ids[:1], "response": ids[1:], "mask": mask[1:], "logprobs": logprobs_T.tolist()[: len(ids) - 1]}


def main(config: str) -> None:
    """Train; a stop that was asked for is an ordinary end."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    if (die := ended_with_parent(signal.SIGKILL)) is not None:
        die()
    if not dist.is_initialized():  # on a CPU the platform's plug-in has done it
        initialize_global_process_group()
    with contextlib.suppress(Stopped):
        FineTuner(OmegaConf.load(config)).fit()
    destroy_global_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
