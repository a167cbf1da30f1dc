"""Ids that must be unique, and where they are not."""

from __future__ import annotations

from collections.abc import Iterable


def refuse_repeated(identifiers: Iterable[tuple[int, str]], where: str, unit: str) -> None:
    """ValueError that counts the ids which stand at several places and names the first of them with its first two.

    identifiers: (position, id). where: the file. unit: what a position counts, such as rows.
    """
    first: dict[str, int] = {}
    repeated: dict[str, tuple[int, int]] = {}
    for position, identifier in identifiers:
        if identifier not in first:
            first[identifier] = position
        elif identifier not in repeated:
            repeated[identifier] = (first[identifier], position)
    for identifier, (first_position, second_position) in repeated.items():
        raise ValueError(
            f"{where}: {len(repeated)} ids appear more than once, {identifier!r:.120} among them "
            f"({unit} {first_position} and {unit} {second_position}): ids must be unique"
        )
