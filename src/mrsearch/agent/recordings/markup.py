"""What chat templates put around messages, as it stands in recorded text."""

from __future__ import annotations

import re
from functools import cache

from mrsearch.config.wording import Tags

CHAT_STARTS = ("<|", "[INST]", "<s>", "<bos>", "<start_of_turn>")
"""How prompts inside a chat template begin."""
_MARKER = r"<\|[^|<>\n]*\|>|<(?:start|end)_of_turn>|\[/?INST\]|</?s>"
_ROLE = r"(?:system|user|assistant|model)"
_USER = re.compile(r"user|\[INST\]")
_WINDOW = 200
"""Characters before a message in which its markup is looked for."""


class Markup:
    """The control tokens and role names of chat templates; a protocol's own tags are none."""

    def __init__(self, tags: tuple[str, ...]) -> None:
        protocol_tags = "|".join(map(re.escape, tags))
        run = rf"(?:(?!{protocol_tags})(?:{_MARKER})(?:\s*{_ROLE}(?=\s|<))?\s*)+"
        self._before = re.compile(run + r"\Z")
        self._after = re.compile(r"\s*" + run)
        self._marker = re.compile(rf"(?!{protocol_tags})(?:{_MARKER})")
        self._ended = re.compile(rf"(?!{protocol_tags})(?:{_MARKER})\s*\Z")

    def start(self, text: str, end: int) -> int:
        """Where the markup that ends at `end` begins; `end` itself where there is none."""
        window = max(0, end - _WINDOW)
        match = self._before.search(text[window:end])
        return window + match.start() if match else end

    def end(self, text: str, start: int) -> int:
        """Where the markup that begins at `start`, white space included, ends; `start` itself where there is none."""
        match = self._after.match(text, start)
        return match.end() if match else start

    @staticmethod
    def opens_user_turn(markup: str) -> bool:
        """Whether a message behind this markup is a user's."""
        return _USER.search(markup) is not None

    def first(self, text: str) -> int:
        """Where the first control token stands; the text's length where there is none."""
        match = self._marker.search(text)
        return match.start() if match else len(text)

    def is_end(self, text: str) -> bool:
        """Whether `text` ends with a control token, which closed its turn."""
        return self._ended.search(text) is not None


def markup_of(tags: Tags) -> Markup:
    """The markup that is told apart from these tags."""
    return _markup_beside(tags.texts)


_markup_beside = cache(Markup)
