"""Meta-episodes as the viewer reads them: without token ids, with each passage once a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import Any, NamedTuple

from mrsearch.agent.ports import Hit
from mrsearch.agent.records import ActionKind, MetaEpisode, Question, Turn
from mrsearch.agent.scoring import holds_answer
from mrsearch.evaluation.scores import score_record

PassageKey = tuple[str, str, str]
"""Id, title and text."""
ShownHit = tuple[PassageKey, float, int]
"""The passage, its score, and 1 where it holds a gold answer."""


class ShownRecord(NamedTuple):
    """What the viewer shows of a meta-episode: a tenth of its memory, since token ids and log-probabilities are not
    among it."""

    question: Question
    member: int | None
    """Of a training's group; None for an evaluation's."""
    instructive: int
    """1 where its group's rewards differ."""
    pattern: str
    """A 1 or a 0 for each episode: whether its answer was right."""
    answer: str | None
    """The last that was given."""
    text: str
    """Queries and answers, for the quick search."""
    content: dict[str, Any]
    """What the page shows of it; hits are `ShownHit`s."""


def shown_record(record: MetaEpisode) -> ShownRecord:
    """What the viewer shows of a record."""
    scores = _scores_of(record)
    answers = [episode.answer for episode in record.episodes if episode.answer is not None]
    return ShownRecord(
        question=record.question,
        member=record.tags.get("member"),
        instructive=int(instructive(record)),
        pattern="".join("1" if value == 1.0 else "0" for value in scores["em"]),
        answer=answers[-1] if answers else None,
        text=_search_text(record),
        content=_content(record, scores),
    )


def packed(number: int, records: Sequence[ShownRecord]) -> dict[str, Any]:
    """The content of chunk `number`: its passages and its records, whose hits name passages by position."""
    passages: dict[PassageKey, int] = {}

    def numbered(hits: Sequence[ShownHit]) -> list[list[Any]]:
        return [[passages.setdefault(passage, len(passages)), score, gold] for passage, score, gold in hits]

    contents = [_with_hits(record.content, numbered) for record in records]
    return {"number": number, "records": contents, "passages": list(passages)}


def _with_hits(content: dict[str, Any], numbered: Callable[[Sequence[ShownHit]], list[list[Any]]]) -> dict[str, Any]:
    hits = numbered(content["hits"])
    episodes = [
        {**episode, "turns": [{**turn, "hits": numbered(turn["hits"])} for turn in episode["turns"]]}
        for episode in content["episodes"]
    ]
    return {**content, "hits": hits, "episodes": episodes}


def _search_text(record: MetaEpisode) -> str:
    """Queries and answers of a record, for the quick search."""
    texts = []
    for episode in record.episodes:
        texts += [turn.content for turn in episode.turns if turn.action is ActionKind.search]
        texts += [episode.answer] if episode.answer is not None else []
    return "\n".join(dict.fromkeys(texts))


def _scores_of(record: MetaEpisode) -> dict[str, Any]:
    """Scores per episode: those that the evaluator tagged, or, of a training's meta-episode, computed here."""
    tagged: dict[str, Any] | None = record.tags.get("scores")
    return tagged if tagged is not None else score_record(record)


def instructive(record: MetaEpisode) -> bool:
    """Whether it belongs to a training's group whose members got different rewards for the same episode: where they
    are all alike, the leave-one-out advantages are zero and nothing is learned."""
    rewards: Sequence[Sequence[float]] = record.tags.get("rewards", ()) if "member" in record.tags else ()
    by_episode = zip_longest(*rewards)
    return any(len({value for value in values if value is not None}) > 1 for values in by_episode)


def _content(record: MetaEpisode, scores: dict[str, Any]) -> dict[str, Any]:
    return {
        "stop": record.stop.value,
        "context": record.context,
        "prompt_tokens": record.prompt_length,
        "tokens": len(record.token_ids),
        "failures": record.search_failures,
        "hits": _hits(record, record.prompt_hits or []),
        "group": _group(record),
        "episodes": [
            {
                "answer": episode.answer,
                "stop": episode.stop.value,
                "em": scores["em"][index],
                "f1": scores["f1"][index],
                **{name: int(scores[name][index]) for name in ("searches", "generated_tokens")},
                "return": _to_go(record, scores["em"], index),
                "turns": [_turn(record, turn) for turn in episode.turns],
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


def _turn(record: MetaEpisode, turn: Turn) -> dict[str, Any]:
    logprobs = record.logprobs[turn.start : turn.end]
    return {
        "text": turn.text,
        "action": turn.action.value,
        "content": turn.content,
        "observation": "" if turn.hits else turn.observation,
        "hits": _hits(record, turn.hits),
        "tokens": turn.end - turn.start,
        "aside": turn.aside_tokens,
        "logprob": round(sum(logprobs) / len(logprobs), 4) if logprobs else None,
    }


def _hits(record: MetaEpisode, hits: Sequence[Hit]) -> list[ShownHit]:
    golds = record.question.golden_answers
    passages = [(hit.passage.id, hit.passage.title, hit.passage.text) for hit in hits]
    return [
        (passage, round(hit.score, 4), int(_holds_gold(passage, golds)))
        for passage, hit in zip(passages, hits, strict=True)
    ]


@lru_cache(maxsize=65_536)
def _holds_gold(passage: PassageKey, golds: tuple[str, ...]) -> bool:
    """Whether a gold answer stands in title or text; methods that find the same passage share the answer."""
    return holds_answer(f"{passage[1]}\n{passage[2]}", golds)
