"""The turns of a meta-episode, counted through all its episodes: for credit and masks finer than an episode."""

from __future__ import annotations

from mrsearch.agent.records import ActionKind, MetaEpisode, StopReason
from mrsearch.agent.scoring import normalize


def turn_episodes(meta: MetaEpisode) -> list[int]:
    """The episode of each turn."""
    return [number for number, episode in enumerate(meta.episodes) for _ in episode.turns]


def turn_numbers(meta: MetaEpisode) -> list[int]:
    """The turn of each token of the meta-episode; -1 for tokens that the policy did not generate."""
    numbers = [-1] * len(meta.token_ids)
    turns = [turn for episode in meta.episodes for turn in episode.turns]
    for number, turn in enumerate(turns):
        numbers[turn.start : turn.end] = [number] * (turn.end - turn.start)
    return numbers


def repeated_searches(meta: MetaEpisode) -> list[bool]:
    """Whether each turn is a search whose query, in normal form, an earlier search of the meta-episode had."""
    earlier: set[str] = set()
    repeated = []
    for turn in (turn for episode in meta.episodes for turn in episode.turns):
        query = normalize(turn.content) or turn.content.lower() if turn.action is ActionKind.search else None
        repeated.append(query in earlier)
        if query is not None:
            earlier.add(query)
    return repeated


def abnormal_turns(meta: MetaEpisode) -> list[bool]:
    """Whether each turn is an invalid action or a repeated search."""
    turns = [turn for episode in meta.episodes for turn in episode.turns]
    pairs = zip(turns, repeated_searches(meta), strict=True)
    return [turn.action is ActionKind.invalid or repeated for turn, repeated in pairs]


def kept_turns(meta: MetaEpisode) -> list[int]:
    """1 for each turn that is trained on when abnormal turns are masked, else 0.

    Normal turns before an abnormal one of their episode are left alone, so that what went wrong bears the blame by
    itself; of a meta-episode that the full context cut, no turn is kept (SearchAgent-Zero's masks).
    """
    abnormal, episodes = abnormal_turns(meta), turn_episodes(meta)
    if meta.stop is StopReason.context_limit:
        return [0] * len(episodes)
    last_fault = {episode: number for number, episode in enumerate(episodes) if abnormal[number]}
    return [int(abnormal[number] or number > last_fault.get(episode, -1)) for number, episode in enumerate(episodes)]
