"""Procedures that answer in one generation, and the choice between them and the rollout."""

from __future__ import annotations

from mrsearch.agent.baselines_ircot import first_search, ircot, without_episodes
from mrsearch.agent.baselines_search_o1 import search_o1
from mrsearch.agent.dialogue import Dialogue
from mrsearch.agent.meta_episode import meta_episode, run_episodes
from mrsearch.agent.ports import Hit, Policy, SearchEngine
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
    """One question by the spec's procedure; arguments as `meta_episode`. The spec's own temperature goes first."""
    if spec.temperature is not None:
        temperature = spec.temperature
    run = {"meta_episode": meta_episode, "ircot": ircot, "search_o1": search_o1}.get(spec.procedure, answer_once)
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
    stop reason is `search_failed`. A generation without an answer spends the only turn: `turn_limit`. Independent
    episodes are parallel samples: majority vote over their answers is self-consistency, the best of them pass@k.
    """
    hits: list[Hit] = []
    information = ""
    if spec.procedure == "rag":
        found = await first_search(question, engine, spec)
        if found is None:
            return without_episodes(question, spec, dialogue, request_id)
        hits, information = found, dialogue.passages(found)
    prompt = dialogue.first_prompt(spec.procedure, question.question, information)
    transcript = Transcript(question, prompt, spec, dialogue, request_id)

    async def play() -> StopReason:
        turn = await transcript.generate(policy, temperature, top_p, seed)
        turn.hits = hits
        if turn.action is ActionKind.answer:
            transcript.meta.episodes[-1].answer = turn.content
            return StopReason.answered
        return StopReason.context_limit if transcript.room == 0 else StopReason.turn_limit

    return await run_episodes(transcript, spec, play)
