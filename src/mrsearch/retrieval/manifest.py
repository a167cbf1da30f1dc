"""`index.json`: what an index was made from, and whether it still fits."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from mrsearch.config.retrieval import Retriever
from mrsearch.retrieval.passages import PassageStore

FORMAT = 1
FILE = "index.json"
SERVING_ONLY = {"nprobe", "ef_search", "refine_factor", "shard_passages", "k1", "b"}
"""Keys that may change without building again."""
SERVING_ONLY_ENCODER = {"batch_size", "query_prefix"}


def write_manifest(folder: Path, name: str, config: Retriever, store: PassageStore, **facts: Any) -> None:
    """Write `index.json` with the corpus hash and the size and sha256 of every other file below the folder."""
    files = {
        str(file.relative_to(folder)): {"bytes": file.stat().st_size, "sha256": file_sha256(file)}
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != FILE
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
    (folder / FILE).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def read_manifest(folder: Path, name: str, config: Retriever, store: PassageStore) -> dict[str, Any]:
    """The manifest of an index that fits configuration and corpus and is complete; otherwise a ValueError says why."""
    again = "build it again with `mrsearch index build`"
    try:
        manifest: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{folder}: no index of retriever {name!r} here (no {FILE}): {again}") from error
    if manifest["format"] != FORMAT:
        raise ValueError(f"{folder}: index format {manifest['format']}, expected {FORMAT}: {again}")
    if manifest["passages"] != len(store):
        raise ValueError(f"{folder}: holds {manifest['passages']} passages, the corpus {len(store)}: {again}")
    if manifest["corpus_sha256"] != store.sha256:
        raise ValueError(f"{folder}: was built from another corpus than {store.path}: {again}")
    wanted = built_from(config)
    for key in sorted(manifest["made_from"].keys() | wanted.keys()):
        if manifest["made_from"].get(key) != wanted.get(key):
            raise ValueError(
                f"{folder}: retrieval.retrievers.{name}.{key} is {wanted.get(key)!r}, but the index was built with "
                f"{manifest['made_from'].get(key)!r}: {again}"
            )
    for file, facts in manifest["files"].items():
        size = (folder / file).stat().st_size if (folder / file).exists() else 0
        if size != facts["bytes"]:
            raise ValueError(f"{folder / file}: {size} bytes, expected {facts['bytes']}: the index is damaged, {again}")
    return manifest


def built_from(config: Retriever) -> dict[str, Any]:
    """The configuration values that an index depends on."""
    values = config.model_dump(mode="json", exclude=SERVING_ONLY)
    if "encoder" in values:
        values["encoder"] = {k: v for k, v in values["encoder"].items() if k not in SERVING_ONLY_ENCODER}
    return values


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
