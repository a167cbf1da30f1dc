"""Where a model computes, and in which precision."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from mrsearch.agent.ports import Generation, Sampling
from mrsearch.config.generator import Generator
from mrsearch.config.local import LocalUpdates
from mrsearch.policy import arithmetic
from mrsearch.policy.arithmetic import autocast, job_device
from mrsearch.policy.serving import open_policy
from mrsearch.policy.torch_policy import TorchPolicy
from mrsearch.training.sequences import score_tokens


class NoEnd:
    """A stop rule that ends nothing."""

    candidates = ()


def test_the_device_is_what_the_job_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert job_device(0, "resources.train.gpus") == torch.device("cpu")
    assert job_device(1, "resources.train.gpus") == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(arithmetic, "DRIVER", tmp_path / "version")
    assert job_device(1, "resources.train.gpus") == torch.device("cpu")
    assert "can use no GPU here, and there is no driver: the CPU takes its place" in caplog.text
    (tmp_path / "version").touch()
    with pytest.raises(ValueError, match=r"resources\.train\.gpus \(1\): PyTorch .* no GPU here, .*make gpu-env"):
        job_device(1, "resources.train.gpus")
    job = {"max_context_tokens": 160, "log_file": tmp_path / "log", "job": ("evaluate", 1)}
    with pytest.raises(ValueError, match=r"resources\.evaluate\.gpus \(1\)"), open_policy(Generator(), tmp_path, **job):
        raise AssertionError("the CPU took the place of a GPU that a job asked for")


def test_float32_is_no_autocast_at_all() -> None:
    with autocast(torch.device("cpu"), "float32"):
        assert not torch.is_autocast_enabled("cpu")


def test_gradients_of_a_weight_used_often_are_added_up_in_float32() -> None:
    weight = torch.ones(1, 1, requires_grad=True)
    with autocast(torch.device("cpu"), "bfloat16"):
        total = sum(torch.nn.functional.linear(torch.tensor([[value]]), weight).sum() for value in (256.0, 1.0, 1.0))
    total.backward()  # type: ignore[union-attr]
    assert weight.grad is not None
    assert weight.grad.item() == 258.0  # in bfloat16, 256 + 1 is 256


def generated(policy: TorchPolicy) -> list[Generation]:
    """Two turns of one meta-episode beside one turn of another."""

    async def sample() -> list[Generation]:
        for name in "ab":
            policy.attach(name)
        pair = [policy.generate([3, 4, 5 + n], Sampling(12, 1.0, 1.0, n), name) for n, name in enumerate("ab")]
        first, other = await asyncio.gather(*pair)
        policy.detach("b")
        second = await policy.generate([3, 4, 5, *first.token_ids, 7, 8], Sampling(6, 1.0, 1.0, 9), "a")
        dtypes = {tensor.dtype for pair in policy._layers for tensor in pair}
        assert dtypes == {torch.bfloat16}
        return [first, other, second]

    return asyncio.run(sample())


def test_a_policy_in_bfloat16_says_the_probabilities_that_training_computes() -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    config = Qwen2Config(vocab_size=50, num_attention_heads=2, num_key_value_heads=1, initializer_range=0.3, **sizes)
    model = Qwen2ForCausalLM(config)
    turns = generated(TorchPolicy(model, None, NoEnd(), "bfloat16"))  # type: ignore[arg-type]
    for turn, context in zip(turns, ([3, 4, 5], [3, 4, 6], [3, 4, 5, *turns[0].token_ids, 7, 8]), strict=True):
        tokens = torch.tensor([context + turn.token_ids])
        chosen = torch.tensor([[False] * len(context) + [True] * len(turn.token_ids)])
        sampled = torch.tensor(turn.logprobs)
        differences = []
        for dtype in ("bfloat16", "float32"):
            with torch.no_grad():
                scores = score_tokens(model, tokens, chosen, local=LocalUpdates(dtype=dtype))
            differences.append(float((scores.logprobs_K - sampled).abs().max()))
        assert differences[0] < 0.03
        assert differences[1] > 1e-5
