"""The words that a vocabulary of whole words must have, because prompts and formats say them."""

from __future__ import annotations

from mrsearch.config.protocol import Protocol
from mrsearch.config.study import Study


def prompt_words(protocol: Protocol) -> set[str]:
    """White-space words of the prompts that a tiny model reads, and of the formats around passages."""
    prompts = protocol.prompts
    texts = [prompts.search, prompts.reflection, prompts.direct, prompts.cot, prompts.rag, prompts.invalid_action]
    texts += [prompts.system or "", protocol.passage_format, protocol.observation_format, protocol.no_hits]
    return {word for text in texts for word in text.split() if "{" not in word}


def words_of_methods(study: Study) -> list[str]:
    """Words that only single methods or their protocols say, budgets and requests for summaries among them, sorted."""
    words: set[str] = set()
    for name, method in study.methods.items():
        prompts = study.of(name).protocol.prompts
        if method.protocol:
            words |= prompt_words(study.of(name).protocol)
        if method.context == "summary":
            words |= set(prompts.summary.split())
        for searches in range(study.max_turns_of(name) + 1 if prompts.budget else 0):
            words |= set(prompts.budget.replace("{searches}", str(searches)).split())
    return sorted(words - prompt_words(study.protocol))
