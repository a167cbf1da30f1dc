"""A recorded output, rendered again under a protocol and compared character by character."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from mrsearch.agent.protocol import read_action
from mrsearch.agent.recordings.answers import counted_answer
from mrsearch.agent.recordings.budgets import COUNT, Budgets
from mrsearch.agent.recordings.difference import SHOWN, THE_END, Difference, Habits
from mrsearch.agent.recordings.file import Recorded
from mrsearch.agent.recordings.prompts import prompt_difference
from mrsearch.agent.recordings.reading import Piece, Reading
from mrsearch.agent.recordings.replies import Replies
from mrsearch.agent.records import ActionKind
from mrsearch.config.protocol import Protocol

_FOREIGN_END = re.compile(r"</\w+>\s*\Z|<\|end_of_\w+\|>\s*\Z")


@dataclass(frozen=True, slots=True)
class Spent:
    """Turns of the episode so far."""

    counted: int = 0
    uncounted: int = 0
    concluded: bool = False
    """Whether the generation without search has been."""

    def over(self, protocol: Protocol) -> bool:
        """Whether no turn is left."""
        return self.counted >= protocol.max_turns or self.uncounted > protocol.max_turns

    def after(self, action: ActionKind, protocol: Protocol) -> Spent:
        """The turns with one more."""
        if self.over(protocol):
            return replace(self, concluded=True)
        if protocol.turns_are == "generations" or action is ActionKind.search:
            return replace(self, counted=self.counted + 1)
        return replace(self, uncounted=self.uncounted + 1)


@dataclass(frozen=True, slots=True)
class Replay:
    """A protocol, played against recorded outputs."""

    protocol: Protocol
    habits: Habits
    count: COUNT | None = None
    """Counts tokens, where the tokenizer is at hand; without it words and bytes bound budgets of tokens."""

    @property
    def budgets(self) -> Budgets:
        """The protocol's budgets."""
        return Budgets(self.protocol, self.habits, self.count)

    @property
    def replies(self) -> Replies:
        """What the protocol says after generations."""
        return Replies(self.protocol, self.habits, self.count)

    def difference(self, recorded: Recorded, reading: Reading) -> Difference | None:
        """The first difference of prompt, response and answer, in this order; None where all are equal."""
        prompt = prompt_difference(recorded, self.protocol, self.habits.wrapped)
        return prompt or self._response(recorded, reading) or self._answer(recorded, reading)

    def _response(self, recorded: Recorded, reading: Reading) -> Difference | None:
        spent = Spent()
        for piece in reading.pieces:
            last = piece is reading.pieces[-1]
            difference = self._piece(recorded, piece, spent, last)
            if difference is None and (last or piece.reflection):
                difference = self._stop(recorded, piece, spent, last)
            if difference is not None:
                return difference
            action, _ = read_action(recorded.response[piece.start : piece.end], self.protocol.tags)
            spent = Spent() if piece.reflection else spent.after(action, self.protocol)
        return self.budgets.context(recorded)

    def _piece(self, recorded: Recorded, piece: Piece, spent: Spent, last: bool) -> Difference | None:
        """The first difference in a generation and what follows it."""
        protocol, response = self.protocol, recorded.response
        text = response[piece.start : piece.end]
        action, _ = read_action(text, protocol.tags)
        closing = self._first_end(text)
        if closing is not None and closing < len(text):
            return self._unexpected(response, piece.start + closing, text[:closing])
        if text and spent.over(protocol) and (spent.concluded or not protocol.final_generation):
            return Difference("response", piece.start, THE_END, response[piece.start :][:SHOWN], "max_turns")
        if over := self.budgets.turn(recorded, piece, last):
            return over
        if piece.reply and action is ActionKind.answer:
            return self._unexpected(response, piece.end, text)
        if piece.reply and spent.over(protocol):
            return Difference("response", piece.end, THE_END, response[piece.end :][:SHOWN], "max_turns")
        clipped = last and self.budgets.is_full(recorded)
        difference = self.replies.reply(response, piece, clipped) if piece.reply else None
        if difference is None and piece.observation and not clipped:
            difference = self.budgets.observation(response, piece.observation)
        if difference is None and piece.reflection:
            difference = self.replies.reflection(response, piece, piece.reflection)
        return difference

    def _unexpected(self, response: str, start: int, generation: str) -> Difference | None:
        """The difference where text stands behind a generation that is no reply of this protocol."""
        if read_action(generation, self.protocol.tags)[0] is ActionKind.answer:
            return Difference("response", start, THE_END, response[start:][:SHOWN], "prompts.reflection")
        return self.replies.mismatch(response, start, self.replies.expected(generation), response[start:])

    def _first_end(self, text: str) -> int | None:
        ends = [text.find(tag) + len(tag) for tag in self.protocol.tags.closing if tag in text]
        return min(ends) if ends else None

    def _stop(self, recorded: Recorded, piece: Piece, spent: Spent, last: bool) -> Difference | None:
        """Whether an episode may be over behind this piece: with an answer, with a generation that was cut, or where
        turns or context are spent."""
        protocol, response = self.protocol, recorded.response
        text = response[piece.start : piece.end]
        action, _ = read_action(text, protocol.tags)
        if action is ActionKind.answer or (last and self.budgets.is_full(recorded)):
            return None
        if last and piece.reply is None and self._first_end(text) is None:
            # A recorder may leave out what follows a cut generation.
            foreign = _FOREIGN_END.search(text) is not None
            closing = protocol.tags.answer.close
            return Difference("response", piece.end, closing, "", "tags.answer") if foreign else None
        over = spent.after(action, protocol).over(protocol)
        if piece.reply is None:
            if spent.over(protocol) or (action is ActionKind.invalid and not protocol.prompts.invalid_action):
                return None
            key = "max_turns" if protocol.final_generation else "final_generation"
            key = "prompts.invalid_action" if action is ActionKind.invalid else key
            return Difference("response", piece.end, self.replies.expected(text)[:SHOWN], "", key)
        if over and not protocol.final_generation:
            return None
        key = "final_generation" if over else "max_turns"
        return Difference("response", piece.replied, "(a generation)", response[piece.replied :][:SHOWN], key)

    def _answer(self, recorded: Recorded, reading: Reading) -> Difference | None:
        if not recorded.has_prediction:
            return None
        answer = counted_answer(recorded.response, reading, self.protocol)
        scored = None if recorded.prediction is None else recorded.prediction.strip()
        if (answer or "") == (scored or ""):
            return None
        return Difference("pred", 0, str(answer), str(scored), "answer")
