"""Whether a model fits the prompts that it is evaluated with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mrsearch.config import Study
from mrsearch.config.models import FolderModel
from mrsearch.config.protocol import Protocol
from mrsearch.config.trained_models import differing, training_record

MOSTLY = 0.5
SAMPLED = 20
"""Questions of a benchmark that are read for their unknown tokens."""


def doubts(study: Study, model: str, policy: Path, questions: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence for each reason to doubt an evaluation's numbers, empty where there is none.

    policy: folder of the evaluated weights. questions: texts by benchmark.
    """
    return [*_unread(study.protocol, policy, questions), *_other_protocol(study, model, policy)]


def unread_share(tokenizer: Any, text: str) -> float:
    """How much of a text, white space aside, its tokens do not hold: characters that became unknown tokens or none."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    read = {
        position
        for token, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        if token != tokenizer.unk_token_id
        for position in range(start, end)
    }
    visible = {position for position, letter in enumerate(text) if not letter.isspace()}
    return len(visible - read) / len(visible) if visible else 0.0


def _unread(protocol: Protocol, policy: Path, questions: Mapping[str, Sequence[str]]) -> Iterator[str]:
    from mrsearch.policy.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(policy)
    texts = {"the prompt": [protocol.tagged(protocol.prompts.search).replace("{question}", "")]}
    texts |= {f"{benchmark}'s questions": list(sample[:SAMPLED]) for benchmark, sample in questions.items()}
    for name, sample in texts.items():
        if (share := unread_share(tokenizer, " ".join(sample))) > MOSTLY:
            yield (
                f"{policy}: {share:.0%} of the letters of {name} are unknown to the tokenizer, so the model reads next "
                "to nothing: choose a model of this language, or the tokenizer that belongs to the weights"
            )


def _other_protocol(study: Study, model: str, policy: Path) -> Iterator[str]:
    config = study.models[model]
    folders = [policy, Path(config.path)] if isinstance(config, FolderModel) else [policy]
    # A model that was trained from the folder of another study shows its own training.
    record = next((training for folder in folders if (training := training_record(folder))), None)
    if record is not None and (keys := differing(record[1], study.protocol)):
        yield (
            f"{policy}: was trained under another protocol ({record[0]}): {', '.join(keys)} differ, so its numbers do "
            "not show what it learned: take the protocol of its training"
        )
