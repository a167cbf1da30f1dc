"""A meta-episode as one line of JSON, which says everything once.

Left out is what follows from the rest: masks from the turns, texts of generations and observations from their tokens
where the tokens' pieces are at hand, passages where the transcript shows them. Whatever does not follow is written as
it is, so that nothing is lost but digits of log-probabilities beyond float32. docs/records.md describes every field.
"""

from __future__ import annotations

import base64
import itertools
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import ArrayLike, NDArray

from mrsearch.agent.pieces import Pieces, TokenTexts, UsedPieces
from mrsearch.agent.ports import Hit, Passage
from mrsearch.agent.record_arrays import FLOAT, ReadArrays, WrittenArrays
from mrsearch.agent.records import ActionKind, Episode, MetaEpisode, Question, StopReason, Turn

SHOWN = 32
"""Characters of a passage by which its place in the transcript is found."""
Span = tuple[int, int]
"""First token, and one past the last."""


def to_line(record: MetaEpisode, pieces: UsedPieces | None = None, arrays: WrittenArrays | None = None) -> bytes:
    """The line of a record, without its end. `pieces` collects the pieces of tokens whose text is left out, `arrays`
    tokens and log-probabilities; without them all stand in the line."""
    turns = [turn for episode in record.episodes for turn in episode.turns]
    token_ids = record.token_ids if arrays is None else arrays.add_tokens(record.token_ids)
    transcript = _WrittenTranscript(record, turns, None if pieces is None else pieces.texts(np.asarray(token_ids)))
    logprobs = _sampled(record, turns)
    prompt_hits = None if record.prompt_hits is None else transcript.hits(record.prompt_hits, 0)
    numbers = itertools.count(1)
    episodes = [
        {
            "answer": episode.answer,
            "stop": episode.stop,
            "turns": [_turn(transcript, turn, next(numbers)) for turn in episode.turns],
        }
        for episode in record.episodes
    ]
    content = {
        "question": record.question,
        **(_written_out(record, logprobs) if arrays is None else _counted(record, arrays.add_logprobs(logprobs))),
        **_irregular(record, turns),
        "prompt_length": record.prompt_length,
        "episode_starts": record.episode_starts,
        "context": record.context,
        **({} if record.blanked_episode is None else {"blanked_episode": record.blanked_episode}),
        "stop": record.stop,
        "search_failures": record.search_failures,
        "prompt_hits": prompt_hits,
        "passages": transcript.passages,
        "episodes": episodes,
        "tags": record.tags,
    }
    return orjson.dumps(content)


def from_line(line: bytes | str, pieces: Pieces | None = None, arrays: ReadArrays | None = None) -> MetaEpisode:
    """The record of a line; ValueError, KeyError, TypeError or IndexError where it is none. `pieces` and `arrays` are
    what was collected when it was written."""
    raw = orjson.loads(line)
    token_array = None if arrays is None else arrays.take_tokens(raw["tokens"])
    token_ids = raw["token_ids"] if token_array is None else token_array.tolist()
    packed = _unpacked(raw["logprobs"]) if arrays is None else arrays.take_logprobs(raw["logprobs"])
    spans = [(turn["start"], turn["end"]) for episode in raw["episodes"] for turn in episode["turns"]]
    transcript = _ReadTranscript(raw, token_ids if token_array is None else token_array, spans, pieces)
    prompt_hits = raw["prompt_hits"]
    numbers = itertools.count(1)
    return MetaEpisode(
        question=Question(**{**raw["question"], "golden_answers": tuple(raw["question"]["golden_answers"])}),
        token_ids=token_ids,
        loss_mask=raw.get("loss_mask") or _mask(len(token_ids), spans),
        episode_ids=raw.get("episode_ids") or _episode_ids(len(token_ids), _first_tokens(raw["episodes"])),
        logprobs=_all_logprobs(packed, len(token_ids), spans),
        prompt_length=raw["prompt_length"],
        episodes=[
            Episode(
                [transcript.turn(turn, next(numbers)) for turn in episode["turns"]],
                episode["answer"],
                StopReason(episode["stop"]),
            )
            for episode in raw["episodes"]
        ],
        stop=StopReason(raw["stop"]),
        context=raw["context"],
        episode_starts=raw["episode_starts"],
        search_failures=raw["search_failures"],
        prompt_hits=None if prompt_hits is None else transcript.hits(prompt_hits),
        blanked_episode=raw.get("blanked_episode"),
        tags=raw["tags"],
    )


class _WrittenTranscript:
    """The texts that a record's tokens show, and the passages that were met so far."""

    def __init__(self, record: MetaEpisode, turns: Sequence[Turn], texts: TokenTexts | None) -> None:
        self._texts = texts
        self.gaps = _gaps(record.prompt_length, [(turn.start, turn.end) for turn in turns], len(record.token_ids))
        self.passages: list[tuple[str, str, str | list[Any]]] = []
        self._numbers: dict[Passage, int] = {}
        self._shown: dict[int, str] = {}

    def text(self, start: int, end: int) -> str | None:
        """The text of tokens, or None where it cannot be known from them."""
        return None if self._texts is None else self._texts.text(start, end)

    def shown(self, gap: int) -> str:
        """The text of a gap; empty where it cannot be known."""
        if gap not in self._shown:
            self._shown[gap] = self.text(*self.gaps[gap]) or ""
        return self._shown[gap]

    def hits(self, hits: Sequence[Hit], gap: int) -> list[tuple[int, float]]:
        """Each hit as the number of its passage and its score; `gap` is where new passages are likely shown."""
        numbered = []
        for hit in hits:
            number = self._numbers.get(hit.passage)
            if number is None:
                number = self._numbers[hit.passage] = len(self.passages)
                passage = hit.passage
                self.passages.append((passage.id, passage.title, _reference(passage.text, self.shown(gap), gap)))
            numbered.append((number, hit.score))
        return numbered


def _turn(transcript: _WrittenTranscript, turn: Turn, number: int) -> dict[str, Any]:
    line: dict[str, Any] = {"start": turn.start, "end": turn.end, "action": turn.action}
    if turn.text != transcript.text(turn.start, turn.end):
        line["text"] = turn.text
    if turn.content:
        at = turn.text.rfind(turn.content)
        line["content"] = turn.content if at < 0 else (at, len(turn.content))
    if turn.observation:
        at = transcript.shown(number).find(turn.observation)
        line["observation"] = turn.observation if at < 0 else (at, len(turn.observation))
    if turn.hits:
        line["hits"] = transcript.hits(turn.hits, number if turn.observation else 0)
    if turn.aside_tokens:
        line["aside_tokens"] = turn.aside_tokens
    return line


def _reference(text: str, shown: str, gap: int) -> str | list[Any]:
    """The text itself, or [gap, first, length, remainder]: so many characters of what the gap shows, then more."""
    at = shown.find(text[:SHOWN]) if len(text) >= SHOWN else -1
    if at < 0:
        return text
    if shown.startswith(text, at):
        return [gap, at, len(text), ""]
    low, high = SHOWN, min(len(text), len(shown) - at)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if shown.startswith(text[:middle], at) else (low, middle - 1)
    return [gap, at, low, text[low:]]


class _ReadTranscript:
    """The texts that a line's tokens show, and its passages."""

    def __init__(self, raw: dict[str, Any], token_ids: ArrayLike, spans: Sequence[Span], pieces: Pieces | None) -> None:
        self._token_ids, self._pieces = np.asarray(token_ids), pieces
        self._gaps = _gaps(raw["prompt_length"], spans, len(self._token_ids))
        self._texts: TokenTexts | None = None
        self._shown: dict[int, str] = {}
        self._passages = [Passage(key, title, self._resolved(text)) for key, title, text in raw["passages"]]

    def turn(self, raw: dict[str, Any], number: int) -> Turn:
        """The turn of so many, from 1."""
        text = raw["text"] if "text" in raw else self._text(raw["start"], raw["end"])
        content, observation = raw.get("content", ""), raw.get("observation", "")
        return Turn(
            start=raw["start"],
            end=raw["end"],
            text=text,
            action=ActionKind(raw["action"]),
            content=content if isinstance(content, str) else _cut(text, *content),
            observation=observation if isinstance(observation, str) else _cut(self._gap(number), *observation),
            hits=self.hits(raw.get("hits", ())),
            aside_tokens=raw.get("aside_tokens", 0),
        )

    def hits(self, numbered: Sequence[tuple[int, float]]) -> list[Hit]:
        """Hits with their passages."""
        return [Hit(self._passages[number], score) for number, score in numbered]

    def _resolved(self, text: str | list[Any]) -> str:
        if isinstance(text, str):
            return text
        gap, first, length, remainder = text
        return _cut(self._gap(gap), first, length) + str(remainder)

    def _gap(self, number: int) -> str:
        if number not in self._shown:
            self._shown[number] = self._text(*self._gaps[number])
        return self._shown[number]

    def _text(self, start: int, end: int) -> str:
        if self._pieces is None:
            raise ValueError("a text follows from tokens, but there are no pieces of tokens")
        if self._texts is None:
            self._texts = TokenTexts(self._pieces, self._token_ids)
        return self._texts.text(start, end)


def _cut(text: str, first: int, length: int) -> str:
    return text[first : first + length]


def _gaps(prompt_length: int, spans: Sequence[Span], length: int) -> list[Span]:
    """Where the policy did not generate: the prompt, then what follows each turn."""
    following = [*(start for start, _ in spans[1:]), length]
    return [(0, prompt_length), *((end, start) for (_, end), start in zip(spans, following, strict=False))]


def _sampled(record: MetaEpisode, turns: Sequence[Turn]) -> NDArray[np.float32]:
    """Log-probabilities of the generated tokens, turn after turn; of all tokens where others have some too."""
    values = np.frombuffer(struct.pack(f"={len(record.logprobs)}d", *record.logprobs))
    spans = [(turn.start, turn.end) for turn in turns]
    if not _in_order(spans, len(values)):
        return values.astype(np.float32)
    sampled = np.concatenate([values[:0], *(values[start:end] for start, end in spans)])
    if np.count_nonzero(sampled) < np.count_nonzero(values):
        return values.astype(np.float32)
    return sampled.astype(np.float32)


def _written_out(record: MetaEpisode, logprobs: NDArray[np.float32]) -> dict[str, Any]:
    packed = base64.b64encode(logprobs.astype(FLOAT).tobytes()).decode()
    return {"token_ids": record.token_ids, "logprobs": packed}


def _counted(record: MetaEpisode, logprobs: int) -> dict[str, Any]:
    return {"tokens": len(record.token_ids), "logprobs": logprobs}


def _irregular(record: MetaEpisode, turns: Sequence[Turn]) -> dict[str, list[int]]:
    """Of the parallel lists, what does not follow from the turns."""
    length, lists = len(record.token_ids), {}
    if record.loss_mask != _mask(length, [(turn.start, turn.end) for turn in turns]):
        lists["loss_mask"] = record.loss_mask
    if record.episode_ids != _episode_ids(length, [_first(episode) for episode in record.episodes]):
        lists["episode_ids"] = record.episode_ids
    return lists


def _unpacked(packed: str) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(packed), FLOAT)


def _all_logprobs(sampled: NDArray[np.float32], length: int, spans: Sequence[Span]) -> list[float]:
    """One value for each token."""
    values: list[float] = sampled.tolist()
    if len(values) == length:
        return values
    logprobs, position = [0.0] * length, 0
    for start, end in spans:
        logprobs[start:end] = values[position : position + end - start]
        position += end - start
    if position != len(values) or len(logprobs) != length:
        raise ValueError(f"{len(values)} log-probabilities for {position} generated tokens")
    return logprobs


def _in_order(spans: Sequence[Span], length: int) -> bool:
    """Whether turns follow one another within the tokens."""
    borders = [border for span in spans for border in span]
    return borders == sorted(borders) and (not borders or borders[-1] <= length)


def _mask(length: int, spans: Sequence[Span]) -> list[int]:
    mask: list[int] = []
    for start, end in spans:
        mask += [0] * (start - len(mask))
        mask += [1] * (end - start)
    return mask + [0] * (length - len(mask))


def _first(episode: Episode) -> int | None:
    return episode.turns[0].start if episode.turns else None


def _first_tokens(episodes: Sequence[dict[str, Any]]) -> list[int | None]:
    return [episode["turns"][0]["start"] if episode["turns"] else None for episode in episodes]


def _episode_ids(length: int, first_tokens: Sequence[int | None]) -> list[int]:
    """The episode of each token: an episode lasts until the first generation of the next one."""
    ids: list[int] = []
    for number, first in enumerate(first_tokens[1:]):
        ids += [number] * ((length if first is None else first) - len(ids))
    return ids + [max(0, len(first_tokens) - 1)] * (length - len(ids))
