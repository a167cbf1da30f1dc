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

from mrsearch.config.hub_rows import HubFile
from mrsearch.data import hashes
from mrsearch.data.registry import BRANCH, RegistryEntry
from mrsearch.data.transfer import DownloadSource, fetch
from mrsearch.files import atomic_file, publish_folder

log = logging.getLogger(__name__)

PARALLEL = 4
"""Files in flight at the same time."""


@dataclass(frozen=True)
class MissingFile:
    """A file that has to be brought."""

    row: RegistryEntry
    file: HubFile | None
    """None where the repository's list of files is not known without asking the hub."""

    def __str__(self) -> str:
        name = self.file.path if self.file else ", ".join(self.row.patterns)
        size = f"{self.file.bytes:,} bytes" if self.file and self.file.bytes else "size unknown"
        return f"{self.row.name}: {self.row.repository}@{self.row.revision or BRANCH} {name} ({size})"


def download(row: RegistryEntry, out: Path, *, mirror: str | None = None, offline: bool | None = None) -> None:
    """Bring every file of a row into the folder `out`, which appears when all of them are complete and verified.

    mirror: a local folder that holds `<repository>/<file>`, or the address of another hub; null is the public hub (or
    HF_ENDPOINT). Partial files wait in `<out>.part`, so an interrupted download goes on there. Size and sha256 must be
    those of the registry or, where it has none, those that the hub announces; the sha256 that came first is recorded in
    `<out>.sha256`, and later downloads must have it too. offline (default: HF_HUB_OFFLINE): no
    network; ValueError then lists what is missing. Other ValueErrors: a file that does not exist, is refused, or stays
    different from its checksum.
    """
    from huggingface_hub import constants

    offline = constants.HF_HUB_OFFLINE if offline is None else offline
    if out.is_dir():
        return
    draft = out.with_name(out.name + ".part")
    local = local_mirror(mirror)
    if offline and not local:
        raise ValueError(missing_message(missing([(row, out)]), out.parent))
    source = DownloadSource(row, local, mirror if local is None else None)
    files = hashes.expected(row, row.files or _listed(source), out)
    draft.mkdir(parents=True, exist_ok=True)
    if draft.is_symlink():
        raise ValueError(f"{draft}: is a link, into which no download goes: remove it")
    log.info("%s: %d files of %s@%s", row.name, len(files), row.repository, row.revision or BRANCH)
    with ThreadPoolExecutor(PARALLEL) as pool:
        jobs = [pool.submit(fetch, source, file, draft / file.path) for file in files]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            for job in jobs:
                job.cancel()
            raise
    hashes.record(row, files, draft, out)
    publish_folder(draft, out)


def missing(downloads: Iterable[tuple[RegistryEntry, Path]]) -> list[MissingFile]:
    """What the folders of these rows lack; a folder that exists is whole, since it was verified before it appeared."""
    lacking: list[MissingFile] = []
    for row, folder in downloads:
        if not folder.is_dir():
            draft = folder.with_name(folder.name + ".part")
            files = [file for file in row.files or () if not (draft / file.path).is_file()]
            lacking += [MissingFile(row, file) for file in files] or [MissingFile(row, None)]
    return lacking


def missing_message(lacking: Sequence[MissingFile], where: Path) -> str:
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


def _listed(source: DownloadSource) -> tuple[HubFile, ...]:
    """The files that the repository holds at the row's revision and that its patterns name."""
    row = source.row
    files = tuple(file for file in source.list_files() if is_wanted(file.path, row))
    if not files:
        raise ValueError(f"{row.name}: {source.where} holds no file that fits {', '.join(row.patterns)}")
    return files


def is_wanted(path: str, row: RegistryEntry) -> bool:
    """Whether a row's patterns name the file. Of a model, a pattern without a folder names files outside folders, and
    no second copy of the weights in another layout."""
    if row.kind != "model":
        return any(fnmatch.fnmatch(path, pattern) for pattern in row.patterns)
    fitting = [pattern for pattern in row.patterns if pattern.count("/") == path.count("/")]
    return not path.startswith("consolidated") and any(fnmatch.fnmatch(path, pattern) for pattern in fitting)


def join(shards: Sequence[Path], out: Path) -> None:
    """Write the shards one after the other into `out`, whole or not at all."""
    with atomic_file(out) as draft, draft.open("wb") as joined:
        for path in shards:
            with path.open("rb") as piece:
                shutil.copyfileobj(piece, joined, 1 << 24)
