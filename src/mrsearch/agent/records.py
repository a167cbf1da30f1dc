"""What a meta-episode leaves behind: the one file format of training, evaluation, report and viewer."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from mrsearch.agent.ports import Hit, Passage
from mrsearch.files import atomic_file
from mrsearch.seal import seal_file


class ActionKind(StrEnum):
    """What a generation asked for."""

    search = "search"
    answer = "answer"
    invalid = "invalid"


class StopReason(StrEnum):
    """Why an episode or a meta-episode ended."""

    answered = "answered"
    """The episode gave an answer; of a meta-episode: its last episode did."""
    turn_limit = "turn_limit"
    """The turn budget was spent without an answer."""
    context_limit = "context_limit"
    """The context was full; no later episode exists."""
    search_failed = "search_failed"
    """The search engine failed for good; no later episode exists."""
    deadline = "deadline"
    """The question's time was over; no later episode exists."""
    agreed = "agreed"
    """Of a meta-episode: its last answers agreed, so that no later episode was needed."""
    confident = "confident"
    """Of a meta-episode: the policy was sure of its last answer, so that no later episode was needed."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its gold answers."""

    id: str
    question: str
    golden_answers: tuple[str, ...]
    benchmark: str = ""


@dataclass(slots=True)
class Turn:
    """One generation and, if it was a search, the observation that answers it. Offsets index the
    meta-episode's tokens."""

    start: int
    """First token of the generation."""
    end: int
    """One past its last token."""
    text: str
    """The generation, decoded."""
    action: ActionKind
    content: str
    """Query or answer; empty for an invalid action."""
    observation: str = ""
    """Text that came back: passages, or the hint after an invalid action."""
    hits: list[Hit] = field(default_factory=list)
    aside_tokens: int = 0
    """Tokens generated for this turn that are not part of the transcript: what `ircot` said beyond its sentence, and
    `search_o1`'s reading of the passages."""


@dataclass(slots=True)
class Episode:
    """Turns up to an answer, or until a budget is spent."""

    turns: list[Turn] = field(default_factory=list)
    answer: str | None = None
    stop: StopReason = StopReason.turn_limit


@dataclass(slots=True)
class MetaEpisode:
    """Episodes joined by reflection prompts in one context.

    `token_ids`, `loss_mask`, `episode_ids` and `logprobs` have equal lengths T: the whole transcript, what the policy
    generated (1), the episode of each token (the prompt belongs to 0, a reflection prompt to the episode before it)
    and the sampled log-probabilities (0.0 where the policy generated nothing).
    """

    question: Question
    token_ids: list[int]
    loss_mask: list[int]
    episode_ids: list[int]
    logprobs: list[float]
    prompt_length: int
    """Tokens of the first prompt."""
    episodes: list[Episode]
    stop: StopReason
    context: str = "full"
    """Context policy: full, previous or independent."""
    episode_starts: list[int] = field(default_factory=list)
    """Where each episode's own part begins: 0, then the first token of each reflection prompt."""
    search_failures: int = 0
    prompt_hits: list[Hit] | None = None
    """What the search behind the first prompt found, where no turn shows it: `ircot`'s, and `rag`'s where it found
    nothing. None where there was no such search."""
    tags: dict[str, Any] = field(default_factory=dict)
    """Study, model, method, seed, decoding, scores: whatever the writer of a file adds."""

    def visible(self, episode: int) -> list[tuple[int, int]]:
        """Ranges of `token_ids` that stand in the context when `episode` begins, in order, up to its own part."""
        start = self.episode_starts[episode]
        if self.context == "independent" and episode:
            return [(0, self.prompt_length)]
        if self.context == "full" or episode <= 1:
            return [(0, start)]
        return [(0, self.prompt_length), (self.episode_starts[episode - 1], start)]


def write_records(path: Path, records: Iterable[MetaEpisode]) -> int:
    """Write gzipped jsonl atomically, equal records as equal bytes; returns the count."""
    with atomic_file(path) as draft:
        return _pack(draft, records)


def write_sealed_records(path: Path, records: Iterable[MetaEpisode]) -> int:
    """`write_records`, and beside the file what `seal.is_sealed` knows a whole one by. The seal comes first: whoever is
    interrupted between the two leaves no file."""
    with atomic_file(path) as draft:
        count = _pack(draft, records)
        seal_file(path, draft, count)
    return count


def _pack(path: Path, records: Iterable[MetaEpisode]) -> int:
    count = 0
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
        for record in records:
            packed.write(as_json(record).encode() + b"\n")
            count += 1
    return count


def read_records(path: Path) -> Iterator[MetaEpisode]:
    """The records of a file that `write_records` wrote; a broken line, or a file that was cut, is a ValueError that
    names file and line."""
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield from_json(line)
                except (ValueError, KeyError, TypeError) as error:
                    raise ValueError(f"{path}, line {number}: not a meta-episode: {error}") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: damaged after line {number}: {error}") from error


def as_json(record: MetaEpisode) -> str:
    """One line that `from_json` reads."""
    return json.dumps(asdict(record), ensure_ascii=False, separators=(",", ":"))


def from_json(line: str) -> MetaEpisode:
    """The record of a line; ValueError, KeyError or TypeError where it is none."""
    raw: dict[str, Any] = json.loads(line)
    question = Question(**{**raw["question"], "golden_answers": tuple(raw["question"]["golden_answers"])})
    episodes = [
        Episode([_turn(turn) for turn in episode["turns"]], episode["answer"], StopReason(episode["stop"]))
        for episode in raw["episodes"]
    ]
    prompt_hits = raw.get("prompt_hits")
    typed = {"question": question, "episodes": episodes, "stop": StopReason(raw["stop"])}
    return MetaEpisode(**{**raw, **typed, "prompt_hits": None if prompt_hits is None else _hits(prompt_hits)})


def _turn(raw: dict[str, Any]) -> Turn:
    return Turn(**{**raw, "action": ActionKind(raw["action"]), "hits": _hits(raw["hits"])})


def _hits(raw: list[dict[str, Any]]) -> list[Hit]:
    return [Hit(Passage(**hit["passage"]), hit["score"]) for hit in raw]
