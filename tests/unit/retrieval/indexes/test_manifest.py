"""Indexes that a crash damaged are told from whole ones when they are opened, and whole ones can be proved whole."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mrsearch.cli import app
from mrsearch.config.retrieval import DenseRetriever, Encoder
from mrsearch.retrieval.indexes.manifest import FILE, fits, read_manifest, verify, write_manifest
from mrsearch.retrieval.indexes.passages import PassageStore, build_store
from mrsearch.seal import SAMPLES, WHOLE_BYTES

CONFIG = DenseRetriever(encoder=Encoder(kind="bow"))
LARGE = WHOLE_BYTES + 100_000


@pytest.fixture
def store(tmp_path: Path) -> PassageStore:
    build_store([("1", "T", "text"), ("2", "U", "more")], tmp_path / "corpus")
    return PassageStore(tmp_path / "corpus")


@pytest.fixture
def index(tmp_path: Path, store: PassageStore) -> Path:
    folder = tmp_path / "dense"
    (folder / "encoder").mkdir(parents=True)
    (folder / "vectors.faiss").write_bytes(random.Random(0).randbytes(LARGE))
    (folder / "encoder" / "weights.json").write_text("{}" * 500)
    write_manifest(folder, "dense", CONFIG, store)
    return folder


def test_only_files_of_unknown_hashes_are_read(tmp_path: Path, store: PassageStore) -> None:
    folder = tmp_path / "dense"
    folder.mkdir()
    for name in ("vectors.faiss", "graph.faiss"):
        (folder / name).write_bytes(name.encode())
    write_manifest(folder, "dense", CONFIG, store, {"vectors.faiss": "0" * 64, "graph.faiss": None})
    files = json.loads((folder / FILE).read_text())["files"]
    assert files["vectors.faiss"]["sha256"] == "0" * 64
    assert files["graph.faiss"]["sha256"] == hashlib.sha256(b"graph.faiss").hexdigest()


def _flip(place: int) -> Callable[[Path], None]:
    def flip(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(place)
            byte = file.read(1)
            file.seek(place)
            file.write(bytes([byte[0] ^ 1]))

    return flip


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _zero_tail(path: Path) -> None:
    """Blocks that never reached the disk."""
    with path.open("r+b") as file:
        file.seek(LARGE - 300_000)
        file.write(bytes(300_000))


DAMAGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "cut to 0": ("vectors.faiss", lambda path: os.truncate(path, 0)),
    "cut to 200": ("vectors.faiss", lambda path: os.truncate(path, 200)),
    "a byte short": ("vectors.faiss", lambda path: os.truncate(path, LARGE - 1)),
    "zeros": ("vectors.faiss", _zeros),
    "a tail of zeros": ("vectors.faiss", _zero_tail),
    "first byte": ("vectors.faiss", _flip(0)),
    "last byte": ("vectors.faiss", _flip(LARGE - 1)),
    "a byte of a small file": ("encoder/weights.json", _flip(401)),
    "gone": ("encoder/weights.json", Path.unlink),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_found_at_opening(index: Path, store: PassageStore, kind: str) -> None:
    name, spoil = DAMAGES[kind]
    assert fits(index, "dense", CONFIG, store)
    spoil(index / name)
    with pytest.raises(ValueError, match=rf"{name}: .*the index is damaged, build it again"):
        read_manifest(index, "dense", CONFIG, store)
    with pytest.raises(ValueError, match=rf"{name}: missing, or not what was written"):
        verify(index)


def test_opening_reads_samples_and_the_command_everything(index: Path, store: PassageStore) -> None:
    """Between two samples a single byte hides from the opening, not from the whole comparison."""
    assert verify(index) == LARGE + 1000
    done = CliRunner().invoke(app, ["index", "verify", str(index)])
    assert done.exit_code == 0 and f"{LARGE + 1000:,} bytes are what was written" in done.stdout
    _flip(66_000)(index / "vectors.faiss")
    assert fits(index, "dense", CONFIG, store)
    with pytest.raises(ValueError, match=r"vectors\.faiss"):
        CliRunner().invoke(app, ["index", "verify", str(index)], catch_exceptions=False)


def test_an_index_without_samples_is_held_to_its_sizes_and_small_files(index: Path, store: PassageStore) -> None:
    (index / SAMPLES).unlink()
    assert fits(index, "dense", CONFIG, store)
    _flip(3)(index / "encoder" / "weights.json")
    assert not fits(index, "dense", CONFIG, store)


def test_samples_leave_the_description_as_it_was(index: Path) -> None:
    described = json.loads((index / FILE).read_text())
    assert sorted(described["files"]) == ["encoder/weights.json", "vectors.faiss"]
    assert all(set(facts) == {"bytes", "sha256"} for facts in described["files"].values())


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", "7", '{"format": 1}', "[" * 100_000])
def test_a_torn_description_is_no_index(index: Path, store: PassageStore, content: str) -> None:
    (index / FILE).write_text(content)
    with pytest.raises(ValueError, match=r"index\.json: cannot be read .*build it again"):
        read_manifest(index, "dense", CONFIG, store)
    assert not fits(index, "dense", CONFIG, store)
