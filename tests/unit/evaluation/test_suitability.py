"""Models that read next to nothing, or that learned under another protocol, are named."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from support.evaluations import evaluated_study, make_inputs, run_evaluation
from support.families import family_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mrsearch.config import Study
from mrsearch.config.protocol import Protocol
from mrsearch.evaluation.suitability import doubts, unread_share

SPOKEN = {"nq": ["who wrote the book of hours?", "where is it kept today?"]}


def words(text: str, **options: Any) -> PreTrainedTokenizerFast:
    vocabulary = {word: number for number, word in enumerate(["<unk>", "<end>", *dict.fromkeys(text.split())])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="<end>", **options)


def silent() -> PreTrainedTokenizerFast:
    """Drops what it does not know without a token for it."""
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE({"!": 0, "?": 1}, [])), eos_token="!")


def short() -> PreTrainedTokenizerFast:
    """Knows every letter; its file cuts texts after four tokens."""
    tokenizer = family_tokenizer("qwen 3")
    tokenizer.backend_tokenizer.enable_truncation(4)
    return tokenizer


def test_what_is_unread_is_counted_in_letters():
    assert unread_share(words("a b"), "a b  a\n") == 0
    assert unread_share(words("a b"), "a xyz b") == pytest.approx(3 / 5)
    assert unread_share(silent(), "who?") == pytest.approx(3 / 4)
    assert unread_share(short(), "北京 is a city with a name longer than four tokens") == 0
    assert unread_share(words("a"), " \n") == 0


def study_of(tokenizer: PreTrainedTokenizerFast, folder: Path, **protocol: Any) -> Study:
    tokenizer.save_pretrained(folder)
    study = evaluated_study(1, models={"tiny": {"kind": "folder", "path": str(folder)}})
    return study.model_copy(update={"protocol": Protocol.model_validate(protocol)})


@pytest.mark.parametrize(
    ("tokenizer", "named"),
    [
        (words("日本 語"), ["the prompt", "nq's questions"]),
        (silent(), ["the prompt", "nq's questions"]),
        (words(Protocol().prompts.search), ["nq's questions"]),
        (words(Protocol().prompts.search + " ".join(SPOKEN["nq"])), []),
        (short(), []),
    ],
    ids=["other language", "silent", "prompt alone", "both", "truncating"],
)
def test_a_model_that_reads_next_to_nothing_is_named(tokenizer, named, tmp_path: Path):
    study = study_of(tokenizer, tmp_path / "model")
    told = doubts(study, "tiny", tmp_path / "model", SPOKEN)
    assert len(told) == len(named) and all(name in text for name, text in zip(named, told, strict=True))
    assert all(str(tmp_path / "model") in text for text in told)


def trained(protocol: dict[str, Any], stage: str = "train", name: str = "model") -> str:
    return json.dumps({"stage": stage, "config": {"protocol": protocol}, "outputs": {"model": {"path": name}}})


OWN = Protocol().model_dump(mode="json")
RECORDS = {
    "the same": (trained(OWN), []),
    "without keys that came later": (trained({k: v for k, v in OWN.items() if k != "chat_template"}), []),
    "other tokens a turn": (trained({**OWN, "max_turn_tokens": 77}), ["max_turn_tokens"]),
    "other prompts": (trained({**OWN, "prompts": {**OWN["prompts"], "reflection": "again"}}), ["prompts"]),
    "a preset": (trained(Protocol(preset="search_r1").model_dump(mode="json")), ["title_quotes", "preset"]),
    "template arguments": (trained({**OWN, "chat_template": {"arguments": {"enable_thinking": False}}}), ["chat_"]),
    "a key that is gone": (trained({**OWN, "max_turns": 9, "old_key": 1}), ["max_turns", "old_key"]),
    "of another folder": (trained({**OWN, "max_turns": 9}, name="other"), []),
    "of an evaluation": (trained({**OWN, "max_turns": 9}, stage="evaluate"), []),
    "no record": ('{"outputs": 3, "config": []}', []),
    "a list": ("[]", []),
    "cut": (trained(OWN)[:40], []),
}


@pytest.mark.parametrize("case", RECORDS)
@pytest.mark.parametrize("linked", [False, True])
def test_a_model_of_another_protocol_is_named_with_the_keys(case, linked, tmp_path: Path):
    text, keys = RECORDS[case]
    folder = tmp_path / "run" / "model"
    study = study_of(family_tokenizer("qwen 3"), folder)
    (tmp_path / "run" / "run.json").write_text(text)
    policy = folder
    if linked:
        policy = tmp_path / "base"
        policy.mkdir()
        for file in folder.iterdir():
            (policy / file.name).symlink_to(file)
    told = doubts(study, "tiny", policy, SPOKEN)
    assert len(told) == bool(keys)
    for key in keys:
        assert f"protocol.{key}" in told[0] and "run.json" in told[0]


def test_the_last_training_counts_where_there_were_two(tmp_path: Path):
    study = study_of(family_tokenizer("qwen 3"), tmp_path / "start" / "model")
    (tmp_path / "start" / "run.json").write_text(trained({**OWN, "max_turns": 9}))
    own = tmp_path / "own" / "model"
    family_tokenizer("qwen 3").save_pretrained(own)
    (tmp_path / "own" / "run.json").write_text(trained(OWN))
    assert doubts(study, "tiny", own, SPOKEN) == []


def test_warnings_stand_in_the_log_and_in_the_run_record(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    study = evaluated_study(1, methods={"direct": {"procedure": "direct"}}, report={"baseline": "direct"})
    inputs = make_inputs(study, tmp_path / "inputs")
    (inputs / "run.json").write_text(trained({"max_turns": 1}))
    with caplog.at_level(logging.WARNING):
        out = run_evaluation(study, inputs, tmp_path, "direct")
    (warning,) = json.loads((out / "run.json").read_text())["warnings"]
    assert "another protocol" in warning and warning in caplog.text
