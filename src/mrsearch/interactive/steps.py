"""What happened in a meta-episode, one thing after the other: the order in which it is shown, live or from a record."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mrsearch.agent.formats import fill, joined_passages, reflection_template
from mrsearch.agent.ports import Hit
from mrsearch.agent.records import ActionKind, Episode, MetaEpisode, StopReason, Turn
from mrsearch.config.protocol import Protocol

DECIDING_LENGTH = 40
"""Characters of the passages with which an observation that holds them begins."""


class StepKind(StrEnum):
    """What a step is."""

    episode = "episode"
    """An episode begins; the text is its number, from 1."""
    reflection = "reflection"
    """The message between two episodes."""
    reasoning = "reasoning"
    """What the policy says before it acts."""
    search = "search"
    """A query."""
    passages = "passages"
    """What a search returned."""
    notes = "notes"
    """What `search_o1` read in the passages, which the policy sees in their place."""
    answer = "answer"
    """The answer of an episode."""
    invalid = "invalid"
    """A generation without a complete action."""
    summary = "summary"
    """What the agent writes down for its next episode."""
    hint = "hint"
    """What the policy reads after it."""
    stop = "stop"
    """Why an episode without an answer, or a meta-episode before its last one, ended."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened."""

    kind: StepKind
    text: str = ""
    hits: tuple[Hit, ...] = ()
    """Passages, best first."""


def steps(record: MetaEpisode, protocol: Protocol, over: bool = True) -> list[Step]:
    """The steps of a meta-episode in their order.

    over: whether the record is finished; of one that grows, the stop reasons that may still change are left out, so
    that each list begins with the one before.
    """
    events: list[Step] = []
    if record.prompt_hits is not None:
        events.append(_passages(record.prompt_hits, ""))
    for index, episode in enumerate(record.episodes):
        if index and record.context != "independent":
            events.append(Step(StepKind.reflection, reflection_text(protocol, record.question.question)))
        events.append(Step(StepKind.episode, str(index + 1)))
        for turn in episode.turns:
            events += _turn_steps(turn, protocol)
        if over or index + 1 < len(record.episodes):
            events += _episode_end(episode)
    if over and not (record.episodes and record.episodes[-1].stop is record.stop):
        events.append(Step(StepKind.stop, record.stop.value))
    return events


def reflection_text(protocol: Protocol, question: str) -> str:
    """The message between two episodes, with what it repeats of the first prompt."""
    prompts = protocol.prompts
    fixed, template = reflection_template(prompts.reflection, prompts.search, protocol.reflection.repeats)
    return fixed + fill(template, question=protocol.question_text(question))


def reasoning(turn: Turn, protocol: Protocol) -> str:
    """What a turn says before its action, without the tags around it; empty where the action is all it says."""
    tags = protocol.tags
    opening = {ActionKind.search: tags.search.open, ActionKind.answer: tags.answer.open}.get(turn.action, "")
    if not opening:
        return ""
    before, tag, _ = turn.text.partition(opening)
    if not tag and _words(turn.text) == _words(turn.content):  # ircot searches with its sentences
        return ""
    return before.replace(tags.think.open, "").replace(tags.think.close, "").strip()


def _turn_steps(turn: Turn, protocol: Protocol) -> Iterator[Step]:
    searched = turn.action is ActionKind.search
    if turn.hits and not searched:  # rag reads passages before it says anything
        yield _passages(turn.hits, "")
    if thoughts := reasoning(turn, protocol):
        yield Step(StepKind.reasoning, thoughts)
    yield Step(StepKind(turn.action.value), turn.content if turn.content else turn.text)
    if searched and (turn.hits or turn.observation):
        yield _passages(turn.hits, "" if turn.hits else turn.observation)
    if searched and turn.hits and turn.observation and not _shows_passages(turn, protocol):
        yield Step(StepKind.notes, _inside(turn.observation, protocol))
    if not searched and turn.observation:
        yield Step(StepKind.hint, turn.observation.strip())


def _passages(hits: Sequence[Hit], text: str) -> Step:
    return Step(StepKind.passages, text.strip(), tuple(hits))


def _shows_passages(turn: Turn, protocol: Protocol) -> bool:
    """Whether the observation holds the passages rather than what was read in them. It may be cut anywhere, so that its
    beginning decides."""
    before = " ".join(_words(protocol.observation_text.partition("{passages}")[0]))
    passages = joined_passages(protocol, turn.hits)
    expected = " ".join(_words(fill(protocol.observation_text, passages=passages)))
    observed = " ".join(_words(turn.observation))
    compared = min(len(before) + DECIDING_LENGTH, len(expected), len(observed))
    return observed[:compared] == expected[:compared]


def _inside(observation: str, protocol: Protocol) -> str:
    tags = protocol.tags.information
    return observation.replace(tags.open, "").replace(tags.close, "").strip()


def _episode_end(episode: Episode) -> Iterator[Step]:
    if episode.stop is not StopReason.answered:
        yield Step(StepKind.stop, episode.stop.value)


def _words(text: str) -> list[str]:
    """Words outside of tags."""
    return re.findall(r"\w+", re.sub(r"</?\w+>|<\|[^|]*\|>", " ", text))
