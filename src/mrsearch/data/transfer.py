"""Bringing one file from the hub, from a mirror of it or from a folder, and making sure of it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from mrsearch.config.hub_rows import HubFile
from mrsearch.data.hub_requests import Answer, Transient, check_status, look, read, stream, without_password
from mrsearch.data.registry import BRANCH, RegistryEntry
from mrsearch.durable import open_own
from mrsearch.files import publish_link, write_text

log = logging.getLogger(__name__)

TRIES = 4
"""Attempts per file; each goes on where the one before stopped, unless the bytes turned out to be wrong."""
LONGEST_PAUSE = 30.0
"""Seconds between two attempts, at most."""
BLOCK = 1 << 22
MOST_LIST_BYTES = 1 << 24
MOST_LISTED = 100_000
"""Files of a repository."""
MOST_FILE_BYTES = 1 << 40
"""Of one file whose size the registry does not know."""
SPARE_BYTES = 1 << 30
"""Room that a download leaves on the disk."""
T = TypeVar("T")


@dataclass(frozen=True)
class DownloadSource:
    """Where the files of a row come from: a folder, or an address that speaks the hub's language."""

    row: RegistryEntry
    folder: Path | None = None
    address: str | None = None
    """None is the public hub, or what HF_ENDPOINT names."""

    @property
    def where(self) -> str:
        """For messages."""
        remote = without_password(self.address or "the hub")
        location = str(self.folder / self.row.repository) if self.folder else remote
        return f"{self.row.repository}@{self.row.revision or BRANCH} at {location}"

    def list_files(self) -> list[HubFile]:
        """All files of the repository at the row's revision, with the sizes and checksums that the hub announces."""
        if self.folder:
            home = self.folder / self.row.repository
            files = sorted(path for path in home.rglob("*") if path.is_file())
            return [HubFile(path=str(path.relative_to(home))) for path in files]
        return _persist(self._ask_for_files, f"{self.row.name}: the list of files of {self.where}")

    def _ask_for_files(self) -> list[HubFile]:
        row, files = self.row, list[HubFile]()
        where = f"{row.repo_type}s/{row.repository}/tree/{quote(row.revision or BRANCH, safe='')}"
        url: str | None = f"{self.endpoint}/api/{where}?recursive=true&expand=false"
        while url is not None:
            page = read(url, MOST_LIST_BYTES)
            check_status(page.status, f"{row.name}: the list of files of {self.where}")
            files += _listed(page, row)
            if len(files) > MOST_LISTED:
                raise ValueError(f"{row.name}: {self.where} lists more than {MOST_LISTED:,} files")
            url = _next_page(page)
        return files

    @property
    def endpoint(self) -> str:
        """Where the hub's language is spoken."""
        from huggingface_hub import constants

        return (self.address or constants.ENDPOINT).rstrip("/")


def _listed(page: Answer, row: RegistryEntry) -> list[HubFile]:
    """The files of one page of a list; ValueError where it is none, or names files outside of the repository."""
    try:
        entries = [entry for entry in json.loads(page.body) if entry["type"] == "file"]
        return [
            HubFile(path=entry["path"], bytes=entry["size"] or None, sha256=(entry.get("lfs") or {}).get("oid"))
            for entry in entries
        ]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{row.name}: the list of its files cannot be read: {error!r:.300}") from error


def _next_page(page: Answer) -> str | None:
    """The address of the next page of a list, on the same host."""
    import httpx

    onward = httpx.Response(200, headers={"Link": page.headers.get("Link", "")}).links.get("next", {}).get("url")
    base = httpx.URL(page.url)
    return str(base.join(onward)) if onward and base.join(onward).host == base.host else None


def fetch(source: DownloadSource, file: HubFile, out: Path) -> None:
    """Make `out` a verified copy of the file; what arrived of it waits in `<out>.incomplete`.

    ValueError where the file does not exist, is refused, or differs from its checksum every time.
    """
    if out.is_file():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    attempt = _copy if source.folder else _transfer
    _persist(lambda: attempt(source, file, out), f"{source.row.name}: {file.path} of {source.where}")


def _persist(attempt: Callable[[], T], label: str) -> T:
    """The attempt's result, tried again with growing pauses while its errors are transient."""
    from tenacity import RetryCallState, RetryError, Retrying, retry_if_exception_type, stop_after_attempt
    from tenacity import wait_random_exponential as pause

    def report(state: RetryCallState) -> None:
        log.warning("%s: %s; trying again", label, state.outcome.exception() if state.outcome else "")

    tries = Retrying(
        retry=retry_if_exception_type(Transient),
        stop=stop_after_attempt(TRIES),
        wait=pause(multiplier=0.5, max=LONGEST_PAUSE),
        before_sleep=report,
    )
    try:
        return tries(attempt)
    except RetryError as error:
        last = error.last_attempt.exception()
        raise ValueError(f"{label} did not arrive after {TRIES} attempts: {last}") from last


def _copy(source: DownloadSource, file: HubFile, out: Path) -> None:
    """A link to the mirror's file, or a copy where the disk differs; verified first."""
    assert source.folder is not None
    original = source.folder / source.row.repository / file.path
    if not original.is_file():
        raise ValueError(f"{source.row.name}: {original} does not exist: the mirror lacks this file")
    problem = difference(original, file.bytes, file.sha256)
    if problem:
        raise ValueError(f"{source.row.name}: {original} is not the registered file: {problem}")
    publish_link(original.resolve(), out)


def _transfer(source: DownloadSource, file: HubFile, out: Path) -> None:
    """One attempt over HTTP, from where the last one stopped."""
    draft = _incomplete(out)
    url, size, checksum = _announced(source, file)
    _same_origin(draft, checksum)
    start = draft.stat().st_size if draft.is_file() else 0
    if start > size:
        draft.unlink()
        start = 0
    _check_room(source, file, out, size - start)
    with os.fdopen(open_own(draft, os.O_RDWR | os.O_CREAT), "r+b") as target:
        target.seek(start)
        if start < size:
            stream(url, target, start, size)
    if checksum is None:
        log.warning("%s: no checksum is known: only its size was compared", file.path)
    problem = difference(draft, size, checksum)
    if problem:
        draft.unlink()
        raise Transient(f"what arrived is not the registered file: {problem}")
    draft.replace(out)
    _mark(draft).unlink(missing_ok=True)


def _announced(source: DownloadSource, file: HubFile) -> tuple[str, int, str | None]:
    """Address, size and checksum of a file: the registry's where it has them, else what the hub announces.

    ValueError where both are known and differ, since another file stands there now, and where nobody knows the size.
    """
    from huggingface_hub import hf_hub_url

    row = source.row
    revision = row.revision or BRANCH
    url = hf_hub_url(row.repository, file.path, repo_type=row.repo_type, revision=revision, endpoint=source.endpoint)
    facts = look(url)
    if not 300 <= facts.status < 400:
        check_status(facts.status, f"{row.name}: {file.path} of {source.where}")
    announced_size, checksum = _size(facts), _checksum(facts)
    for kind, registered, announced in (
        ("bytes", file.bytes, announced_size),
        ("sha256", file.sha256, checksum if checksum and len(checksum) == 64 else None),
    ):
        if registered is not None and announced is not None and registered != announced:
            raise ValueError(
                f"{row.name}: {without_password(url)} announces {kind} {announced}, the registry says {registered} (or "
                "the first download did): not downloaded"
            )
    size = file.bytes or announced_size
    if size is None or size > MOST_FILE_BYTES:
        raise ValueError(
            f"{row.name}: {without_password(url)} announces {'no size' if size is None else f'{size:,} bytes'}: not "
            "downloaded, since it could fill the disk"
        )
    return facts.url, size, file.sha256 or checksum


def _size(facts: Answer) -> int | None:
    length = "" if facts.status >= 300 else facts.headers.get("Content-Length", "")
    announced = facts.headers.get("X-Linked-Size") or length
    return int(announced) if announced.isascii() and announced.isdecimal() and len(announced) < 20 else None


def _checksum(facts: Answer) -> str | None:
    """A sha256, or git's id of a small file, from the headers of an answer."""
    etag = (facts.headers.get("X-Linked-ETag") or facts.headers.get("ETag") or "").removeprefix("W/").strip('"')
    is_checksum = len(etag) in (40, 64) and all(digit in "0123456789abcdef" for digit in etag)
    return etag if is_checksum else None


def _check_room(source: DownloadSource, file: HubFile, out: Path, size: int) -> None:
    room = max(0, shutil.disk_usage(out.parent).free - SPARE_BYTES)
    if size > room:
        raise ValueError(
            f"{source.row.name}: {file.path} needs {size / 1e9:.3f} GB, and {out.parent} has {room / 1e9:.3f} GB to "
            f"spare ({SPARE_BYTES / 1e9:.1f} GB stay free)"
        )


def _same_origin(draft: Path, checksum: str | None) -> None:
    """Forget what arrived of another version of the file."""
    mark = _mark(draft)
    origin = mark.read_text(encoding="utf-8") if mark.is_file() else ""
    if origin != (checksum or "unknown"):
        draft.unlink(missing_ok=True)
        write_text(mark, checksum or "unknown")


def difference(path: Path, size: int | None, checksum: str | None) -> str | None:
    """What is wrong with a file, or None. A checksum of 40 digits is git's blob id, one of 64 a sha256."""
    actual = path.stat().st_size
    if size is not None and actual != size:
        return f"it has {actual} bytes instead of {size}"
    if checksum is None:
        return None
    if len(checksum) == 64:
        digest = hashlib.sha256()
    else:
        digest = hashlib.sha1(f"blob {actual}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    if digest.hexdigest() != checksum:
        return f"its checksum is {digest.hexdigest()} instead of {checksum}"
    return None


def _mark(draft: Path) -> Path:
    """Beside a partial file: the checksum of the version it belongs to."""
    return draft.with_name(draft.name + ".of")


def _incomplete(out: Path) -> Path:
    return out.with_name(out.name + ".incomplete")
