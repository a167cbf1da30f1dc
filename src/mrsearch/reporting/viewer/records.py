"""Meta-episodes as the viewer reads them: without token ids, with each passage once a file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import Any

from mrsearch.agent.ports import Hit
from mrsearch.agent.records import ActionKind, MetaEpisode, Turn
from mrsearch.agent.scoring import holds_answer
from mrsearch.evaluation.scores import score_record


def packed(number: int, records: Sequence[MetaEpisode]) -> dict[str, Any]:
    """The content of chunk `number`: its passages and its records, whose hits name passages by position."""
    passages: dict[tuple[str, str, str], int] = {}
    return {"number": number, "records": [_record(record, passages) for record in records], "passages": list(passages)}


def search_text(record: MetaEpisode) -> str:
    """Queries and answers of a record, for the quick search."""
    texts = []
    for episode in record.episodes:
        texts += [turn.content for turn in episode.turns if turn.action is ActionKind.search]
        texts += [episode.answer] if episode.answer is not None else []
    return "\n".join(dict.fromkeys(texts))


def scores_of(record: MetaEpisode) -> dict[str, Any]:
    """Scores per episode: those that the evaluator tagged, or, of a training's meta-episode, computed here."""
    texts: dict[str, Any] | None = record.tags.get("scores")
    return texts if texts is not None else score_record(record)


def instructive(record: MetaEpisode) -> bool:
    """Whether it belongs to a training's group whose members got different rewards for the same episode: where they
    are all alike, the leave-one-out advantages are zero and nothing is learned."""
    rewards: Sequence[Sequence[float]] = record.tags.get("rewards", ()) if "member" in record.tags else ()
    by_episode = zip_longest(*rewards)
    return any(len({value for value in values if value is not None}) > 1 for values in by_episode)


def _record(record: MetaEpisode, passages: dict[tuple[str, str, str], int]) -> dict[str, Any]:
    scores = scores_of(record)
    return {
        "stop": record.stop.value,
        "context": record.context,
        "prompt_tokens": record.prompt_length,
        "tokens": len(record.token_ids),
        "failures": record.search_failures,
        "hits": _hits(record, record.prompt_hits or [], passages),
        "group": _group(record),
        "episodes": [
            {
                "answer": episode.answer,
                "stop": episode.stop.value,
                "em": scores["em"][index],
                "f1": scores["f1"][index],
                **{name: int(scores[name][index]) for name in ("searches", "generated_tokens")},
                "return": _to_go(record, scores["em"], index),
                "turns": [_turn(record, turn, passages) for turn in episode.turns],
            }
            for index, episode in enumerate(record.episodes)
        ],
    }


def _group(record: MetaEpisode) -> dict[str, Any] | None:
    """What a training gave the meta-episodes of one group, a list per member; None where there was no group.

    There are no advantages where a critic gave one to each token.
    """
    if "member" not in record.tags:
        return None
    return {key: record.tags[key] for key in ("member", "rewards", "advantages") if key in record.tags}


def _to_go(record: MetaEpisode, em: Sequence[float], index: int) -> float | None:
    """Sum of EM from this episode on: what its advantage compares within a group. None where episodes do not follow
    one another."""
    return None if record.context == "independent" or len(em) == 1 else sum(em[index:])


def _turn(record: MetaEpisode, turn: Turn, passages: dict[tuple[str, str, str], int]) -> dict[str, Any]:
    logprobs = record.logprobs[turn.start : turn.end]
    return {
        "text": turn.text,
        "action": turn.action.value,
        "content": turn.content,
        "observation": "" if turn.hits else turn.observation,
        "hits": _hits(record, turn.hits, passages),
        "tokens": turn.end - turn.start,
        "aside": turn.aside_tokens,
        "logprob": round(sum(logprobs) / len(logprobs), 4) if logprobs else None,
    }


def _hits(record: MetaEpisode, hits: Sequence[Hit], passages: dict[tuple[str, str, str], int]) -> list[list[Any]]:
    """Position of the passage, its score, and whether it holds a gold answer."""
    texts = []
    for hit in hits:
        passage = (hit.passage.id, hit.passage.title, hit.passage.text)
        position = passages.setdefault(passage, len(passages))
        texts.append([position, round(hit.score, 4), int(_holds_gold(passage, record.question.golden_answers))])
    return texts


@lru_cache(maxsize=65_536)
def _holds_gold(passage: tuple[str, str, str], golds: tuple[str, ...]) -> bool:
    """Whether a gold answer stands in title or text; methods that find the same passage share the answer."""
    return holds_answer(f"{passage[1]}\n{passage[2]}", golds)
