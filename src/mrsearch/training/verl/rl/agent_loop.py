"""verl's agent loop: one trajectory is one of our meta-episodes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput

from mrsearch.agent.agent import Agent, Request
from mrsearch.agent.beliefs import GoldReply
from mrsearch.agent.procedures import run_procedure
from mrsearch.agent.record_lines import to_line
from mrsearch.agent.records import MetaEpisode, Question
from mrsearch.agent.renderer import Renderer
from mrsearch.agent.rewards import episode_rewards
from mrsearch.agent.scoring import episode_scores
from mrsearch.agent.spec import AgentSpec
from mrsearch.agent.tally import MetaEpisodeCounts
from mrsearch.config import Study
from mrsearch.policy.tokenizer import load_tokenizer
from mrsearch.retrieval.engine import OpenEngine, engine_of, search_retries
from mrsearch.training import groups
from mrsearch.training.run import TrainingRun
from mrsearch.training.validation import final_score
from mrsearch.training.verl.rl.policy import ServerPolicy
from mrsearch.training.verl.rl.rowless import note_rowless
from mrsearch.training.verl.rl.rows import FACTS, QUESTION, RECORD, loop_rows
from mrsearch.training.verl.run_files import RunFiles


@dataclass
class ProcessState:
    """What all meta-episodes of one process share: the words, and the client with its connections."""

    run: TrainingRun
    spec: AgentSpec
    renderer: Renderer
    engine: OpenEngine | None
    retries_told: int = 0

    def new_retries(self) -> int:
        """Tries again of the client since this was asked before."""
        total = search_retries(self.engine)
        new, self.retries_told = total - self.retries_told, total
        return new


@lru_cache(maxsize=2)
def shared(path: str) -> ProcessState:
    """Opened once per process, for the training that a file holds."""
    run = TrainingRun.read(path)
    engine = engine_of(run.study, run.method, run.inputs.corpus, run.inputs.indexes, run.inputs.endpoint)
    renderer = Renderer(load_tokenizer(run.inputs.start), run.study.protocol)
    return ProcessState(run, AgentSpec.of(run.study, run.method), renderer, engine)


# Not decorated with verl's `register`: the import at the first instantiation would replace the entry of the agent loop
# file, and with it these arguments, for every later trajectory of the process.
class MetaEpisodeLoop(AgentLoopBase):
    """Made by verl for every trajectory, from the entry in the agent loop file."""

    def __init__(self, *args: Any, run: str, **kwargs: Any) -> None:
        """run: file of the training."""
        # verl builds a tokenization helper for the model's family, which some tokenizers do not suit; ours do the work.
        super().__init__(*args, **{**kwargs, "hf_model_type": None})
        self.shared = shared(run)
        self.files = RunFiles(self.shared.run.folder)

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> list[AgentLoopOutput]:
        """One meta-episode of the row's question. Where its retriever fails for good, it ends there and counts one
        failure; every other error passes through, and verl goes on without this trajectory. A meta-episode that trains
        nothing gives verl no row: what it took is noted in the run folder."""
        question = Question(row["id"], row["question"], tuple(row["golden_answers"]), row["data_source"])
        request = Request(
            id=f"{row['global_steps']:06d}/{question.id}/{row['session_id']:03d}",
            seed=self.shared.run.seed,
            temperature=float(sampling_params["temperature"]),
            top_p=float(sampling_params["top_p"]),
        )
        spec, renderer, study = self.shared.spec, self.shared.renderer, self.shared.run.study
        policy = ServerPolicy(
            self.server_manager,
            renderer.stop_rule,
            self.rollout_config.name,
            f"{row['uid']}-{request.id}",
            study.training.verl.request_seeds,
        )
        agent = Agent(policy, self.shared.engine, spec, renderer)
        meta = await run_procedure(question, agent, request)
        longest = self.rollout_config.prompt_length
        if meta.prompt_length > longest:
            raise ValueError(
                f"the first prompt of question {question.id!r} has {meta.prompt_length} tokens, more than "
                f"training.verl.max_prompt_tokens ({longest}): raise it"
            )
        retries = self.shared.new_retries()
        credited = self.shared.run.settings.turn_credit is not None
        gold = GoldReply.of(meta, renderer) if credited else None
        rows = outputs(meta, study, self.shared.run.method, policy.versions, retries, gold)
        # verl counts steps from 1. Validation is greedy, training never is.
        questions, step = study.training.train_batch_size, row["global_steps"] - 1
        if request.temperature > 0 and not rows:
            note_rowless(self.files, row["uid"], row["session_id"], MetaEpisodeCounts.of(meta), retries)
        elif request.temperature > 0 and groups.is_candidate(step, question.id, questions):
            rows[0].extra_fields[RECORD] = to_line(meta).decode()
        return rows


def outputs(
    meta: MetaEpisode,
    study: Study,
    method: str,
    versions: dict[str, Any],
    retries: int = 0,
    gold: GoldReply | None = None,
) -> list[AgentLoopOutput]:
    """A meta-episode's rows as verl takes them; the reward of each is that of the last episode. Validation looks at
    scores alone."""
    rewarded = episode_rewards(meta, study.reward_of(method), study.protocol)
    scores = episode_scores(meta, study.protocol.scoring)
    validation: dict[str, float | str] = {QUESTION: meta.question.id, "acc": final_score(meta, study.protocol.scoring)}
    for number in range(study.methods[method].episodes):
        validation[f"episode_{number + 1}"] = scores[number] if number < len(scores) else 0.0
    return [
        AgentLoopOutput(
            prompt_ids=row.prompt_ids,
            response_ids=row.response_ids,
            response_mask=row.response_mask,
            response_logprobs=row.logprobs,
            reward_score=rewarded.values[-1],
            num_turns=row.facts["counts"]["turns"],
            metrics=AgentLoopMetrics(),
            extra_fields={**versions, FACTS: row.facts, RECORD: "", "reward_extra_info": dict(validation)},
        )
        for row in loop_rows(meta, study.protocol, rewarded, retries, gold)
    ]
