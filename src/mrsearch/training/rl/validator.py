"""The local trainer's validation: greedy meta-episodes of held-out training questions, and the best weights so far."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mrsearch.agent.agent import Agent, Request
from mrsearch.agent.batch import run_batch
from mrsearch.agent.procedures import run_procedure
from mrsearch.agent.records import Question
from mrsearch.config.training import PolicyTraining
from mrsearch.files import atomic_folder, read_json, write_json
from mrsearch.training.validation import final_score, gain, held_out, mean_score

log = logging.getLogger(__name__)
STATE, SCORES = "state.pt", "scores.json"


class Validator:
    """Holds questions out, judges a policy by them and keeps the weights of the best one."""

    def __init__(self, config: PolicyTraining, questions: Sequence[Question], folder: Path) -> None:
        """ValueError where too few questions are left for one step."""
        count, batch_size = config.local.validation_questions, config.train_batch_size
        if count and len(questions) - count < batch_size:
            raise ValueError(
                f"training.train_batch_size ({batch_size}) and training.local.validation_questions ({count}) need more "
                f"than the training set has ({len(questions)} questions)"
            )
        numbers = set(held_out(len(questions), count))
        self.config, self.folder = config.local, folder
        self.questions = [question for number, question in enumerate(questions) if number in numbers]
        self.trained = [question for number, question in enumerate(questions) if number not in numbers]

    def due(self, step: int, last: bool) -> bool:
        """Whether a policy with so many steps behind it is validated."""
        return bool(self.questions) and (last or step % self.config.validate_every == 0)

    def judge(self, step: int, agent: Agent, model: Any, seed: int) -> dict[str, Any]:
        """Validate the policy after `step` steps, and keep its weights where it is better than the best so far by more
        than chance. Returns columns of the training log: the mean, and the interval of its gain over the best before.
        """
        scores = self._scores(step, agent, seed)
        best = read_json(self.folder / SCORES)
        row: dict[str, Any] = {"validation": mean_score(scores)}
        interval = None if best is None or best["step"] == step else gain(scores, best["scores"])
        if interval is not None and math.isfinite(interval[0]):
            row["validation_gain"] = list(interval)
        if interval is None or interval[0] > 0:
            log.info("step %d: best validation so far, %.4f", step, row["validation"])
            with atomic_folder(self.folder) as draft:
                torch.save(model.state_dict(), draft / STATE)
                write_json(draft / SCORES, {"step": step, "scores": scores})
        return row

    def restore_best(self, model: Any) -> None:
        """Give the model the best weights, where those are what is exported."""
        if self.config.export == "best":
            model.load_state_dict(torch.load(self.folder / STATE, map_location="cpu", weights_only=True))

    def _scores(self, step: int, agent: Agent, seed: int) -> dict[str, float]:
        jobs = []
        for question in self.questions:
            request = Request(f"validation/{step:06d}/{question.id}", seed, temperature=0.0, top_p=1.0)
            jobs.append((request.id, functools.partial(run_procedure, question, agent, request)))
        metas = asyncio.run(run_batch(jobs, agent.policy, self.config.concurrency or len(jobs)))
        kind = agent.spec.protocol.scoring
        return {meta.question.id: final_score(meta, kind) for meta in metas}
