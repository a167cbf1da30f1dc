"""Keys and values of version 0.1 and their names since: an old study is refused with the new word in the message."""

from __future__ import annotations

KEYS: dict[str, dict[str, str]] = {
    "Study": {"fine_tuning": "sft"},
    "StageResources": {"fine_tuning": "sft"},
    "Evaluation": {"engine": "generator"},
    "Generator": {"memory_fraction": "gpu_memory_utilization"},
    "Benchmark": {"stands_for": "description"},
    "Method": {"turns": "max_turns"},
    "Protocol": {
        "turns": "max_turns",
        "turn_tokens": "max_turn_tokens",
        "context_tokens": "max_context_tokens",
        "observation_tokens": "max_observation_tokens",
    },
    "PolicyTraining": {
        "questions_per_step": "train_batch_size",
        "minibatches": "mini_batch_size (questions: train_batch_size divided by the number of mini-batches)",
        "microbatch_sequences": "micro_batch_size",
        "kl_coefficient": "kl_coef",
        "max_gradient_norm": "max_grad_norm",
    },
    "SupervisedTraining": {"batch_traces": "train_batch_size", "max_gradient_norm": "max_grad_norm"},
    "WarmStart": {"traces": "demonstrations"},
    "Sft": {"microbatch": "micro_batch_size"},
    "VerlTraining": {
        "memory_fraction": "gpu_memory_utilization",
        "prompt_tokens": "max_prompt_tokens",
        "micro_tokens_per_gpu": "max_token_len_per_gpu",
        "micro_sequences_per_gpu": "micro_batch_size_per_gpu",
    },
}
"""Old key to new key, by the model that it belonged to; models inherit the renamings of their bases."""

REMOVED: dict[str, dict[str, str]] = {
    "Report": {"bootstrap_samples": "intervals have a closed form, so nothing is resampled"},
}
"""Key that is gone to the reason, by the model that it belonged to."""

VALUES: dict[tuple[str, str], dict[str, str]] = {
    ("Train", "algorithm"): {"rejection": "raft", "reinforce_pp": "reinforce_plus_plus"},
    ("Train", "demonstrations"): {"script": "scripted", "answers": "gold_answers", "own": "self_generated"},
}
"""Old value to new value, by model and key."""


def renaming(models: list[str], key: str, value: object) -> str | None:
    """What replaces a key, or a key's value, in the first of the models that renamed or lost it; None where nothing
    does."""
    for model in models:
        if key in REMOVED.get(model, {}):
            return f"is gone ({REMOVED[model][key]}): remove it"
        if key in KEYS.get(model, {}):
            return f"is now called {KEYS[model][key]}"
        values = VALUES.get((model, key), {})
        if isinstance(value, str) and value in values:
            return f"{value!r} is now called {values[value]!r}"
    return None


def renamed_value(key: str, value: str) -> str | None:
    """The new name of a key's value, whichever model has it; None where it was never renamed."""
    return next((names[value] for (_, owner_key), names in VALUES.items() if owner_key == key and value in names), None)
