"""Procedures that answer in one generation, and the choice between them and the rollout."""

from __future__ import annotations

from mrsearch.agent.dialogue import Dialogue
from mrsearch.agent.meta_episode import meta_episode
from mrsearch.agent.ports import Hit, Policy, SearchEngine, SearchError
from mrsearch.agent.records import ActionKind, MetaEpisode, Question, StopReason
from mrsearch.agent.spec import AgentSpec
from mrsearch.agent.transcript import Transcript


async def run_procedure(
    question: Question,
    policy: Policy,
    engine: SearchEngine | None,
    spec: AgentSpec,
    dialogue: Dialogue,
    *,
    temperature: float,
    top_p: float,
    seed: int,
    request_id: str,
) -> MetaEpisode:
    """One question by the spec's procedure; arguments as `meta_episode`."""
    run = meta_episode if spec.procedure == "meta_episode" else answer_once
    return await run(
        question, policy, engine, spec, dialogue, temperature=temperature, top_p=top_p, seed=seed, request_id=request_id
    )


async def answer_once(
    question: Question,
    policy: Policy,
    engine: SearchEngine | None,
    spec: AgentSpec,
    dialogue: Dialogue,
    *,
    temperature: float,
    top_p: float,
    seed: int,
    request_id: str,
) -> MetaEpisode:
    """One generation without any tool: procedures direct, cot and rag.

    rag searches once with the question and puts the passages into the prompt; its only turn keeps the hits, while
    `observation` stays empty because nothing follows the generation. Where that search fails, no episode exists and the
    stop reason is `search_failed`. A generation without an answer spends the only turn: `turn_limit`.
    """
    hits: list[Hit] = []
    information = ""
    if spec.procedure == "rag":
        if engine is None:
            raise ValueError("procedure rag searches: give it a search engine")
        try:
            hits = await engine.search(question.question.strip(), spec.topk)
        except SearchError:
            failed = Transcript(question, [], spec, dialogue, request_id)
            failed.meta.search_failures = 1
            return failed.close(StopReason.search_failed)
        information = dialogue.passages(hits)
    prompt = dialogue.first_prompt(spec.procedure, question.question, information)
    transcript = Transcript(question, prompt, spec, dialogue, request_id)
    if not transcript.begin_episode():
        return transcript.close(StopReason.context_limit)
    turn = await transcript.generate(policy, temperature, top_p, seed)
    turn.hits = hits
    episode = transcript.meta.episodes[-1]
    if turn.action is ActionKind.answer:
        episode.answer, episode.stop = turn.content, StopReason.answered
    elif transcript.room == 0:
        episode.stop = StopReason.context_limit
    return transcript.close(episode.stop)
