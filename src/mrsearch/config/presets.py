"""Protocols by name: the formats that published checkpoints were trained in. No published wording stands here."""

from __future__ import annotations

from typing import Any, Protocol

from mrsearch.config.wording import UNWORDED


class PromptSet(Protocol):
    """Prompts and format of an installed package, as entry points of the group `mrsearch.prompt_sets` name them: a
    function, or an object that can be called. A mapping of the keys that it would return does as well.

    It may have a pydantic model `Settings`.
    """

    def __call__(self, settings: Any) -> dict[str, Any]:
        """Keys of the study's `protocol`, with their values; the study may give them others."""
        ...


OWN_FORMAT: dict[str, Any] = {}
"""This project's."""
SEARCH_R1: dict[str, Any] = {
    "prompts": {"search": UNWORDED, "invalid_action": UNWORDED},
    "passage_format": "Doc {rank}(Title: {title}) {text}\n",
    "observation_format": "\n\n{information}{passages}{/information}\n\n",
    "title_quotes": "kept",
    "strip_passages": True,
    "observation_limit": "passages",
    "max_observation_tokens": 500,
    "max_turn_tokens": 500,
    "max_context_tokens": 4096,
    "max_turns": 4,
    "invalid_action_role": "assistant",
    "turns_are": "generations",
    "final_generation": True,
    "context_overflow": "rolling",
    "chat": "none",
    "answer": "last",
    "append_question_mark": True,
}
"""Search-R1 (arXiv 2503.09516)."""
MR_SEARCH: dict[str, Any] = {
    **SEARCH_R1,
    "prompts": {"search": UNWORDED, "invalid_action": UNWORDED, "reflection": UNWORDED},
    "observation_limit": "observation",
    "max_observation_tokens": 1024,
    "max_turn_tokens": 1024,
    "max_context_tokens": 8192,
    "max_turns": 3,
    "final_generation": False,
    "chat": "template",
    "reflection": {"role": "user", "repeats": "instructions"},
}
"""MR-Search's released scripts (arXiv 2603.11327)."""
R1_SEARCHER: dict[str, Any] = {
    "prompts": {"search": UNWORDED, "invalid_action": ""},
    "tags": {
        "search": {"open": "<|begin_of_query|>", "close": "<|end_of_query|>"},
        "information": {"open": "<|begin_of_documents|>", "close": "<|end_of_documents|>"},
    },
    "passage_format": "({rank}){contents}\n",
    "observation_format": "\n\n{information}\n{passages}{/information}\n\n",
    "title_quotes": "kept",
    "strip_passages": False,
    "max_observation_tokens": 4096,
    "max_turn_tokens": 1024,
    "max_context_tokens": 8192,
    "max_turns": 8,
    "invalid_action_role": "assistant",
    "turns_are": "searches",
    "final_generation": True,
    "context_overflow": "end",
    "chat": "none",
    "answer": "last",
    "append_question_mark": False,
}
"""R1-Searcher (arXiv 2503.05592)."""
PRESETS: dict[str, dict[str, Any]] = {
    "own": OWN_FORMAT,
    "search_r1": SEARCH_R1,
    "mr_search": MR_SEARCH,
    "r1_searcher": R1_SEARCHER,
}
TAKE_FROM = {
    "search": (
        "protocol.wording.prompts: the training file of the checkpoint, for Search-R1 and MR-Search train.parquet of "
        "PeterJinGo/nq_hotpotqa_train (`mrsearch data download --row nq_hotpotqa`), or a text file with {question}"
    ),
    "invalid_action": "protocol.wording.invalid_action: a text file with the hint, which stands in the generation code",
    "reflection": "protocol.wording.reflection: a text file with the message, which stands in the generation code",
}
"""Where the wording of a prompt comes from, by prompt."""


def merged(preset: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """The preset's keys with the overrides ones over them, groups key by key."""
    combined = {**preset, **overrides}
    for key, value in preset.items():
        if isinstance(value, dict) and isinstance(overrides.get(key), dict):
            combined[key] = merged(value, overrides[key])
    return combined
