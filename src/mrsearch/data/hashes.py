"""What a download was when it first came: where no registry knows a file's sha256, every later copy is held to that.

The record `<folder>.sha256` is in the format of `sha256sum`, beside the folder, and stays when that is removed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mrsearch.config.hub_rows import HubFile
from mrsearch.data.registry import RegistryEntry
from mrsearch.files import file_sha256, write_text

LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def expected(row: RegistryEntry, files: Sequence[HubFile], folder: Path) -> tuple[HubFile, ...]:
    """The files with the sha256 that was recorded for those of which the registry has none.

    ValueError where a pinned revision holds other files than the first time, or where the record cannot be read.
    """
    path, recorded = _record(folder), _recorded(folder)
    names = {file.path for file in files}
    if recorded and row.revision and names != recorded.keys():
        differing = sorted(names ^ recorded.keys())
        raise ValueError(
            f"{row.name}: {row.repository}@{row.revision} holds other files than those recorded in {path}, "
            f"{differing[0]} among them: a commit cannot change, so something else answers; remove the record if you "
            "know why"
        )
    return tuple(file if file.sha256 else file.model_copy(update={"sha256": recorded.get(file.path)}) for file in files)


def record(row: RegistryEntry, files: Sequence[HubFile], arrived: Path, folder: Path) -> None:
    """Record what arrived in the folder `arrived`, which becomes `folder`; nothing where the registry knows it all."""
    if row.files is not None and all(file.sha256 for file in row.files):
        return
    names = sorted(file.path for file in files)
    write_text(_record(folder), "".join(f"{file_sha256(arrived / name)}  {name}\n" for name in names))


def _recorded(folder: Path) -> dict[str, str]:
    path = _record(folder)
    if not path.is_file():
        return {}
    rows = [LINE.fullmatch(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if None in rows:
        raise ValueError(f"{path}: holds a line that is no sha256 of a file: remove it if you know why")
    return {row[2]: row[1] for row in rows if row}


def _record(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.sha256")
