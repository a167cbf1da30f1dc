"""Parts of a set of questions, chosen by the sha1 of their ids: the same on every machine, and smaller ones lie within
larger ones."""

from __future__ import annotations

import hashlib
from typing import Any


def first_by_id(rows: list[dict[str, Any]], count: int | None) -> list[dict[str, Any]]:
    """The first `count` rows by sha1 of the id; all of them, in their own order, for None."""
    return rows if count is None else sorted(rows, key=lambda row: hashed_id(row["id"]))[:count]


def hashed_id(identifier: str) -> str:
    """The sha1 of an id, by which questions are chosen."""
    return hashlib.sha1(identifier.encode(), usedforsecurity=False).hexdigest()


def split_by_id(
    rows: list[dict[str, Any]], share: float, where: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The share of the rows that comes first by sha1 of the id, rounded, and the others; both in the rows' order.

    ValueError, naming `where`, where one of the two would be empty.
    """
    count = round(share * len(rows))
    if not 0 < count < len(rows):
        raise ValueError(
            f"data.validation_share ({share:g}) of the {len(rows)} questions of {where} leaves "
            f"{count} to validation and {len(rows) - count} to training: both need one at least"
        )
    ids = {row["id"] for row in first_by_id(rows, count)}
    return [row for row in rows if row["id"] in ids], [row for row in rows if row["id"] not in ids]
