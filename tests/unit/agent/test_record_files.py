"""Files of records: nothing is lost, nothing is written twice, and what cannot be read is refused by name."""

from __future__ import annotations

import os
import shutil
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from support.byte_pieces import byte_level_tokenizer
from support.made_up import made_record

from mrsearch.agent.pieces import TokenTexts, UsedPieces, vocabulary_pieces
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


def frames_of(path: Path) -> list[bytes]:
    content, ends = path.read_bytes(), frame_ends(path)
    return [zstandard.decompress(content[first:end]) for first, end in pairwise(ends)]


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
    header, frame, end = frames_of(tmp_path / "a")
    assert (orjson.loads(header), orjson.loads(end)) == (
        {"format": "mrsearch.records", "version": 3},
        {"records": 1},
    )
    opening, line = map(orjson.loads, frame.splitlines()[:2])
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


def test_a_file_holds_tokens_and_log_probabilities_as_little_endian_arrays(stages, tmp_path):
    """As docs/records.md says, to the byte."""
    meta = played(stages["bpe"])
    meta.token_ids[5] = 3 * 65536 + 7
    write_records(tmp_path / "a", [meta])
    frame, count = frames_of(tmp_path / "a")[1], len(meta.token_ids)
    opening, _, content = frame.partition(b"\n")
    sampled = sum(meta.loss_mask)
    assert {"tokens": count, "logprobs": sampled}.items() <= orjson.loads(opening).items()
    arrays = content[orjson.loads(opening)["line_bytes"] :]
    assert struct.unpack_from(f"<{count}H", arrays)[5] == 7
    assert struct.unpack_from(f"<{count}H", arrays, 2 * count)[4:7] == (0, 3, 0)
    generated = [value for value, mask in zip(meta.logprobs, meta.loss_mask, strict=True) if mask]
    assert struct.unpack(f"<{sampled}f", arrays[4 * count :]) == pytest.approx(generated, rel=1e-6)


def test_files_of_version_2_are_read(stages, tmp_path):
    """Tokens and log-probabilities stood in their lines, and pieces in the frame's first one."""
    stage = stages["bpe"]
    metas = [played(stage)] * 2
    used = UsedPieces(vocabulary_pieces(stage.tokenizer))
    lines = [to_line(meta, used) for meta in metas]
    header = b'{"format":"mrsearch.records","version":2}'
    frames = [header, b"\n".join([orjson.dumps(used.content()), *lines]), b'{"records":2}']
    (tmp_path / "a").write_bytes(b"".join(zstandard.compress(frame + b"\n") for frame in frames))
    assert list(read_records(tmp_path / "a")) == metas


@pytest.mark.parametrize("name", ["tokens", "logprobs", "line_bytes"])
def test_a_frame_whose_counts_differ_from_its_arrays_is_refused(stages, tmp_path, name):
    write_records(tmp_path / "a", [played(stages["bpe"])])
    header, frame, end = frames_of(tmp_path / "a")
    opening, _, content = frame.partition(b"\n")
    counts = orjson.loads(opening)
    frame = orjson.dumps({**counts, name: counts[name] - 1}) + b"\n" + content
    (tmp_path / "b").write_bytes(b"".join(map(zstandard.compress, (header, frame, end))))
    with pytest.raises(ValueError, match=r"b, record 1: not a meta-episode: .* bytes for"):
        list(read_records(tmp_path / "b"))


@pytest.mark.parametrize("change", [1, -1])
def test_a_record_that_takes_more_or_less_than_its_part_of_the_arrays_is_refused(stages, tmp_path, change):
    write_records(tmp_path / "a", [played(stages["bpe"])])
    header, frame, end = frames_of(tmp_path / "a")
    opening, line, arrays = frame.split(b"\n", 2)
    changed = orjson.loads(line)
    changed["logprobs"] += change
    line = orjson.dumps(changed) + b"\n"
    opening = orjson.dumps({**orjson.loads(opening), "line_bytes": len(line)}) + b"\n"
    (tmp_path / "b").write_bytes(b"".join(map(zstandard.compress, (header, opening + line + arrays, end))))
    with pytest.raises(ValueError, match=r"b, record [12]: not a meta-episode: .*log-probabilities"):
        list(read_records(tmp_path / "b"))


def test_token_ids_beyond_the_vocabulary_are_kept(stages, tmp_path):
    """Models have more rows than their tokenizer has tokens."""
    stage = stages["bpe"]
    meta = played(stage)
    meta.token_ids[5] = 10**6
    write_records(tmp_path / "a", [meta], vocabulary_pieces(stage.tokenizer))
    assert list(read_records(tmp_path / "a")) == [meta]


@given(st.lists(st.integers(0, len(TOKENIZER) - 1), max_size=30))
def test_texts_are_the_tokenizer_s_whatever_the_bytes(token_ids):

    texts = TokenTexts(vocabulary_pieces(TOKENIZER), np.array(token_ids, np.int64))
    assert texts.text(0, len(token_ids)) == TOKENIZER.backend_tokenizer.decode(token_ids, skip_special_tokens=False)


def test_every_frame_is_read_alone(small_study: Study, tmp_path: Path):
    records = [made_record(small_study, ("tiny", "direct", 0, "greedy", "one"), n) for n in range(FRAME + 3)]
    write_records(tmp_path / "a", records)
    assert list(read_records(tmp_path / "a")) == records
    openings = [orjson.loads(frame.partition(b"\n")[0]) for frame in frames_of(tmp_path / "a")[1:-1]]
    assert len(openings) == 4, "64, 128, 256 and 67 records"
    assert sum(opening["tokens"] for opening in openings) == sum(len(record.token_ids) for record in records)


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
        (zstandard.compress(b'{"format":"mrsearch.records","version":4}\n'), "of version 4 of records.*reads 2 and 3"),
        (zstandard.compress(b'{"format":"another"}\n'), "is no file of records"),
        (zstandard.compress(b"text\n"), "is no file of records"),
        (b"\x1f\x8b\x08 gzipped", "of version 1 of records.*mrsearch records convert"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(read_records(tmp_path / "a"))
