"""What a protocol says after a generation, held against what was recorded there."""

from __future__ import annotations

from dataclasses import dataclass

from mrsearch.agent.formats import fill, joined_passages, reflection_template
from mrsearch.agent.protocol import read_action
from mrsearch.agent.recordings.budgets import COUNT, SLACK, size_of
from mrsearch.agent.recordings.difference import SHOWN, THE_END, Difference, Habits, first_difference
from mrsearch.agent.recordings.passages import bare_passages
from mrsearch.agent.recordings.reading import Piece, RecordedMessage
from mrsearch.agent.records import ActionKind
from mrsearch.config.protocol import Protocol


@dataclass(frozen=True, slots=True)
class Replies:
    """A protocol's observations, hints and reflection prompts."""

    protocol: Protocol
    habits: Habits
    count: COUNT | None

    def expected(self, text: str, piece: Piece | None = None) -> str:
        """What the protocol sends after a generation, with the passages that were recorded."""
        protocol = self.protocol
        action, _ = read_action(text, protocol.tags)
        if action is ActionKind.invalid:
            return protocol.prompts.invalid_action
        if action is ActionKind.answer:
            return ""
        observation = piece.observation if piece else None
        passages = joined_passages(protocol, observation.hits) if observation and observation.hits else protocol.no_hits
        shown = bare_passages(observation.inner, protocol) if observation else ""
        if observation and passages.rstrip().startswith(shown) and self._spent(shown):
            # The cut may have taken the white space behind the last passage.
            passages = shown
        return fill(protocol.observation_text, passages=passages)

    def _spent(self, passages: str) -> bool:
        """Whether passages may be all that the budget let through."""
        limit, size = self.protocol.max_observation_tokens, size_of(passages, self.count)
        near = size.least - SLACK <= limit <= size.most + SLACK
        return near and self.protocol.observation_limit == "passages" and self.habits.space_inside

    def reply(self, response: str, piece: Piece, clipped: bool) -> Difference | None:
        """The difference between the expected reply to a piece and the recorded one, which may have lost its end to a
        full context where it is `clipped`."""
        expected = self.expected(response[piece.start : piece.end], piece)
        if clipped and expected.startswith(response[piece.end : piece.replied]):
            return None
        hint = piece.hint
        if hint is None or expected != self.protocol.prompts.invalid_action:
            return self.mismatch(response, piece.end, expected, response[piece.end : piece.replied])
        recorded = response[hint.words_start : hint.words_end]
        if hint.is_user_turn:
            # White space at a message's ends may be the template's.
            expected, recorded = expected.strip(), recorded.strip()
        return self._role(response, piece, hint) or self.mismatch(response, hint.words_start, expected, recorded)

    def mismatch(self, response: str, start: int, expected: str, recorded: str) -> Difference | None:
        """The difference between what is expected and recorded from `start` on. White space behind what is expected
        may belong to the next generation, but not where it stands in every record."""
        if not expected:
            return Difference("response", start, THE_END, recorded[:SHOWN], "prompts.invalid_action")
        if self._cut_off(recorded, expected):
            return None
        if recorded.startswith(expected):
            remainder, tail = recorded[len(expected) :], expected[len(expected.rstrip()) :]
            is_hint = expected == self.protocol.prompts.invalid_action
            habit = self.habits.after_hint if is_hint else self.habits.after_observation
            if not remainder or (not remainder.strip() and len(tail) >= len(habit)):
                return None
        offset = first_difference(expected, recorded)
        key = self._key(expected, offset)
        return Difference("response", start + offset, expected[offset:][:SHOWN], recorded[offset:][:SHOWN], key)

    def reflection(self, response: str, piece: Piece, message: RecordedMessage) -> Difference | None:
        """The difference between the expected reflection prompt and the recorded one."""
        protocol, prompts = self.protocol, self.protocol.prompts
        fixed, template = reflection_template(prompts.reflection, prompts.search, protocol.reflection.repeats)
        expected = (fixed + template).partition("{question}")[0]
        recorded = response[message.words_start : message.words_end]
        in_user_turn = protocol.chat == "template" and protocol.reflection.role == "user"
        if in_user_turn:
            expected, recorded = expected.strip(), recorded.strip()
        offset = first_difference(expected, recorded)
        more = "" if template else recorded[len(expected) :].strip()
        if offset < len(expected) or more:
            key = "reflection.repeats" if recorded.strip().startswith(prompts.reflection.strip()) else ""
            shown = expected[offset:][:SHOWN] or THE_END, recorded[offset:][:SHOWN]
            return Difference("response", message.words_start + offset, *shown, key or "prompts.reflection")
        if message.is_user_turn != in_user_turn:
            shown = expected[:SHOWN], response[piece.replied : message.end][:SHOWN]
            return Difference("response", piece.replied, *shown, "reflection.role")
        return None

    def _role(self, response: str, piece: Piece, hint: RecordedMessage) -> Difference | None:
        """Whether a hint stands in the turn that the protocol says."""
        protocol = self.protocol
        role = protocol.invalid_action_role
        user = protocol.chat == "template" and (role == "user" or (role == "turn" and hint.closes_turn))
        if hint.is_user_turn == user:
            return None
        shown = f"(a message of the {'user' if user else 'assistant'})", response[piece.end : hint.end][:SHOWN]
        return Difference("response", piece.end, *shown, "invalid_action_role")

    def _cut_off(self, recorded: str, expected: str) -> bool:
        """Whether an observation lost its end to a budget that counts its tags."""
        close = self.protocol.tags.information.close
        if self.protocol.observation_limit != "observation" or close in recorded or close not in expected:
            return False
        near = self.count is None or 0 <= self.protocol.max_observation_tokens - self.count(recorded) <= SLACK
        return expected.startswith(recorded) and near

    def _key(self, expected: str, offset: int) -> str:
        """The key that the expected text at `offset` comes from."""
        protocol = self.protocol
        if expected == protocol.prompts.invalid_action:
            return "prompts.invalid_action"
        before, _, after = protocol.observation_text.partition("{passages}")
        opening, closing, behind = protocol.tags.information.open, protocol.tags.information.close, len(expected)
        if offset < len(before):
            return "tags.information.open" if _inside(before, opening, offset) else "observation_format"
        if offset >= behind - len(after):
            inside = _inside(after, closing, offset - (behind - len(after)))
            return "tags.information.close" if inside else "observation_format"
        return "no_hits" if protocol.no_hits in expected[len(before) : behind - len(after)] else "passage_format"


def _inside(text: str, tag: str, offset: int) -> bool:
    return tag in text and text.index(tag) <= offset < text.index(tag) + len(tag)
