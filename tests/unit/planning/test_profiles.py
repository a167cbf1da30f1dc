"""Studies for given GPUs: they fit, and the page shows the memory that plan and preflight compute."""

from __future__ import annotations

import pytest
from support.project import ROOT

from mrsearch.config import Run, load_study
from mrsearch.planning import memory, needs
from mrsearch.planning.shapes import shape_of

PROFILES = {"paper-3b-4x80": 80e9, "paper-7b-8x80": 80e9, "paper-qwen3": 80e9}
PROFILES |= {"paper-3b-lora-1x80": 80e9, "paper-3b-lora-4x24": 24e9}
"""Shipped studies and the memory of their cards."""


def rows_of(name, card):
    """A row of the page's table for each model: GB in an update by item, then in generation."""
    study = load_study(Run(study=name), ROOT)
    verl, gpus = study.training.verl, study.resources.train.gpus
    for model in study.models.values():
        shape = shape_of(model)
        update = memory.training_memory(study, shape)
        activations = update.pop("inputs of checkpointed blocks") + update.pop("activations")
        items = [update[key] for key in ("weights", "gradients", "moments", "gathered weights")]
        items += [activations, update["logits"], update["runtime"], sum(update.values()) + activations]
        share = verl.gpu_memory_utilization
        server = memory.generation_memory(shape, verl.tensor_parallel, card, share)
        items += [server["weights"], server["keys and values"]]
        longest = memory.kv_tokens(shape, verl.tensor_parallel, card, share) / study.protocol.longest_sequence
        cells = [f"`{name}`", model.repository.split("/")[1], f"{gpus} x {card / 1e9:.0f}"]
        yield "| " + " | ".join([*cells, *(f"{item / 1e9:.1f}" for item in items), f"{longest:.0f}"]) + " |"


@pytest.mark.parametrize("name", PROFILES)
def test_the_page_shows_the_memory_of_a_profile(name):
    page = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    assert [row for row in rows_of(name, PROFILES[name]) if row not in page] == []


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_fits_its_cards_with_a_tenth_to_spare(name):
    study = load_study(Run(study=name), ROOT)
    for stage in ("train", "evaluate", "retriever"):
        assert needs.gpu_bytes(study, stage, getattr(study.resources, stage)) < 0.9 * PROFILES[name]


def test_items_of_a_profile_are_those_computed_by_hand():
    """Qwen2.5-3B, 3.09e9 parameters on 4 GPUs, with 2 sequences of 8192 tokens in a pass."""
    study = load_study(Run(study="paper-3b-4x80"), ROOT)
    items = memory.training_memory(study, shape_of(study.models["qwen2.5-3b"]))
    state = [items[name] / 1e9 for name in ("weights", "gradients", "moments")]
    assert state == pytest.approx([3.09, 3.09, 6.17], abs=0.01)
    assert items["logits"] == 2 * 8192 * 151_936 * 2
    assert items["inputs of checkpointed blocks"] == 36 * 2 * 8192 * 2048 * 2


def test_items_of_adapters_are_those_computed_by_hand():
    """Rank 64 beside the seven linear layers of 36 blocks: 64 x (inputs + outputs) of q, o, k, v, gate, up, down."""
    study = load_study(Run(study="paper-3b-lora-4x24"), ROOT)
    shape, lora = shape_of(study.models["qwen2.5-3b"]), study.training.lora
    trained = 36 * 64 * ((2048 + 2048) * 2 + (2048 + 256) * 2 + (2048 + 11008) * 3)
    assert shape.trained(lora) == trained == 119_734_272
    items = memory.training_memory(study, shape)
    assert [items[name] for name in memory.STATE] == [(shape.parameters + trained), trained, 2 * trained]
    block = 2048 * 128 * 2 * (16 + 2) + 3 * 2048 * 11008
    assert items["gathered weights"] == (2 * block + 151_936 * 2048) * 2, "no gradients of frozen weights"
    saved = needs.results_items(study)["checkpoints of qwen2.5-3b"]
    assert saved == 3 * 3 * 12 * trained
    local = load_study(Run(study="demo", overrides={"training.lora": {"rank": 4}}), ROOT)
    tiny, resources = local.models["tiny"], local.resources.train
    moved = tiny.layers * 4 * sum(map(sum, shape_of(tiny).linear_layers.values()))
    assert needs.memory_bytes(local, "train", resources) == 4 * needs.parameters(tiny) + 12 * moved
    queries = lora.model_copy(update={"target_modules": ("self_attn.q_proj", "v_proj")})
    assert shape.trained(queries) == 36 * 64 * (4096 + 2304)
    assert shape.trained(lora.model_copy(update={"target_modules": ("qkv_proj",)})) == trained, "at most"
