"""Keys of a protocol that recorded outputs do not show, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mrsearch.agent.recordings.causes import Read
from mrsearch.agent.recordings.keys import all_keys, other_values, with_value
from mrsearch.agent.recordings.replay import Replay

UNREAD = {
    "preset": "it is a name; every key that it sets is checked by itself",
    "wording": "it names files; their texts are checked as prompts",
    "scoring": "rewards leave no trace in text",
    "chat_template": "the model's template reads it, whose text is not compared",
    **dict.fromkeys(
        (f"prompts.{name}" for name in ("direct", "cot", "rag", "ircot", "conclude", "read")),
        "a searching agent does not read it",
    ),
}
"""Keys that no record of a searching agent can show."""
REASONS = {
    "prompts.system": "no prompt here stands inside a chat template",
    "prompts.search": "no prompt is recorded",
    "prompts.reflection": "no record here has a second episode",
    "prompts.invalid_action": "no generation here is followed by a hint",
    "reflection": "no record here has a second episode, or its text is the same either way",
    "tags.think": "no prompt is recorded",
    "tags": "no record here holds this tag",
    "passage_format": "no record here holds a passage",
    "observation_format": "no record here holds an observation",
    "title_quotes": "no title here stands in quotes",
    "strip_passages": "no record here holds a passage",
    "no_hits": "every search here found something",
    "observation_limit": "no observation here is seen to be cut",
    "max_observation_tokens": "no observation here is seen to be cut there",
    "max_turn_tokens": "no generation here is seen to be cut there",
    "max_context_tokens": "no record here ends for want of context; text does not show what a rolling one leaves out",
    "context_overflow": "no record here is known to come to max_context_tokens",
    "max_turns": "no episode here uses up its turns",
    "turns_are": "no episode here uses up its turns after an invalid action",
    "final_generation": "no episode here uses up its turns",
    "invalid_action_role": "no hint here would look otherwise: without a chat template every turn does",
    "chat": "no prompt is recorded",
    "answer": "no record here holds a scored answer that several episodes could have given",
    "append_question_mark": "no question here lacks its question mark, or no prompt is recorded",
}
"""Why other keys, or groups of keys, may not be shown."""
NOTHING_TELLS = "nothing in these records tells its values apart"
"""Where no such reason is known."""
WITHOUT_TOKENIZER = "; without --tokenizer words and bytes alone bound it"


@dataclass(frozen=True, slots=True)
class Unshown:
    """A key whose other values the records would bear as well."""

    key: str
    values: tuple[Any, ...]
    """The values that were tried and make no difference; empty where no value could make one."""
    reason: str

    def __str__(self) -> str:
        texts = self.key.startswith(("prompts.", "tags.")) or self.key in ("passage_format", "no_hits")
        passing = "another text" if texts else " or ".join(str(value).lower() for value in self.values)
        return (
            f"{self.key} ({passing} would pass as well): {self.reason}" if self.values else f"{self.key}: {self.reason}"
        )


def unshown_keys(pairs: Sequence[Read], replay: Replay) -> list[Unshown]:
    """The keys that could have another value without any difference in these records, which are all equal so far.

    Values that the configuration refuses are not tried.
    """
    unshown = list[Unshown]()
    for key, value in all_keys(replay.protocol).items():
        if reason := UNREAD.get(key.split(".")[0]) or UNREAD.get(key):
            unshown.append(Unshown(key, (), reason))
            continue
        values = tuple(changed for changed in other_values(key, value) if not _noticed(pairs, replay, key, changed))
        if values:
            unshown.append(Unshown(key, values, _reason(key, replay)))
    return unshown


def _noticed(pairs: Sequence[Read], replay: Replay, key: str, value: Any) -> bool:
    try:
        variant = replace(replay, protocol=with_value(replay.protocol, key, value))
    except ValueError:
        return True
    return any(variant.difference(*pair) is not None for pair in pairs)


def _reason(key: str, replay: Replay) -> str:
    names_of_key = key.split(".")
    names = (".".join(names_of_key[:size]) for size in range(len(names_of_key), 0, -1))
    reason = next((REASONS[name] for name in names if name in REASONS), NOTHING_TELLS)
    measured = key.endswith("_tokens") or key in ("context_overflow", "observation_limit")
    return reason + (WITHOUT_TOKENIZER if measured and replay.count is None else "")
