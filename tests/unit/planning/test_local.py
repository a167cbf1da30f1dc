"""The local trainer on one card: memory and time by hand, and the page that shows them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.project import ROOT

from mrsearch.config import Run, Study, load_study
from mrsearch.config.training import PolicyTraining
from mrsearch.planning import local, needs
from mrsearch.planning.plan import Plan, StageCost, summary
from mrsearch.planning.shapes import PUBLISHED
from mrsearch.planning.speed import Assumptions, Card, Length, card_named

HALF = PUBLISHED["Qwen2.5-0.5B"]
CARD = card_named("rtx4090")


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(Run(study="small-gpu"), ROOT)


@pytest.fixture(scope="module")
def rows(study: Study) -> list[StageCost]:
    return list(Plan(study, CARD, Assumptions()).rows())


def table_of(items: dict[str, float], title: str) -> str:
    """A table of one row, as the page has it."""
    cells = [*(f"{size / 1e9:.1f}" for size in items.values()), f"{sum(items.values()) / 1e9:.1f}"]
    names = [title, *items, "together"]
    lines = [names, ["---"] * len(names), ["Qwen2.5-0.5B", *cells]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def sentences(study: Study, rows: list[StageCost]) -> Iterator[str]:
    """What the page says of time."""
    plan = Plan(study, CARD, Assumptions())
    step = local.step_seconds(study, "mr_search", HALF, plan.length("mr_search"), CARD, Assumptions())
    hours = {row.stage: row.hours for row in rows}
    yield (
        f"{step.total:.0f} s ({step.generation:.0f} s of generation, {step.update:.0f} s of updates, "
        f"{step.validation:.0f} s of validation)"
    )
    yield f"{hours['training: mr_search']:.1f} hours"
    yield f"{hours['training: search_r1']:.1f}, and"
    yield f"all evaluations {sum(value for stage, value in hours.items() if stage.startswith('evaluation')):.1f}"


def test_the_page_shows_memory_and_time(study: Study, rows: list[StageCost]) -> None:
    page = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    tables = [
        table_of(local.update_memory(study, HALF), "in an update"),
        table_of(local.generation_memory(study, HALF), "while it generates"),
    ]
    assert [shown for shown in tables if shown not in page] == []
    assert [shown for shown in sentences(study, rows) if shown not in " ".join(page.split())] == []


def test_the_study_fits_its_card_with_a_tenth_to_spare_and_takes_a_day(study: Study, rows: list[StageCost]) -> None:
    for stage in ("train", "evaluate"):
        assert 0 < needs.gpu_bytes(study, stage, getattr(study.resources, stage)) < 0.9 * CARD.memory
    assert 12 < summary(study, rows).node_hours < 30
    assert max(row.hours for row in rows) * 60 < study.resources.train.runtime
    assert study.training.steps * study.training.train_batch_size == 4800


def test_items_of_an_update_by_hand(study: Study) -> None:
    """0.494e9 parameters, passes of 8192 tokens, 512 positions of logits at a time."""
    items = local.update_memory(study, HALF)
    state = [items[name] / 1e9 for name in ("weights", "gradients", "moments")]
    assert state == pytest.approx([1.98, 1.98, 3.95], abs=0.01)
    assert items["logits"] == 512 * 151_936 * 16
    assert items["inputs of blocks"] == 24 * 8192 * 896 * 4
    assert items["activations"] == 8192 * (14 * 896 * 4 + 3 * 4864 * 2)
    assert items["converted blocks"] == 2 * (896 * 64 * 2 * (14 + 2) + 3 * 896 * 4864)
    plain = local.update_memory(study.model_copy(update={"training": _plain(study, kl_coef=0.1)}), HALF)
    assert plain["logits"] == 40 * 4096 * 151_936 * 16
    assert plain["activations"] == 24 * 40 * 4096 * (14 * 896 * 4 + 3 * 4864 * 4)
    assert (plain["converted blocks"], plain["reference"]) == (0.0, plain["weights"])


def test_items_of_generation_by_hand(study: Study) -> None:
    items = local.generation_memory(study, HALF)
    assert items["keys and values"] == 2 * 60 * 4096 * (2 * 24 * 2 * 64 * 2)
    assert items["repeated keys and values"] == 60 * 4096 * 2 * 14 * 64 * 2
    assert items["converted weights"] == items["weights"] / 2 == 2 * HALF.parameters
    every = local.generation_memory(study.model_copy(update={"training": _plain(study)}), HALF)
    assert every["keys and values"] == 4 * items["keys and values"]  # twice as many, twice as wide
    assert every["converted weights"] == 0.0


def test_generation_by_hand() -> None:
    """Two batches of three steps each; four tokens are generated after ten others each; prompts are computed once."""
    card, assumed = Card("card", 1e9, 1e12, 1e11), Assumptions(decode_share=1.0, launch_ms=1000.0)
    seconds = local.generation_seconds(HALF, 4, 2, 3, Length(1, 19), card, assumed)
    reading = 2 * HALF.parameters / 1e11
    keys = 4 * 10 * HALF.kv_bytes * (1 + 2 * 14 / 2) / 1e11
    assert seconds == pytest.approx(2 * 3 * (1 + reading) + keys + 2 * HALF.parameters * 4 * 19 / 1e12)


def test_fine_tuning_in_one_process_needs_one_cards_memory() -> None:
    changes = {"methods.own": {"train": {"algorithm": "sft", "demonstrations": "self_generated"}}}
    changes |= {"sft.local": {"logits_chunk": 256, "max_token_len_per_gpu": 4096}, "resources.sft": {"gpus": 1}}
    study = load_study(Run(study="small-gpu", overrides=changes), ROOT)
    items = needs.gpu_items(study, "sft", study.resources.sft)
    assert items == local.fine_tuning_memory(study, HALF)
    assert items["logits"] == 256 * 151_936 * 16
    (row,) = [row for row in Plan(study, CARD, Assumptions()).rows() if row.stage == "training: own"]
    assert row.gpu_memory == sum(items.values())


def _plain(study: Study, **changes: object) -> PolicyTraining:
    """The training with the local trainer's defaults."""
    training = study.training
    return training.model_copy(update={"local": type(training.local)(), **changes})
