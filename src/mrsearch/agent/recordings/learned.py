"""Wording that a protocol lacks, taken from recorded outputs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from mrsearch.agent.formats import instructions
from mrsearch.agent.protocol import read_action
from mrsearch.agent.recordings.difference import common_prefix
from mrsearch.agent.recordings.file import Recorded
from mrsearch.agent.recordings.markup import markup_of
from mrsearch.agent.records import ActionKind
from mrsearch.config.protocol import Protocol
from mrsearch.config.templates import common_template

_COMPARED = 40
"""Characters by which what follows generations is told to begin alike."""


def worded(records: Sequence[Recorded], protocol: Protocol) -> tuple[Protocol, list[str]]:
    """The protocol with the wording that it lacks taken from the records, and a note for each text."""
    learned = dict[str, str]()
    missing = protocol.unworded()
    prompts = [(record.prompt, record.question) for record in records if record.prompt is not None]
    if "search" in missing and prompts:
        learned["search"] = _template(prompts)
    search = learned.get("search", protocol.prompts.search)
    messages = messages_in(records, protocol, search)
    learned |= {name: text for name, text in messages.items() if name in missing}
    notes = [f"the wording of prompts.{name} was taken from the records" for name, text in learned.items() if text]
    texts = protocol.prompts.model_copy(update=learned)
    return protocol.model_copy(update={"prompts": texts}), notes


def messages_in(records: Sequence[Recorded], protocol: Protocol, search: str) -> dict[str, str]:
    """The hint and the reflection prompt as the records have them, whatever the protocol's are; empty where there is
    none. `search` is the first prompt, whose instructions a reflection prompt may repeat."""
    return {
        "invalid_action": _hint(records, protocol),
        "reflection": _reflection(records, protocol, instructions(search)),
    }


def _template(prompts: Sequence[tuple[str, str]]) -> str:
    """The template of most prompts. Those of a chat are read without what stands around them in others."""
    templates = Counter(common_template([pair], "a prompt") for pair in prompts)
    # Without a question mark behind the question, `append_question_mark` adds it again.
    shortest = min(templates, key=len)
    return shortest if all(shortest in template for template in templates) else templates.most_common(1)[0][0]


def _hint(records: Sequence[Recorded], protocol: Protocol) -> str:
    """The words that follow invalid actions: what most of them begin with, up to a line's end."""
    following = [text for text in _following(records, protocol, ActionKind.invalid) if text.strip()]
    shared = _shared(following)
    return _first_line(shared) if shared in following else shared[: shared.rfind("\n") + 1]


def _reflection(records: Sequence[Recorded], protocol: Protocol, repeated: str) -> str:
    """The words that follow answers, without the instructions that they repeat."""
    markup, messages = markup_of(protocol.tags), list[str]()
    for text in _following(records, protocol, ActionKind.answer):
        words = text[markup.end(text, 0) :]
        ended = markup.first(words)
        if words.strip():
            messages.append(_first_line(words) if ended is None else words[:ended])
    shared = _shared(messages).strip()
    return shared.removesuffix(repeated).strip() if protocol.reflection.repeats == "instructions" else shared


def _following(records: Sequence[Recorded], protocol: Protocol, action: ActionKind) -> list[str]:
    """What stands behind each record's first closed generation, where that is of this action and no observation."""
    following = []
    for record in records:
        for match in re.finditer("|".join(map(re.escape, protocol.tags.closing)), record.response):
            text, remainder = record.response[: match.end()], record.response[match.end() :]
            observed = remainder.lstrip().startswith(protocol.tags.information.open)
            if not observed and read_action(text, protocol.tags)[0] is action:
                following.append(remainder)
            break
    return following


def _first_line(text: str) -> str:
    """The text to the end of its first line that is not blank: nothing tells where words end that no other record
    has, and what came after them may be anything."""
    start = len(text) - len(text.lstrip())
    end = text.find("\n", start)
    return text if end < 0 else text[: end + 1]


def _shared(texts: Sequence[str]) -> str:
    """What most of the texts begin with."""
    if not texts:
        return ""
    start, _ = Counter(text[:_COMPARED] for text in texts).most_common(1)[0]
    return common_prefix([text for text in texts if text.startswith(start)])
