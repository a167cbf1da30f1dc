"""The wire format of Search-R1's `/retrieve`, as its clients see it: nothing in an answer is believed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import orjson

from mrsearch.agent.ports import Hit, Passage, SearchError
from mrsearch.data.corpus import parse_contents
from mrsearch.exchange import Reply
from mrsearch.retries import TransientError, may_pass, retry_after

DAMAGED_STATUS = {400, 413, 422}
SHOWN = 200
"""Characters of an answer that an error repeats."""


class RefusedError(SearchError):
    """The server will not answer this request however often it is asked."""


def payload(queries: Sequence[str], topk: int) -> bytes:
    """The request body; lone surrogates, which JSON cannot carry as UTF-8, become question marks."""
    clean = [query.encode("utf-8", "replace").decode("utf-8") for query in queries]
    return orjson.dumps({"queries": clean, "topk": topk, "return_scores": True})


def read_answer(reply: Reply, url: str, queries: int, topk: int) -> list[list[Hit]]:
    """The hits of each query.

    TransientError for a status that may pass, RefusedError for a request the server finds invalid, SearchError for
    every other status, and for an answer that is not what was asked for: another format, another number of lists than
    queries, more than topk hits, a score that is no finite number.
    """
    if may_pass(reply.status):
        raise TransientError(f"{url}: status {reply.status}: {_shown(reply.body)}", retry_after(reply.headers))
    if reply.status != 200:
        kind = RefusedError if reply.status in DAMAGED_STATUS else SearchError
        raise kind(f"{url} refused the search ({reply.status}): {_shown(reply.body)}")
    try:
        lists = _typed(orjson.loads(reply.body), dict, "the answer")["result"]
        if len(_typed(lists, list, "result")) != queries:
            raise ValueError(f"{len(lists)} lists of passages for {queries} queries")
        return [_hits(items, topk) for items in lists]
    except (ValueError, KeyError, RecursionError) as error:
        raise SearchError(
            f"{url} answered otherwise than Search-R1's /retrieve: {str(error)[:SHOWN]}; the answer begins "
            f"{_shown(reply.body)}"
        ) from error


def _hits(items: Any, topk: int) -> list[Hit]:
    if len(_typed(items, list, "a list of passages")) > topk:
        raise ValueError(f"{len(items)} passages for a topk of {topk}")
    return [_hit(item) for item in items]


def _hit(item: Any) -> Hit:
    document = _typed(_typed(item, dict, "a hit")["document"], dict, "document")
    title, text = parse_contents(_typed(document["contents"], str, "contents"))
    identity, score = document.get("id", ""), item["score"]
    if isinstance(identity, bool) or not isinstance(identity, str | int):
        raise ValueError(f"id is {type(identity).__name__}, not text or a whole number")
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise ValueError(f"score is {str(score)[:20]}, not a finite number")
    return Hit(Passage(str(identity), title, text), float(score))


def _typed(value: Any, kind: type, name: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{name} is {type(value).__name__}, not {kind.__name__}")
    return value


def _shown(body: bytes) -> str:
    return repr(body[:SHOWN].decode("utf-8", "replace"))
