"""IRCoT (arXiv 2212.10509): every sentence of the reasoning is the next query."""

from __future__ import annotations

import re

from mrsearch.agent.agent import Agent, Request
from mrsearch.agent.meta_episode import find, run_episodes
from mrsearch.agent.ports import Hit, SearchEngine, SearchError
from mrsearch.agent.records import ActionKind, MetaEpisode, Question, StopReason, Turn
from mrsearch.agent.transcript import Transcript

_BOUNDARY = re.compile(r"[.?!](?=\s|$|<)|\n")
_TAG = re.compile(r"</?[a-z]+>|<\|[^|]*\|>")
LEAST_WORDS = 3
"""A shorter start of a sentence ends with an abbreviation, not with a sentence."""


async def ircot(question: Question, agent: Agent, request: Request) -> MetaEpisode:
    """Search with the question, then with each sentence of the reasoning; answer when nothing is missing.

    Of every generation the first sentence stays in the context, as in the paper; what was said beyond it is counted in
    the turn's `aside_tokens`. A turn that asks for a search by tag searches for that. The last turn of the budget
    follows a message that asks for the answer. Passages join the context where they were found, not in front of it as
    in the paper, so that the context only grows.
    """
    spec, renderer = agent.spec, agent.renderer
    hits = await first_search(question, agent)
    if hits is None:
        return without_episodes(question, agent, request)
    prompt = renderer.first_prompt("ircot", question.question, renderer.passages(hits))
    transcript = Transcript(question, prompt, agent, request)
    transcript.meta.prompt_hits = hits

    async def play() -> StopReason:
        episode = transcript.meta.episodes[-1]
        for number in range(1, spec.max_turns + 1):
            if number == spec.max_turns and not transcript.say(renderer.conclusion(transcript.last_token)):
                return StopReason.context_limit
            turn = await transcript.generate()
            if turn.action is ActionKind.answer:
                episode.answer = turn.content
                return StopReason.answered
            if number < spec.max_turns:
                ended = await _search(transcript, turn, agent.searcher, spec.topk)
                if ended is not None:
                    return ended
        return StopReason.turn_limit

    return await run_episodes(transcript, play)


async def first_search(question: Question, agent: Agent) -> list[Hit] | None:
    """The hits of the question itself, or None where the engine gave up; ValueError where there is no engine."""
    try:
        return await agent.searcher.search(question.question.strip(), agent.spec.topk)
    except SearchError:
        return None


def without_episodes(question: Question, agent: Agent, request: Request) -> MetaEpisode:
    """The record of a question whose first search failed."""
    failed = Transcript(question, [], agent, request)
    failed.meta.search_failures = 1
    return failed.close(StopReason.search_failed)


async def _search(transcript: Transcript, turn: Turn, engine: SearchEngine, topk: int) -> StopReason | None:
    """Search with the turn's sentence, or with the query it gave by tag; returns why the episode ends, or None."""
    if turn.action is not ActionKind.search:
        _keep_first_sentence(transcript, turn)
        turn.content = " ".join(_TAG.sub(" ", turn.text).split())
        turn.action = ActionKind.search if turn.content else ActionKind.invalid
    if transcript.room == 0:
        return StopReason.context_limit
    if turn.action is ActionKind.invalid:
        observation = transcript.renderer.invalid_action(transcript.last_token)
    elif await find(transcript, turn, engine, topk):
        observation = transcript.renderer.observation(turn.hits)
    else:
        return StopReason.search_failed
    return None if transcript.observe(*observation) else StopReason.context_limit


def _keep_first_sentence(transcript: Transcript, turn: Turn) -> None:
    """Drop what follows the first sentence, an end-of-turn token included."""
    token_ids = transcript.meta.token_ids[turn.start : turn.end]
    while token_ids and token_ids[-1] in transcript.renderer.stop_rule.end_of_turn:
        token_ids.pop()
    length = sentence_end(transcript.renderer.decode(token_ids))
    transcript.shorten(transcript.renderer.count_until(token_ids, length))


def sentence_end(text: str) -> int:
    """Where the first sentence of at least three words ends; the whole length where none ends earlier.

    >>> text = "Mr. Bean is a film. It stars Rowan Atkinson."
    >>> text[: sentence_end(text)]
    'Mr. Bean is a film.'
    """
    for boundary in _BOUNDARY.finditer(text):
        if len(_TAG.sub(" ", text[: boundary.end()]).split()) >= LEAST_WORDS:
            return boundary.end()
    return len(text)
