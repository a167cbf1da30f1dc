"""Meta-episodes as the viewer reads them: without token ids, with each passage once a file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from mrsearch.agent import scoring
from mrsearch.agent.records import ActionKind, MetaEpisode, Turn


def packed(number: int, records: Sequence[MetaEpisode]) -> dict[str, Any]:
    """The content of chunk `number`: its passages and its records, whose hits name passages by position."""
    passages: dict[tuple[str, str, str], int] = {}
    return {"number": number, "records": [_record(record, passages) for record in records], "passages": list(passages)}


def search_text(record: MetaEpisode) -> str:
    """Queries and answers of a record, for the quick search."""
    found = []
    for episode in record.episodes:
        found += [turn.content for turn in episode.turns if turn.action is ActionKind.search]
        found += [episode.answer] if episode.answer is not None else []
    return "\n".join(dict.fromkeys(found))


def _record(record: MetaEpisode, passages: dict[tuple[str, str, str], int]) -> dict[str, Any]:
    scores = record.tags["scores"]
    advantages = record.tags.get("advantages") or [None] * len(record.episodes)
    return {
        "stop": record.stop.value,
        "context": record.context,
        "prompt_tokens": record.prompt_length,
        "tokens": len(record.token_ids),
        "failures": record.search_failures,
        "episodes": [
            {
                "answer": episode.answer,
                "stop": episode.stop.value,
                "em": scores["em"][index],
                "f1": scores["f1"][index],
                "advantage": advantages[index],
                "turns": [_turn(record, turn, passages) for turn in episode.turns],
            }
            for index, episode in enumerate(record.episodes)
        ],
    }


def _turn(record: MetaEpisode, turn: Turn, passages: dict[tuple[str, str, str], int]) -> dict[str, Any]:
    hits = []
    for hit in turn.hits:
        passage = (hit.passage.id, hit.passage.title, hit.passage.text)
        place = passages.setdefault(passage, len(passages))
        hits.append([place, round(hit.score, 4), int(_holds_gold(passage, record.question.golden_answers))])
    logprobs = record.logprobs[turn.start : turn.end]
    return {
        "text": turn.text,
        "action": turn.action.value,
        "content": turn.content,
        "observation": "" if turn.hits else turn.observation,
        "hits": hits,
        "tokens": turn.end - turn.start,
        "logprob": round(sum(logprobs) / len(logprobs), 4) if logprobs else None,
    }


@lru_cache(maxsize=65_536)
def _holds_gold(passage: tuple[str, str, str], golds: tuple[str, ...]) -> bool:
    """Whether a gold answer stands in title or text; methods that find the same passage share the answer."""
    return scoring.sub_em(f"{passage[1]} {passage[2]}", golds) == 1.0
