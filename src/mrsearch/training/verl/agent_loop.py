"""verl's agent loop: one trajectory is one of our meta-episodes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput

from mrsearch.agent.agent import Agent, Request
from mrsearch.agent.baselines import run_procedure
from mrsearch.agent.dialogue import Dialogue
from mrsearch.agent.records import MetaEpisode, Question, as_json
from mrsearch.agent.scoring import rewards
from mrsearch.agent.spec import AgentSpec
from mrsearch.config import Study, read_study
from mrsearch.policy.tokenizer import load_tokenizer
from mrsearch.retrieval.client import HttpEngine
from mrsearch.retrieval.engine import OpenEngine, open_engine
from mrsearch.training import groups
from mrsearch.training.verl.policy import ServerPolicy
from mrsearch.training.verl.rows import FACTS, RECORD, loop_rows


@dataclass
class Shared:
    """What all meta-episodes of one process share: the words, and the client with its connections."""

    study: Study
    spec: AgentSpec
    dialogue: Dialogue
    engine: OpenEngine
    retries_told: int = 0

    def new_retries(self) -> int:
        """Tries again of the client since this was asked before."""
        total = self.engine.counts.retries if isinstance(self.engine, HttpEngine) else 0
        new, self.retries_told = total - self.retries_told, total
        return new


@lru_cache(maxsize=2)
def shared(study: str, method: str, model: str, corpus: str, indexes: str, endpoint: str | None) -> Shared:
    """Opened once per process; paths as text, because they come from verl's configuration."""
    chosen = read_study(study)
    engine = open_engine(chosen, Path(corpus), Path(indexes), Path(endpoint) if endpoint else None)
    dialogue = Dialogue(load_tokenizer(Path(model)), chosen.protocol)
    return Shared(chosen, AgentSpec.of(chosen, method), dialogue, engine)


# Not decorated with verl's `register`: the import at the first instantiation would replace the entry of the agent loop
# file, and with it these arguments, for every later trajectory of the process.
class MetaEpisodeLoop(AgentLoopBase):
    """Made by verl for every trajectory, from the entry in the agent loop file."""

    def __init__(
        self,
        *args: Any,
        study: str,
        method: str,
        seed: int,
        corpus: str,
        indexes: str,
        endpoint: str | None = None,
        **kwargs: Any,
    ) -> None:
        # verl builds a tokenization helper for the model's family, which some tokenizers do not suit; ours do the work.
        super().__init__(*args, **{**kwargs, "hf_model_type": None})
        model = str(self.config.actor_rollout_ref.model.path)
        self.shared = shared(study, method, model, corpus, indexes, endpoint)
        self.seed = seed

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> list[AgentLoopOutput]:
        """One meta-episode of the row's question. Where its retriever fails for good, it ends there and counts one
        failure; every other error passes through, and verl goes on without this trajectory."""
        question = Question(row["id"], row["question"], tuple(row["golden_answers"]), row["data_source"])
        request = Request(
            id=f"{row['global_steps']:06d}/{question.id}/{row['session_id']:03d}",
            seed=self.seed,
            temperature=float(sampling_params["temperature"]),
            top_p=float(sampling_params["top_p"]),
        )
        everything = self.shared
        policy = ServerPolicy(
            self.server_manager, everything.dialogue.stop_rule, self.rollout_config.name, f"{row['uid']}-{request.id}"
        )
        agent = Agent(policy, everything.engine, everything.spec, everything.dialogue)
        meta = await run_procedure(question, agent, request)
        longest = self.rollout_config.prompt_length
        if meta.prompt_length > longest:
            raise ValueError(
                f"the first prompt of question {question.id!r} has {meta.prompt_length} tokens, more than "
                f"training.verl.prompt_tokens ({longest}): raise it"
            )
        versions, retries = policy.versions, everything.new_retries()
        found = outputs(meta, everything.study, everything.spec.episodes, versions, retries)
        # verl counts steps from 1. Validation is greedy, training never is.
        questions, step = everything.study.training.questions_per_step, row["global_steps"] - 1
        if found and request.temperature > 0 and groups.is_candidate(step, question.id, questions):
            found[0].extra_fields[RECORD] = as_json(meta)
        return found


def outputs(
    meta: MetaEpisode, study: Study, episodes: int, versions: dict[str, Any], retries: int = 0
) -> list[AgentLoopOutput]:
    """A meta-episode's rows as verl takes them; the reward of each is that of the last episode."""
    scores = rewards(meta, study.protocol.scoring)
    answered = [score for episode, score in zip(meta.episodes, scores, strict=True) if episode.answer is not None]
    validation: dict[str, float] = {"acc": answered[-1] if answered else 0.0}
    for number in range(episodes):
        validation[f"episode_{number + 1}"] = scores[number] if number < len(scores) else 0.0
    return [
        AgentLoopOutput(
            prompt_ids=row.prompt_ids,
            response_ids=row.response_ids,
            response_mask=row.response_mask,
            response_logprobs=row.logprobs,
            reward_score=scores[-1],
            num_turns=row.facts["turns"],
            metrics=AgentLoopMetrics(),
            extra_fields={**versions, FACTS: row.facts, RECORD: "", "reward_extra_info": dict(validation)},
        )
        for row in loop_rows(meta, study.protocol.scoring, retries)
    ]
