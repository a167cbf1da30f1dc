"""Which attention a training with verl takes, and that packed sequences see nothing of each other under it."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from pydantic import ValidationError
from support.tiny import tiny_model

from mrsearch.config.verl import VerlTraining
from mrsearch.training.verl.attention import attention_implementation


@pytest.fixture
def without_flash_attn(monkeypatch):
    monkeypatch.setitem(sys.modules, "flash_attn", None)


@pytest.fixture
def with_flash_attn(monkeypatch):
    monkeypatch.setitem(sys.modules, "flash_attn", types.ModuleType("flash_attn"))


def test_auto_takes_flash_attn_where_it_imports(with_flash_attn):
    assert attention_implementation(VerlTraining(), on_cpu=False) == "flash_attention_2"


def test_auto_takes_flex_attention_elsewhere_and_says_why(without_flash_attn, caplog):
    with caplog.at_level("INFO"):
        assert attention_implementation(VerlTraining(), on_cpu=False) == "flex_attention"
    assert "attention: flex_attention (flash-attn: ModuleNotFoundError" in caplog.text


def test_a_flash_attn_for_another_torch_is_no_flash_attn(monkeypatch):
    def broken(name):
        raise ImportError(f"{name}: undefined symbol")

    monkeypatch.setattr("mrsearch.training.verl.attention.importlib.import_module", broken)
    assert attention_implementation(VerlTraining(), on_cpu=False) == "flex_attention"


def test_a_cpu_takes_sdpa(with_flash_attn):
    assert attention_implementation(VerlTraining(), on_cpu=True) == "sdpa"


def test_a_named_flash_attn_must_be_there(without_flash_attn):
    with pytest.raises(ValueError, match=r"cannot be imported .* install it, or set auto"):
        attention_implementation(VerlTraining(attention="flash_attention_2"), on_cpu=False)


@pytest.mark.parametrize("attention", ["auto", "sdpa", "flex_attention"])
def test_sequence_parallelism_needs_flash_attn(without_flash_attn, attention):
    with pytest.raises(ValueError, match=r"sequence_parallel \(2\) needs flash-attn"):
        attention_implementation(VerlTraining(attention=attention, sequence_parallel=2), on_cpu=False)


def test_a_kernel_of_the_hub_is_pinned():
    kernel = "kernels-community/flash-attn2@" + "0" * 40
    assert attention_implementation(VerlTraining(attention=kernel), on_cpu=False) == kernel
    for loose in ("kernels-community/flash-attn2", "kernels-community/flash-attn2@main", kernel + "\n", "eager", ""):
        with pytest.raises(ValidationError):
            VerlTraining(attention=loose)


@pytest.mark.parametrize("attention", ["sdpa", "flex_attention"])
def test_packed_sequences_see_nothing_of_each_other(attention):
    model = tiny_model(99)
    model.set_attn_implementation(attention)
    sequences = [torch.randint(0, 99, (length,)) for length in (7, 1, 20)]
    ids_1T = torch.cat(sequences)[None]
    positions_1T = torch.cat([torch.arange(len(sequence)) for sequence in sequences])[None]
    # Compiled or not, the mask is the same; compiling takes a minute.
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        together = model(input_ids=ids_1T, position_ids=positions_1T, attention_mask=None, use_cache=False).logits[0]
        apart = [model(input_ids=sequence[None], use_cache=False).logits[0] for sequence in sequences]
    assert torch.allclose(together, torch.cat(apart), atol=1e-5)
