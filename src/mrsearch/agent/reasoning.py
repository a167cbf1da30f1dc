"""Health of an agent's reasoning, from its own tokens and the passages it read: no model, no reward.

Trainings collapse in what the policy writes before they collapse in what it scores: blocks of reasoning break or run
empty, sentences repeat, another script creeps in, searches go on without need. Counts are sums, so that those of many
meta-episodes add up before a share is taken of them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache

from mrsearch.agent.evidence import hits_say, is_supported, is_wordless
from mrsearch.agent.records import ActionKind, MetaEpisode
from mrsearch.agent.turns import repeated_searches
from mrsearch.config.wording import TagPair, Tags

NGRAM = 4
"""Tokens of an n-gram (seq-rep-4 of arXiv 1908.04319)."""
SEARCHING = ("repeated_queries", "informed_searches", "needless_searches", "unsupported_answers")
"""Shares that mean nothing where a method does not search."""


@dataclass(frozen=True, slots=True)
class ReasoningCounts:
    """What one meta-episode shows of its reasoning: plain values, which can travel where the meta-episode does not."""

    turns: int = 0
    malformed_thinking: int = 0
    """Turns whose tags of reasoning do not come in pairs, one after the other."""
    empty_thinking: int = 0
    """Turns with a complete block of reasoning in which nothing stands."""
    thinking_characters: int = 0
    """Characters within complete blocks of reasoning, white space at their ends left out."""
    ngrams: int = 0
    """Runs of `NGRAM` generated tokens within a turn."""
    repeated_ngrams: int = 0
    """Those that their turn had before."""
    letters: int = 0
    """Letters that the policy wrote."""
    non_latin_letters: int = 0
    searches: int = 0
    """Turns that search."""
    repeated_queries: int = 0
    """Searches whose query, in normal form, an earlier one had."""
    informed_searches: int = 0
    """Searches after which a gold answer stood in the passages read so far."""
    needless_searches: int = 0
    """Searches before which it stood there already."""
    answers: int = 0
    """Answers of episodes that a passage could say: all but yes and no."""
    unsupported_answers: int = 0
    """Those that no passage read up to then says."""

    @classmethod
    def of(cls, meta: MetaEpisode, tags: Tags) -> ReasoningCounts:
        """The counts of a meta-episode whose protocol has these tags."""
        turns = [turn for episode in meta.episodes for turn in episode.turns]
        blocks = [_blocks(turn.text, tags.think) for turn in turns]
        ngrams = [_ngrams(meta.token_ids[turn.start : turn.end]) for turn in turns]
        letters = [letter for turn in turns for letter in turn.text if letter.isalpha()]
        return cls(
            turns=len(turns),
            malformed_thinking=sum(texts is None for texts in blocks),
            empty_thinking=sum("" in texts for texts in blocks if texts is not None),
            thinking_characters=sum(len(text) for texts in blocks for text in texts or ()),
            ngrams=sum(map(len, ngrams)),
            repeated_ngrams=sum(len(runs) - len(set(runs)) for runs in ngrams),
            letters=len(letters),
            non_latin_letters=sum(not _is_latin(letter) for letter in letters),
            searches=sum(turn.action is ActionKind.search for turn in turns),
            repeated_queries=sum(repeated_searches(meta)),
            **_evidence(meta),
        )


def reasoning_shares(counts: Iterable[ReasoningCounts], searches: bool = True) -> dict[str, float]:
    """Columns of the training log about many meta-episodes; a share of nothing is 0.

    searches: whether the method searches; without it those of `SEARCHING` are left out.
    """
    rows = [astuple(row) for row in counts]
    total = ReasoningCounts(*map(sum, zip(*rows, strict=True)))

    def share(count: int, base: int) -> float:
        return count / max(1, base)

    shares = {
        "malformed_thinking": share(total.malformed_thinking, total.turns),
        "empty_thinking": share(total.empty_thinking, total.turns),
        "thinking_characters": share(total.thinking_characters, total.turns),
        "repeated_ngrams": share(total.repeated_ngrams, total.ngrams),
        "non_latin": share(total.non_latin_letters, total.letters),
        "repeated_queries": share(total.repeated_queries, total.searches),
        "informed_searches": share(total.informed_searches, total.searches),
        "needless_searches": share(total.needless_searches, total.searches),
        "unsupported_answers": share(total.unsupported_answers, total.answers),
    }
    return {name: value for name, value in shares.items() if searches or name not in SEARCHING}


def _blocks(text: str, think: TagPair) -> list[str] | None:
    """What stands in each block of reasoning; None where a tag lacks its fellow or blocks lie in each other."""
    outside, *openings = text.split(think.open)
    if think.close in outside or any(opening.count(think.close) != 1 for opening in openings):
        return None
    return [opening.partition(think.close)[0].strip() for opening in openings]


def _ngrams(token_ids: Sequence[int]) -> list[tuple[int, ...]]:
    return list(zip(*(token_ids[first:] for first in range(NGRAM)), strict=False))


@lru_cache(maxsize=65_536)
def _is_latin(letter: str) -> bool:
    return letter.isascii() or unicodedata.name(letter, "").startswith("LATIN")


def _evidence(meta: MetaEpisode) -> dict[str, int]:
    """Counts of searches and answers by what the passages read up to then say."""
    golds = tuple(meta.question.golden_answers)
    informed = needless = answers = unsupported = 0
    answer_read = hits_say(meta.prompt_hits or (), golds)
    for number, episode in enumerate(meta.episodes):
        for turn in episode.turns:
            searched = turn.action is ActionKind.search
            needless += searched and answer_read
            answer_read = answer_read or hits_say(turn.hits, golds)
            informed += searched and answer_read
        if episode.answer is not None and not is_wordless(episode.answer):
            answers += 1
            unsupported += not is_supported(meta, number)
    return {
        "informed_searches": informed,
        "needless_searches": needless,
        "answers": answers,
        "unsupported_answers": unsupported,
    }
