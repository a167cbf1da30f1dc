"""`index.json`: what an index was made from, and whether it still fits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mrsearch.config.retrieval import Retriever
from mrsearch.files import file_sha256, write_json
from mrsearch.retrieval.indexes.passages import PassageStore
from mrsearch.seal import SAMPLES, WHOLE_BYTES, is_as_written, read_samples, write_samples

FORMAT = 1
FILE = "index.json"
SERVING_ONLY = {"nprobe", "ef_search", "refine_factor", "shard_passages", "k1", "b"}
"""Keys that may change without building again."""
SERVING_ONLY_ENCODER = {"batch_size", "query_prefix"}


def write_manifest(
    folder: Path,
    name: str,
    config: Retriever,
    store: PassageStore,
    hashes: Mapping[str, str | None] | None = None,
    **facts: Any,
) -> None:
    """Write `index.json` with the corpus hash and the size and sha256 of every other file below the folder, and beside
    it samples of them, which are compared whenever the index is opened. `hashes` has the sha256 of files whose writer
    knows it, by name; the others are read."""
    of_writers = hashes or {}
    files = {
        str(file.relative_to(folder)): {
            "bytes": file.stat().st_size,
            "sha256": of_writers.get(str(file.relative_to(folder))) or file_sha256(file),
        }
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in (FILE, SAMPLES)
    }
    manifest = {
        "format": FORMAT,
        "name": name,
        "made_from": built_from(config),
        "passages": len(store),
        "corpus_sha256": store.sha256,
        **facts,
        "files": files,
    }
    write_samples(folder)
    write_json(folder / FILE, manifest)


def fits(folder: Path, name: str, config: Retriever, store: PassageStore) -> bool:
    """Whether the folder holds a complete index that fits configuration and corpus."""
    try:
        read_manifest(folder, name, config, store)
    except ValueError:
        return False
    return True


def read_manifest(folder: Path, name: str, config: Retriever, store: PassageStore) -> dict[str, Any]:
    """The manifest of an index that fits configuration and corpus and is complete; otherwise a ValueError says why."""
    again = "build it again with `mrsearch index build`"
    manifest = _read(folder, name, again)
    if manifest["format"] != FORMAT:
        raise ValueError(f"{folder}: index format {manifest['format']}, expected {FORMAT}: {again}")
    if manifest["passages"] != len(store):
        raise ValueError(f"{folder}: holds {manifest['passages']} passages, the corpus {len(store)}: {again}")
    if manifest["corpus_sha256"] != store.sha256:
        raise ValueError(f"{folder}: was built from another corpus than {store.path}: {again}")
    configured = built_from(config)
    for key in sorted(manifest["made_from"].keys() | configured.keys()):
        if manifest["made_from"].get(key) != configured.get(key):
            raise ValueError(
                f"{folder}: retrieval.retrievers.{name}.{key} is {configured.get(key)!r}, but the index was built with "
                f"{manifest['made_from'].get(key)!r}: {again}"
            )
    samples = read_samples(folder)
    for file, facts in manifest["files"].items():
        path, size = folder / file, facts["bytes"]
        if not is_as_written(path, size, facts["sha256"] if size <= WHOLE_BYTES else samples.get(file)):
            present = f"{path.stat().st_size} bytes" if path.is_file() else "missing"
            raise ValueError(
                f"{path}: {present}, expected {size} bytes as they were written: the index is damaged, {again}"
            )
    return manifest


def verify(folder: Path) -> int:
    """Read an index whole and compare every file with the hash that the build wrote down; returns the bytes read.

    ValueError names the files that are missing or other ones.
    """
    again = "build it again with `mrsearch index build`"
    files = _read(folder, folder.name, again)["files"]
    damaged = [
        name
        for name, facts in files.items()
        if not (folder / name).is_file() or file_sha256(folder / name) != facts["sha256"]
    ]
    if damaged:
        raise ValueError(f"{folder}: {', '.join(damaged)}: missing, or not what was written: {again}")
    return sum(facts["bytes"] for facts in files.values())


def _read(folder: Path, name: str, again: str) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if {"format", "passages", "corpus_sha256", "made_from", "files"} - manifest.keys():
            raise ValueError("keys are missing")
    except FileNotFoundError as error:
        raise ValueError(f"{folder}: no index of retriever {name!r} here (no {FILE}): {again}") from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{folder / FILE}: cannot be read ({error}): {again}") from error
    return manifest


def built_from(config: Retriever) -> dict[str, Any]:
    """The configuration values that an index depends on."""
    values = config.model_dump(mode="json", exclude=SERVING_ONLY)
    if "encoder" in values:
        values["encoder"] = {k: v for k, v in values["encoder"].items() if k not in SERVING_ONLY_ENCODER}
    return values
