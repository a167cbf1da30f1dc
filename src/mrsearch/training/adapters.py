"""Low-rank adapters of a policy (LoRA): what is trained, checkpointed and merged in the place of all its weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from mrsearch.config.lora import Lora


class Adapters:
    """Adapters of a causal language model, which is changed in place: its weights are frozen, and its linear layers add
    what their adapters say. At first they say nothing."""

    def __init__(self, model: Any, settings: Lora, seed: int = 0) -> None:
        """seed: of the adapters' random half. ValueError where the model has no such layers."""
        from peft import LoraConfig, get_peft_model

        modules = settings.target_modules
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            target_modules=modules if isinstance(modules, str) else list(modules),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                self._wrapper: Any = get_peft_model(model, config)
            except ValueError as error:
                raise ValueError(f"lora.target_modules ({modules}) does not fit the model: {error}") from error
        self.model = model

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """The adapters' numbers by their names in the model; nothing else is trained."""
        return ((name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad)

    def parameters(self) -> list[torch.nn.Parameter]:
        """The adapters' numbers, for an optimizer."""
        return [weight for _, weight in self.named_parameters()]

    def state_dict(self) -> dict[str, Tensor]:
        """The adapters alone, as a checkpoint holds them."""
        return {name: weight.detach() for name, weight in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take adapters up; ValueError where names or shapes are not those of these."""
        present = self.state_dict()
        strange = sorted(set(state) ^ set(present))
        strange += [name for name in present if name in state and present[name].shape != state[name].shape]
        if strange:
            raise ValueError(
                f"the checkpoint's adapters are not those of the study ({len(strange)} differ, {strange[0]} for one): "
                "set lora back to what it was, or train anew"
            )
        for name, values in present.items():
            values.copy_(state[name])

    def disabled(self) -> AbstractContextManager[None]:
        """Within it the model is the one without adapters."""
        context: AbstractContextManager[None] = self._wrapper.disable_adapter()
        return context

    def merged(self) -> Any:
        """The model with what its adapters say in its weights, an ordinary one again; these adapters are gone.

        ValueError where a merged weight is not finite.
        """
        return self._wrapper.merge_and_unload(safe_merge=True)


class WithoutAdapters:
    """The policy that adapters began with, as the reference of a KL term: the same weights, held once."""

    def __init__(self, adapters: Adapters) -> None:
        self._adapters = adapters

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapters.model, name)

    def __call__(self, **inputs: Any) -> Any:
        """What the model says without its adapters."""
        with self._adapters.disabled():
            return self._adapters.model(**inputs)


def trainable(model: Any, settings: Lora | None, seed: int) -> Any:
    """What is trained, with its parameters and its state: the model itself, or its adapters."""
    return model if settings is None else Adapters(model, settings, seed)


def reference_of(trained: Any) -> Any:
    """The policy as it is before its first update, to be called like it."""
    return WithoutAdapters(trained) if isinstance(trained, Adapters) else copy.deepcopy(trained)


def merged(trained: Any) -> Any:
    """The trained model as an ordinary one."""
    return trained.merged() if isinstance(trained, Adapters) else trained
