"""The product's agent loop, in which chosen things go wrong at chosen steps; Ray's workers import it by this name."""

import json
import os
from collections import Counter
from pathlib import Path

import ray

from mrsearch.training.verl.rl.agent_loop import MetaEpisodeLoop
from mrsearch.training.verl.rl.rows import FACTS

PLAN = "MRSEARCH_TEST_FAILURES"
"""Environment variable: {step: {"fail": number of trajectories} | {"search": file to touch} | "kill" | "huge"}."""
begun = Counter()


class FailingLoop(MetaEpisodeLoop):
    """At steps without a plan it is the product's own."""

    async def run(self, sampling_params, **row):
        step = str(row["global_steps"])
        plan = json.loads(os.environ[PLAN]).get(step, {})
        # Validation goes by the same numbers of steps and has one trajectory per question.
        if float(sampling_params["temperature"]) == 0.0:
            plan = {}
        begun[step] += 1
        sign = (-1) ** begun[step]
        if plan == "kill" and begun[step] == 1:
            ray.kill(ray.get_actor("transformers_server_0"))
        if isinstance(plan, dict) and begun[step] <= plan.get("fail", 0):
            raise RuntimeError("this trajectory was chosen to fail")
        if isinstance(plan, dict) and "search" in plan:
            Path(plan["search"]).touch()
            await self.shared.engine.search("question", 1)
        outputs = await super().run(sampling_params, **row)
        if plan == "huge":
            for output in outputs:
                output.extra_fields[FACTS]["rewards"] = [sign * 1e30] * len(output.extra_fields[FACTS]["rewards"])
        return outputs
