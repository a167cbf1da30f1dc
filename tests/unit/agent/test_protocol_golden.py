"""The protocol, frozen: token ids of every method's first prompt and of one scripted transcript.

A change here changes numbers. Where it is meant, write the file anew with MRSEARCH_WRITE_GOLDEN=1 and say in the
commit what moved.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import pytest

from mrsearch.config.methods import Procedure
from mrsearch.config.protocol import Protocol

GOLDEN = Path(__file__).with_name("golden_protocol.json")
SCRIPTS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "direct": (["<answer> Bla </answer>"], {}),
    "cot": (["<think> what is Bla </think> <answer> Bla </answer>"], {}),
    "rag": (["<answer> Bla </answer>"], {}),
    "ircot": (["Gadurin won the prize. Then more", "<answer> Bla </answer>"], {"max_turns": 3}),
    "search_o1": (["<search> Gadurin </search>", "<answer> Gadurin won Bla </answer>", "<answer> Bla </answer>"], {}),
    "meta_episode": (
        ["<think> find </think> <search> Gadurin </search>", "nothing", "<answer> Bla </answer>", "<answer> Bla"],
        {"episodes": 2, "max_turns": 3},
    ),
}


def golden_now(stages) -> dict[str, Any]:
    """What the default protocol makes of one question, on both tokenizers, by every procedure."""
    made: dict[str, Any] = {"protocol": Protocol().model_dump(mode="json")}
    for name, shared in stages.items():
        stage = type(shared)(name, shared.tokenizer, Protocol(), shared.question)
        prompts = {procedure: stage.renderer.first_prompt(procedure, "who won", "Bla") for procedure in SCRIPTS}
        made[name] = {"first_prompts": prompts, "transcripts": {}}
        for procedure, (lines, spec) in SCRIPTS.items():
            policy = stage.policy([*lines, *["<|im_end|>"] * 4])
            meta = stage.play(policy, procedure=procedure, **spec)
            made[name]["transcripts"][procedure] = {
                "token_ids": meta.token_ids,
                "loss_mask": meta.loss_mask,
                "episode_ids": meta.episode_ids,
                "contexts": [len(context) for context, _, _ in policy.calls],
                "queries": [query for query, _ in stage.engine.queries],
                "turns": [asdict(turn) for episode in meta.episodes for turn in episode.turns],
                "stop": meta.stop,
            }
            stage.engine.queries.clear()
    return json.loads(json.dumps(made))


@pytest.fixture(scope="module")
def golden(stages) -> tuple[dict[str, Any], dict[str, Any]]:
    now = golden_now(stages)
    if os.environ.get("MRSEARCH_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(now, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    return json.loads(GOLDEN.read_text(encoding="utf-8")), now


def test_every_procedure_is_frozen():
    assert set(SCRIPTS) == set(get_args(Procedure))


def test_the_protocols_own_values_are_frozen(golden):
    frozen, now = golden
    assert now["protocol"] == frozen["protocol"]


@pytest.mark.parametrize("tokenizer", ["word", "bpe"])
@pytest.mark.parametrize("procedure", SCRIPTS)
def test_first_prompts_and_transcripts_are_frozen_token_by_token(golden, tokenizer, procedure):
    frozen, now = golden
    for part in ("first_prompts", "transcripts"):
        assert now[tokenizer][part][procedure] == frozen[tokenizer][part][procedure], part
