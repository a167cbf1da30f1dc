"""Downloads that become visible only when they are whole and are what the registry says.

huggingface_hub names, authorises and streams the files. What it leaves to us: going on where a killed process stopped
(its own partial files are dropped with the process), comparing checksums, and saying what is missing.
"""

from __future__ import annotations

import fnmatch
import logging
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mrsearch.data.registry import BRANCH, HubFile, Row
from mrsearch.data.transfer import Source, fetch

log = logging.getLogger(__name__)

PARALLEL = 4
"""Files in flight at the same time."""


@dataclass(frozen=True)
class Missing:
    """A file that has to be brought."""

    row: Row
    file: HubFile | None
    """None where the repository's list of files is not known without asking the hub."""

    def __str__(self) -> str:
        name = self.file.path if self.file else ", ".join(self.row.patterns)
        size = f"{self.file.bytes:,} bytes" if self.file and self.file.bytes else "size unknown"
        return f"{self.row.name}: {self.row.repository}@{self.row.revision or BRANCH} {name} ({size})"


def download(row: Row, out: Path, *, mirror: str | None = None, offline: bool | None = None) -> None:
    """Bring every file of a row into the folder `out`, which appears when all of them are complete and verified.

    mirror: a local folder that holds `<repository>/<file>`, or the address of another hub; null is the public hub (or
    HF_ENDPOINT). Partial files wait in `<out>.part`, so an interrupted download goes on there. Size and sha256 must be
    those of the registry or, where it has none, those that the hub announces. offline (default: HF_HUB_OFFLINE): no
    network; ValueError then lists what is missing. Other ValueErrors: a file that does not exist, is refused, or stays
    different from its checksum.
    """
    from huggingface_hub import constants

    offline = constants.HF_HUB_OFFLINE if offline is None else offline
    if out.is_dir():
        return
    part = out.with_name(out.name + ".part")
    local = local_mirror(mirror)
    if offline and not local:
        raise ValueError(missing_message(missing([(row, out)]), out.parent))
    source = Source(row, local, mirror if local is None else None)
    files = row.files or _listed(source)
    part.mkdir(parents=True, exist_ok=True)
    log.info("%s: %d files of %s@%s", row.name, len(files), row.repository, row.revision or BRANCH)
    with ThreadPoolExecutor(PARALLEL) as pool:
        jobs = [pool.submit(fetch, source, file, part / file.path) for file in files]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            for job in jobs:
                job.cancel()
            raise
    part.rename(out)


def missing(wanted: Iterable[tuple[Row, Path]]) -> list[Missing]:
    """What the folders of these rows lack; a folder that exists is whole, since it was verified before it appeared."""
    found: list[Missing] = []
    for row, folder in wanted:
        if not folder.is_dir():
            part = folder.with_name(folder.name + ".part")
            files = [file for file in row.files or () if not (part / file.path).is_file()]
            found += [Missing(row, file) for file in files] or [Missing(row, None)]
    return found


def missing_message(lacking: Sequence[Missing], where: Path) -> str:
    """One message about all missing files, and what to do."""
    lines = "\n  ".join(map(str, lacking))
    return (
        f"{len(lacking)} downloads are missing below {where}:\n  {lines}\n"
        "run `mrsearch data download` where the hub can be reached, or put <repository>/<file> into a folder and name "
        "it in paths.mirror"
    )


def local_mirror(mirror: str | None) -> Path | None:
    """The mirror as a folder, or None where it is an address; ValueError where it is a folder that does not exist."""
    if mirror is None or mirror.startswith(("http://", "https://")):
        return None
    folder = Path(mirror)
    if not folder.is_dir():
        raise ValueError(f"paths.mirror ({mirror}) is neither a folder nor an http(s) address")
    return folder


def _listed(source: Source) -> tuple[HubFile, ...]:
    """The files that the repository holds at the row's revision and that its patterns name."""
    row = source.row
    chosen = tuple(file for file in source.list_files() if any(fnmatch.fnmatch(file.path, p) for p in row.patterns))
    if not chosen:
        raise ValueError(f"{row.name}: {source.where} holds no file that fits {', '.join(row.patterns)}")
    return chosen


def join(parts: Sequence[Path], out: Path) -> None:
    """Write the parts one after the other into `out`, whole or not at all."""
    part = out.with_name(out.name + ".part")
    with part.open("wb") as joined:
        for path in parts:
            with path.open("rb") as piece:
                shutil.copyfileobj(piece, joined, 1 << 24)
    part.replace(out)
