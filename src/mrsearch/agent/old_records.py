"""Files of records of version 1, which `mrsearch records convert` alone reads: gzipped lines of JSON."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from mrsearch.agent.ports import Hit, Passage
from mrsearch.agent.records import ActionKind, Episode, MetaEpisode, Question, StopReason, Turn


def read_old_records(path: Path) -> Iterator[MetaEpisode]:
    """The records of a file of version 1; a broken line, or a file that was cut, is a ValueError that names both."""
    number = 0
    try:
        with gzip.open(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield _record(orjson.loads(line))
                except (ValueError, KeyError, TypeError) as error:
                    raise ValueError(f"{path}, line {number}: not a meta-episode: {error}") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: damaged after line {number}: {error}") from error


def _record(raw: dict[str, Any]) -> MetaEpisode:
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
