"""Files of records: nothing is lost, nothing is written twice, and what cannot be read is refused by name."""

from __future__ import annotations

import os
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from support.byte_pieces import byte_level_tokenizer
from support.made_up import made_record

from mrsearch.agent.pieces import TokenTexts, vocabulary_pieces
from mrsearch.agent.record_files import FRAME, read_records, write_records
from mrsearch.agent.record_lines import from_line, to_line
from mrsearch.agent.records import MetaEpisode
from mrsearch.config import Study

LONG = "The prize of Gadurin is kept in Köln, where 😀 it has been since Ålesund won it from the city of Bla."
SCRIPT = ["<search> Köln prize </search>", "nothing", "<answer> Köln </answer>"] * 3
TOKENIZER = byte_level_tokenizer()


def played(stage, **spec: Any) -> MetaEpisode:
    stage.engine.passage = type(stage.engine.passage)("p1", "Gadurin", LONG)
    return stage.play(stage.policy(SCRIPT), **{"episodes": 2, "max_turns": 3, **spec})


def lines_of(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read().splitlines()


@pytest.mark.parametrize("observation_tokens", [12, 400])
@pytest.mark.parametrize(
    "spec",
    [
        {"context": "full"},
        {"context": "previous"},
        {"context": "independent"},
        {"procedure": "direct", "episodes": 1},
        {"procedure": "rag", "episodes": 1},
        {"procedure": "ircot", "episodes": 1},
    ],
    ids=str,
)
def test_every_procedure_s_records_survive_their_file(stage, tmp_path, spec, observation_tokens):
    """With and without texts, passages whole and cut, also where a vocabulary has no pieces."""
    metas = [played(stage.having(max_observation_tokens=observation_tokens, max_turn_tokens=80), **spec)] * 2
    for name, pieces in (("a", vocabulary_pieces(stage.tokenizer)), ("b", None)):
        assert write_records(tmp_path / name, metas, pieces) == 2
        assert list(read_records(tmp_path / name)) == metas
        again = tmp_path / f"{name}.again"
        write_records(again, metas, pieces)
        assert (tmp_path / name).read_bytes() == again.read_bytes()


def test_what_the_tokens_say_is_not_written_again(stages, tmp_path):
    stage = stages["bpe"].having(max_observation_tokens=400, max_turn_tokens=80)
    meta = played(stage)
    write_records(tmp_path / "a", [meta], vocabulary_pieces(stage.tokenizer))
    header, opening, line, end = map(orjson.loads, lines_of(tmp_path / "a"))
    assert (header, end) == ({"format": "mrsearch.records", "version": 2}, {"records": 1})
    assert set(opening["token_ids"]) == set(meta.token_ids)
    assert LONG not in orjson.dumps(line).decode()
    turns = [turn for episode in line["episodes"] for turn in episode["turns"]]
    assert not any("text" in turn or isinstance(turn.get("observation"), str) for turn in turns)
    assert not {"loss_mask", "episode_ids"} & line.keys()
    assert len(line["passages"]) == 1, "a passage that is found again stands there once"


def test_a_text_that_does_not_follow_from_its_tokens_is_kept(stages, tmp_path):
    stage = stages["bpe"]
    meta = played(stage)
    turn = meta.episodes[0].turns[0]
    turn.text, turn.observation, turn.content = "of another tokenizer", "seen elsewhere", "asked elsewhere"
    write_records(tmp_path / "a", [meta], vocabulary_pieces(stage.tokenizer))
    assert list(read_records(tmp_path / "a")) == [meta]


def test_lists_that_do_not_follow_from_the_turns_are_kept(stages, tmp_path):
    meta = played(stages["bpe"])
    meta.loss_mask[3], meta.episode_ids[-1], meta.logprobs[0] = 1, 7, -0.5
    assert from_line(to_line(meta)) == meta


def test_token_ids_beyond_the_vocabulary_are_kept(stages, tmp_path):
    """Models have more rows than their tokenizer has tokens."""
    stage = stages["bpe"]
    meta = played(stage)
    meta.token_ids[5] = 10**6
    write_records(tmp_path / "a", [meta], vocabulary_pieces(stage.tokenizer))
    assert list(read_records(tmp_path / "a")) == [meta]


@given(st.lists(st.integers(0, len(TOKENIZER) - 1), max_size=30))
def test_texts_are_the_tokenizer_s_whatever_the_bytes(token_ids):

    texts = TokenTexts(vocabulary_pieces(TOKENIZER), token_ids)
    assert texts.text(0, len(token_ids)) == TOKENIZER.backend_tokenizer.decode(token_ids, skip_special_tokens=False)


def test_every_frame_is_read_alone(small_study: Study, tmp_path: Path):
    records = [made_record(small_study, ("tiny", "direct", 0, "greedy", "one"), n) for n in range(FRAME + 3)]
    write_records(tmp_path / "a", records)
    assert list(read_records(tmp_path / "a")) == records
    openings = [line for line in lines_of(tmp_path / "a") if line.startswith(b'{"token_ids":[],"pieces"')]
    assert len(openings) == 4, "64, 128, 256 and 67 records"


def frame_ends(path: Path) -> list[int]:
    content, ends = path.read_bytes(), [0]
    while ends[-1] < len(content):
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        decompressor.decompress(content[ends[-1] :])
        ends.append(len(content) - len(decompressor.unused_data))
    return ends


def test_a_file_that_was_cut_is_refused_wherever(small_study: Study, tmp_path: Path):
    records = [made_record(small_study, ("tiny", "direct", 0, "greedy", "one"), n) for n in range(3)]
    write_records(tmp_path / "a", records)
    ends = frame_ends(tmp_path / "a")
    assert len(ends) == 4
    for size in sorted({*ends[:-1], *((first + last) // 2 for first, last in pairwise(ends)), ends[-1] - 1}):
        shutil.copyfile(tmp_path / "a", tmp_path / "b")
        os.truncate(tmp_path / "b", size)
        with pytest.raises(ValueError, match=r"b: .*(cut|is no file)"):
            list(read_records(tmp_path / "b"))


def test_changed_bytes_are_refused(small_study: Study, tmp_path: Path):
    path = tmp_path / "a"
    write_records(path, [made_record(small_study, ("tiny", "direct", 0, "greedy", "one"), 0)])
    content = bytearray(path.read_bytes())
    content[frame_ends(path)[1] + 40] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match="a: frame 1 is damaged"):
        list(read_records(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zstandard.compress(b'{"format":"mrsearch.records","version":3}\n'), "of version 3 of records.*reads 2"),
        (zstandard.compress(b'{"format":"another"}\n'), "is no file of records"),
        (zstandard.compress(b"text\n"), "is no file of records"),
        (b"\x1f\x8b\x08 gzipped", "of version 1 of records.*mrsearch records convert"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(read_records(tmp_path / "a"))
