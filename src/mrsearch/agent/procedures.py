"""Procedures that answer in one generation, and the choice between them and the rollout."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from mrsearch.agent.agent import Agent, Request
from mrsearch.agent.interventions import intervened
from mrsearch.agent.ircot import first_search, without_episodes
from mrsearch.agent.meta_episode import run_episodes
from mrsearch.agent.ports import Hit
from mrsearch.agent.records import ActionKind, MetaEpisode, Question, StopReason
from mrsearch.agent.transcript import Transcript
from mrsearch.extensions import PROCEDURES


class AgentProcedure(Protocol):
    """How an agent answers a question, as entry points of the group `mrsearch.procedures` name it: a function, or an
    object that can be called.

    An installed one may have a pydantic model `Settings`, whose values are `agent.spec.procedure_settings`. It says by
    `searches = False` that it needs no engine, and by `reflects = True` that it goes through `agent.spec.episodes`.
    """

    async def __call__(self, question: Question, agent: Agent, request: Request) -> MetaEpisode:
        """The record of one question, made with `Transcript`, or by changing question, agent or request and calling
        another procedure."""
        ...


async def run_procedure(question: Question, agent: Agent, request: Request) -> MetaEpisode:
    """One question by the spec's procedure. The spec's own temperature goes before the request's, and searches are what
    its intervention makes of them."""
    spec = agent.spec
    if spec.temperature is not None:
        request = replace(request, temperature=spec.temperature)
    run: AgentProcedure = PROCEDURES.load(spec.procedure)
    meta = await run(question, intervened(agent, question), request)
    if not isinstance(meta, MetaEpisode):
        raise ValueError(f"procedure {spec.procedure} of {PROCEDURES.package(spec.procedure)} returned no MetaEpisode")
    return meta


async def answer_once(question: Question, agent: Agent, request: Request) -> MetaEpisode:
    """One generation without any tool: procedures direct, cot and rag.

    rag searches once with the question and puts the passages into the prompt; the first turn keeps the hits, while
    `observation` stays empty because nothing follows the generation. Where that search fails, no episode exists and the
    stop reason is `search_failed`. A generation without an answer, one that asks for a search included, is an invalid
    action and spends the only turn: `turn_limit`. Independent episodes are parallel samples: the vote over their
    answers is self-consistency, the best of them pass@k.
    """
    hits: list[Hit] = []
    information = ""
    if agent.spec.procedure == "rag":
        searched = await first_search(question, agent)
        if searched is None:
            return without_episodes(question, agent, request)
        hits, information = searched, agent.renderer.passages(searched)
    prompt = agent.renderer.first_prompt(agent.spec.procedure, question.question, information)
    transcript = Transcript(question, prompt, agent, request)
    if agent.spec.procedure == "rag" and not hits:
        transcript.meta.prompt_hits = hits

    async def play() -> StopReason:
        turn = await transcript.generate()
        turn.hits = hits if len(transcript.meta.episodes) == 1 else []
        if turn.action is ActionKind.answer:
            transcript.meta.episodes[-1].answer = turn.content
            return StopReason.answered
        turn.action, turn.content = ActionKind.invalid, ""
        return StopReason.context_limit if transcript.room == 0 else StopReason.turn_limit

    return await run_episodes(transcript, play)
