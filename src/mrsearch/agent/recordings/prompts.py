"""A recorded prompt, held against a protocol's."""

from __future__ import annotations

from mrsearch.agent.formats import fill
from mrsearch.agent.recordings.difference import SHOWN, Difference, first_difference
from mrsearch.agent.recordings.file import Recorded
from mrsearch.agent.recordings.markup import CHAT_STARTS
from mrsearch.config.protocol import Protocol
from mrsearch.config.wording import UNWORDED


def is_wrapped(recorded: Recorded) -> bool | None:
    """Whether a prompt stands inside a chat template; None where none is recorded."""
    return None if recorded.prompt is None else recorded.prompt.lstrip().startswith(CHAT_STARTS)


def prompt_difference(recorded: Recorded, protocol: Protocol, mostly_wrapped: bool | None) -> Difference | None:
    """The first difference between a recorded prompt and the protocol's; None where no prompt is recorded.

    `chat` is held against what most prompts of the file do.
    """
    if recorded.prompt is None or protocol.prompts.search == UNWORDED:
        return None
    prompt, wrapped = recorded.prompt, is_wrapped(recorded)
    user = fill(protocol.prompts.search, question=protocol.question_text(recorded.question))
    if mostly_wrapped == wrapped and (protocol.chat == "template") != wrapped:
        shown = "the prompt inside a chat template" if protocol.chat == "template" else user[:SHOWN]
        return Difference("prompt", 0, shown, prompt[:SHOWN], "chat")
    if wrapped and protocol.prompts.system is not None and protocol.prompts.system not in prompt:
        return Difference("prompt", 0, protocol.prompts.system[:SHOWN], prompt[:SHOWN], "prompts.system")
    for side in ("open", "close"):
        tag = getattr(protocol.tags.think, side)
        if tag not in prompt:
            return Difference("prompt", 0, tag, prompt[:SHOWN], f"tags.think.{side}")
    if user not in prompt or (not wrapped and user != prompt):
        return _first_difference(recorded, prompt, user, protocol)
    return None


def _first_difference(recorded: Recorded, prompt: str, user: str, protocol: Protocol) -> Difference:
    start = max(prompt.find(user[:20]), 0)
    offset = first_difference(user, prompt[start:])
    question = recorded.question.strip()
    at_mark = offset == user.rfind(question) + len(question)
    key = "append_question_mark" if at_mark and _other_mark(recorded, prompt, protocol) else "prompts.search"
    return Difference("prompt", start + offset, user[offset : offset + SHOWN], prompt[start + offset :][:SHOWN], key)


def _other_mark(recorded: Recorded, prompt: str, protocol: Protocol) -> bool:
    """Whether the prompt is the protocol's but for the question mark."""
    opposite = protocol.model_copy(update={"append_question_mark": not protocol.append_question_mark})
    return fill(protocol.prompts.search, question=opposite.question_text(recorded.question)) in prompt
