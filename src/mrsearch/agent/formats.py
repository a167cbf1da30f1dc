"""The protocol's formats, filled with plain text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mrsearch.agent.ports import Hit
from mrsearch.config.protocol import Protocol


def joined_passages(protocol: Protocol, hits: Sequence[Hit]) -> str:
    """The passages of one search as text, whole."""
    text = "".join(
        fill(
            protocol.passage_format,
            rank=str(rank),
            title=title_of(protocol, hit),
            text=hit.passage.text,
            contents=contents_of(protocol, hit),
        )
        for rank, hit in enumerate(hits, 1)
    )
    return text.strip() if protocol.strip_passages else text


def title_of(protocol: Protocol, hit: Hit) -> str:
    """A hit's title with or without the quotes that it has in the corpus file."""
    title = hit.passage.title
    quoted = len(title) > 1 and title[0] == title[-1] == '"'
    return title[1:-1] if quoted and protocol.title_quotes == "removed" else title


def contents_of(protocol: Protocol, hit: Hit) -> str:
    """A hit's title and text as one."""
    return f"{title_of(protocol, hit)} {hit.passage.text}".strip()


def instructions(prompt: str) -> str:
    """A prompt up to its question, the question's label left out."""
    return re.sub(r"\s*(\w+:)?\s*\Z", "", prompt.partition("{question}")[0])


def reflection_template(reflection: str, search: str, repeats: str) -> tuple[str, str]:
    """The reflection prompt as it is, and what of the search prompt follows it with a {question} to fill: nothing but
    where the question is repeated."""
    if repeats == "nothing":
        return reflection, ""
    if repeats == "instructions":
        return f"{reflection}\n{instructions(search)}", ""
    return f"{reflection}\n", search


def fill(template: str, **values: str) -> str:
    """`template` with each `{name}` replaced in one pass, so that all other braces stay as they are."""
    return re.sub("|".join(rf"\{{{name}\}}" for name in values), lambda match: values[match[0][1:-1]], template)
