"""The wire format of Search-R1's `/retrieve`, as its clients see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx

from mrsearch.agent.ports import Hit, Passage, SearchError
from mrsearch.data.corpus import parse_contents

RETRIED_STATUS = {408, 425, 429, 500, 502, 503, 504}
DAMAGED_STATUS = {400, 413, 422}


class TransientError(RuntimeError):
    """Worth another try, after `retry_after` seconds if the server asked for that."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class RefusedError(SearchError):
    """The server will not answer this request however often it is asked."""


def payload(queries: Sequence[str], topk: int) -> dict[str, Any]:
    """The request body; lone surrogates, which JSON cannot carry as UTF-8, become question marks."""
    clean = [query.encode("utf-8", "replace").decode("utf-8") for query in queries]
    return {"queries": clean, "topk": topk, "return_scores": True}


def read_answer(answer: httpx.Response, expected: int) -> list[list[Hit]]:
    """The hits of each query.

    TransientError for a status that may pass, RefusedError for a request the server finds invalid, SearchError for
    every other status, for another format, and for another number of lists than queries.
    """
    if answer.status_code in RETRIED_STATUS:
        raise TransientError(f"{answer.url}: status {answer.status_code}", _retry_after(answer))
    if answer.status_code != 200:
        kind = RefusedError if answer.status_code in DAMAGED_STATUS else SearchError
        raise kind(f"{answer.url} refused the search ({answer.status_code}): {answer.text[:500]}")
    try:
        found = [[_hit(item) for item in items] for items in answer.json()["result"]]
    except (ValueError, KeyError, TypeError) as error:
        raise SearchError(f"{answer.url} answered in another format than Search-R1's /retrieve: {error!r}") from error
    if len(found) != expected:
        raise SearchError(f"{answer.url} answered {len(found)} queries of {expected}")
    return found


def _hit(item: dict[str, Any]) -> Hit:
    document = item["document"]
    title, text = parse_contents(document["contents"])
    return Hit(Passage(str(document.get("id", "")), title, text), float(item["score"]))


def _retry_after(answer: httpx.Response) -> float:
    try:
        return max(0.0, float(answer.headers.get("Retry-After", 0)))
    except ValueError:
        return 0.0
