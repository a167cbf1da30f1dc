"""Search-o1 (arXiv 2501.05366): a searching agent that reads the passages in a generation of its own."""

from __future__ import annotations

from mrsearch.agent.agent import Agent, Request
from mrsearch.agent.meta_episode import meta_episode
from mrsearch.agent.protocol import read_action
from mrsearch.agent.records import ActionKind, MetaEpisode, Question, Turn
from mrsearch.agent.transcript import Transcript


async def search_o1(question: Question, agent: Agent, request: Request) -> MetaEpisode:
    """The rollout of `meta_episode`, with reason-in-documents between a search and its observation.

    The same policy reads the passages in a conversation that holds the reasoning so far, the query and the passages;
    what it writes as its answer there is the observation, and all of what it wrote where it gave no answer. A reading
    for which the context has no room ends the meta-episode with `context_limit`.
    """

    async def read(transcript: Transcript, turn: Turn, searches: int | None) -> tuple[str, list[int]] | None:
        reasoning = "\n".join(earlier.text for earlier in transcript.meta.episodes[-1].turns)
        prompt = agent.renderer.reading_prompt(reasoning, turn.content, turn.hits)
        reading = await transcript.aside(prompt)
        if reading is None:
            return None
        action, content = read_action(reading, agent.spec.protocol.tags)
        return agent.renderer.notes(content if action is ActionKind.answer else reading.strip(), searches)

    return await meta_episode(question, agent, request, read)
