"""The answer of a recorded output."""

from __future__ import annotations

from mrsearch.agent.protocol import read_action
from mrsearch.agent.recordings.reading import Reading
from mrsearch.agent.records import ActionKind
from mrsearch.config.protocol import Protocol


def counted_answer(response: str, reading: Reading, protocol: Protocol) -> str | None:
    """The answer of a recorded response that counts under a protocol; None where that gave none."""
    answers: list[str | None] = [None]
    for piece in reading.pieces:
        action, content = read_action(response[piece.start : piece.end], protocol.tags)
        if action is ActionKind.answer:
            answers[-1] = content
        if piece.reflection and piece is not reading.pieces[-1]:
            answers.append(None)
    answered = [answer for answer in answers if answer is not None]
    if protocol.answer == "last_valid":
        return answered[-1] if answered else None
    return answers[0 if protocol.answer == "first" else -1]
