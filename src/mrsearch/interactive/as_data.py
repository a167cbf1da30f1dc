"""A meta-episode as plain data for scripts: what was said, found and answered, without token ids."""

from __future__ import annotations

import json
from typing import Any

from mrsearch.agent.ports import Hit
from mrsearch.agent.records import MetaEpisode, Turn
from mrsearch.agent.scoring import em
from mrsearch.agent.tally import MetaEpisodeCounts, searches
from mrsearch.config.protocol import Protocol
from mrsearch.evaluation.choices import counted
from mrsearch.interactive.steps import reasoning

TAGS = ("study", "model", "method", "seed", "decoding", "benchmark", "step", "member")
"""Tags of a record that say where it is from, as far as it has them."""


def final_answer(record: MetaEpisode, protocol: Protocol) -> str | None:
    """The answer of a meta-episode that counts; None where it gave none."""
    parallel = record.context == "independent" and len(record.episodes) > 1
    return counted([episode.answer for episode in record.episodes], parallel, protocol.answer)


def costs(record: MetaEpisode) -> dict[str, int]:
    """Turns, searches (failed ones too), generated tokens, those beside the transcript, and tokens in all."""
    counts = MetaEpisodeCounts.of(record)
    aside = sum(turn.aside_tokens for episode in record.episodes for turn in episode.turns)
    return {
        "turns": counts.turns,
        "searches": counts.searches,
        "search_failures": counts.search_failures,
        "generated_tokens": counts.generated_tokens,
        "aside_tokens": aside,
        "tokens": counts.tokens,
    }


def origin(record: MetaEpisode) -> dict[str, Any]:
    """Study, model, method and so on of a record, as far as its tags name them."""
    return {tag: record.tags[tag] for tag in TAGS if tag in record.tags}


def as_data(record: MetaEpisode, protocol: Protocol, seconds: float | None = None) -> dict[str, Any]:
    """The record as lists and mappings that JSON can hold. `right` stands where gold answers are known, `seconds` where
    the answer was just made."""
    question, by_episode = record.question, searches(record)
    answer, golds = final_answer(record, protocol), question.golden_answers
    episodes = [
        {
            "answer": episode.answer,
            **({"right": _right(episode.answer, golds)} if golds else {}),
            "stop": episode.stop.value,
            "searches": by_episode[index],
            "turns": [_turn(turn, protocol) for turn in episode.turns],
        }
        for index, episode in enumerate(record.episodes)
    ]
    return {
        "id": question.id,
        "question": question.question,
        **({"golden_answers": list(golds)} if golds else {}),
        **origin(record),
        "answer": answer,
        **({"right": _right(answer, golds)} if golds else {}),
        "stop": record.stop.value,
        **({} if record.prompt_hits is None else {"passages": [_hit(hit) for hit in record.prompt_hits]}),
        "episodes": episodes,
        "costs": costs(record) | ({} if seconds is None else {"seconds": round(seconds, 3)}),
    }


def as_line(record: MetaEpisode, protocol: Protocol, seconds: float | None = None) -> str:
    """`as_data` in one line of JSON; ASCII, so that nothing of it steers a terminal."""
    return json.dumps(as_data(record, protocol, seconds), ensure_ascii=True)


def _right(answer: str | None, golds: tuple[str, ...]) -> bool:
    return answer is not None and em(answer, golds) == 1.0


def _turn(turn: Turn, protocol: Protocol) -> dict[str, Any]:
    return {
        "reasoning": reasoning(turn, protocol),
        "action": turn.action.value,
        "content": turn.content,
        "text": turn.text,
        "passages": [_hit(hit) for hit in turn.hits],
        "observation": turn.observation,
        "generated_tokens": turn.end - turn.start,
        "aside_tokens": turn.aside_tokens,
    }


def _hit(hit: Hit) -> dict[str, Any]:
    passage = hit.passage
    return {"id": passage.id, "title": passage.title, "text": passage.text, "score": round(hit.score, 4)}
