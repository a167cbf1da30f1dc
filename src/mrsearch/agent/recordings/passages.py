"""The passages inside a recorded observation."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mrsearch.agent.ports import Hit, Passage
from mrsearch.config.protocol import Protocol


def bare_passages(text: str, protocol: Protocol) -> str:
    """The text between the tags of an observation without what its format puts around the passages."""
    before, _, after = protocol.observation_text.partition("{passages}")
    head = before.partition(protocol.tags.information.open)[2]
    foot = after.partition(protocol.tags.information.close)[0]
    return text.removeprefix(head).removesuffix(foot)


def read_passages(text: str, protocol: Protocol) -> list[Hit]:
    """The passages that a text of an observation holds; none where it says so, or is no passage.

    White space at both ends belongs to the observation's format. A passage reaches up to the next one, whose rank is
    one higher; what does not begin with the first passage is no passage at all.
    """
    body = text.strip()
    if body == protocol.no_hits.strip():
        return []
    starts = list(_starts(body, protocol.passage_format))
    if not starts or starts[0].start() != 0:
        return []
    ends = [*(match.start() for match in starts[1:]), len(body)]
    return [
        _hit(protocol, body[match.start() : end], rank)
        for rank, (match, end) in enumerate(zip(starts, ends, strict=True), 1)
    ]


def _starts(body: str, template: str) -> Iterator[re.Match[str]]:
    """Where passage 1, 2, ... begin: the template's text up to its first field besides the rank."""
    head = re.split(r"\{(?:title|text|contents)\}", template, maxsplit=1)[0]
    position, rank = 0, 1
    while True:
        heading = re.escape(head.replace("{rank}", str(rank)))
        difference = re.compile(r"(?:\A|(?<=\n))" + heading if head.strip() else r"(?:\A|(?<=\n))").search(
            body, position
        )
        if difference is None or (rank > 1 and difference.start() == len(body)):
            return
        yield difference
        position, rank = max(difference.end(), difference.start() + 1), rank + 1


def _hit(protocol: Protocol, text: str, rank: int) -> Hit:
    """The passage of a piece of text; title and text are empty where the piece was cut before them."""
    template = protocol.passage_format.rstrip("\n")
    segments = re.split(r"(\{rank\}|\{title\}|\{text\}|\{contents\})", template)
    patterns = {
        "{rank}": re.escape(str(rank)),
        "{title}": r'(?P<title>"(?:[^"\n]|"")*"|[^\n]*?)',
        "{text}": r"(?P<text>.*)",
        "{contents}": r'(?:(?P<title>"(?:[^"\n]|"")*") )?(?P<text>.*)',
    }
    full_text = re.compile("".join(patterns.get(segment, re.escape(segment)) for segment in segments), re.DOTALL)
    match = full_text.fullmatch(text.rstrip("\n"))
    if match is None:
        return Hit(Passage("", "", text), 0.0)
    groups = match.groupdict()
    return Hit(Passage("", groups.get("title") or "", groups.get("text") or ""), 0.0)
