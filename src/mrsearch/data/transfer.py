"""Bringing one file from the hub, from a mirror of it or from a folder, and making sure of it."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlparse

from mrsearch.data.registry import BRANCH, HubFile, Row

log = logging.getLogger(__name__)

TRIES = 4
"""Attempts per file; each goes on where the one before stopped, unless the bytes turned out to be wrong."""
LONGEST_PAUSE = 30.0
"""Seconds between two attempts, at most."""
LOG_SECONDS = 30.0
"""Progress is written this often where nobody watches."""
BLOCK = 1 << 22
T = TypeVar("T")


class Transient(OSError):
    """A transfer that another attempt may mend."""


@dataclass(frozen=True)
class Source:
    """Where the files of a row come from: a folder, or an address that speaks the hub's language."""

    row: Row
    folder: Path | None = None
    address: str | None = None
    """None is the public hub, or what HF_ENDPOINT names."""

    @property
    def where(self) -> str:
        """For messages."""
        place = str(self.folder / self.row.repository) if self.folder else self.address or "the hub"
        return f"{self.row.repository}@{self.row.revision or BRANCH} at {place}"

    def list_files(self) -> list[HubFile]:
        """All files of the repository at the row's revision, with the sizes and checksums that the hub announces."""
        if self.folder:
            home = self.folder / self.row.repository
            found = sorted(path for path in home.rglob("*") if path.is_file())
            return [HubFile(path=str(path.relative_to(home))) for path in found]
        return _persist(self._ask_for_files, f"{self.row.name}: the list of files of {self.where}")

    def _ask_for_files(self) -> list[HubFile]:
        import httpx
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError
        from huggingface_hub.hf_api import RepoFile

        row = self.row
        try:
            tree = HfApi(endpoint=self.address).list_repo_tree(
                row.repository, revision=row.revision or BRANCH, repo_type=row.repo_type, recursive=True
            )
            entries = [entry for entry in tree if isinstance(entry, RepoFile)]
        except HfHubHTTPError as error:
            raise _refusal(self, "the list of files", error) from error
        except httpx.HTTPError as error:
            raise Transient(f"{type(error).__name__}: {error}") from error
        return [
            HubFile(path=entry.path, bytes=entry.size or None, sha256=entry.lfs.sha256 if entry.lfs else None)
            for entry in entries
        ]


def fetch(source: Source, file: HubFile, out: Path) -> None:
    """Make `out` a verified copy of the file; what arrived of it waits in `<out>.incomplete`.

    ValueError where the file does not exist, is refused, or differs from its checksum every time.
    """
    if out.is_file():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    attempt = _copy if source.folder else _transfer
    _persist(lambda: attempt(source, file, out), f"{source.row.name}: {file.path} of {source.where}")


def _persist(attempt: Callable[[], T], what: str) -> T:
    """The attempt's result, tried again with growing pauses while its errors are transient."""
    from tenacity import RetryCallState, RetryError, Retrying, retry_if_exception_type, stop_after_attempt
    from tenacity import wait_random_exponential as pause

    def report(state: RetryCallState) -> None:
        log.warning("%s: %s; trying again", what, state.outcome.exception() if state.outcome else "")

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
        raise ValueError(f"{what} did not arrive after {TRIES} attempts: {last}") from last


def _copy(source: Source, file: HubFile, out: Path) -> None:
    """A link to the mirror's file, or a copy where the disk differs; verified first."""
    assert source.folder is not None
    original = source.folder / source.row.repository / file.path
    if not original.is_file():
        raise ValueError(f"{source.row.name}: {original} does not exist: the mirror lacks this file")
    problem = difference(original, file.bytes, file.sha256)
    if problem:
        raise ValueError(f"{source.row.name}: {original} is not the registered file: {problem}")
    part = _incomplete(out)
    part.unlink(missing_ok=True)
    try:
        os.link(original.resolve(), part)
    except OSError:
        shutil.copyfile(original, part)
    part.replace(out)


def _transfer(source: Source, file: HubFile, out: Path) -> None:
    """One attempt over HTTP, from where the last one stopped."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError

    part = _incomplete(out)
    try:
        url, headers, size, checksum = _announced(source, file)
        _same_origin(part, checksum)
        start = part.stat().st_size if part.is_file() else 0
        if size is not None and start > size:
            part.unlink()
            start = 0
        _stream(url, headers, part, start, size, file.path)
    except HfHubHTTPError as error:
        raise _refusal(source, file.path, error) from error
    except httpx.HTTPError as error:
        raise Transient(f"{type(error).__name__}: {error}") from error
    except OSError as error:
        if error.errno is not None:  # the disk's, not the network's
            raise
        raise Transient(str(error)) from error
    if checksum is None:
        log.warning("%s: no checksum is known: only its size was compared", file.path)
    problem = difference(part, size, checksum)
    if problem:
        part.unlink()
        raise Transient(f"what arrived is not the registered file: {problem}")
    part.replace(out)
    _mark(part).unlink(missing_ok=True)


def _announced(source: Source, file: HubFile) -> tuple[str, dict[str, str], int | None, str | None]:
    """Address, headers, size and checksum of a file: the registry's where it has them, else what the hub announces.

    ValueError where both are known and differ: another file stands there now.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    row = source.row
    url = hf_hub_url(
        row.repository,
        file.path,
        repo_type=row.repo_type,
        revision=row.revision or BRANCH,
        endpoint=source.address,
    )
    facts = get_hf_file_metadata(url, endpoint=source.address, retry_on_errors=True)
    checksum = facts.etag if facts.etag and len(facts.etag) in (40, 64) else None
    for what, ours, theirs in (
        ("bytes", file.bytes, facts.size),
        ("sha256", file.sha256, checksum if checksum and len(checksum) == 64 else None),
    ):
        if ours is not None and theirs is not None and ours != theirs:
            raise ValueError(f"{row.name}: {url} announces {what} {theirs}, the registry says {ours}: not downloaded")
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    if urlparse(facts.location).netloc != urlparse(url).netloc:
        headers.pop("authorization", None)
    return facts.location, headers, file.bytes or facts.size, file.sha256 or checksum


def _same_origin(part: Path, checksum: str | None) -> None:
    """Forget what arrived of another version of the file."""
    mark = _mark(part)
    known = mark.read_text(encoding="utf-8") if mark.is_file() else ""
    if known != (checksum or "unknown"):
        part.unlink(missing_ok=True)
        mark.write_text(checksum or "unknown", encoding="utf-8")


def _stream(url: str, headers: dict[str, str], part: Path, start: int, size: int | None, name: str) -> None:
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import tqdm

    class Progress(tqdm):
        def __init__(self, *args: object, **options: object) -> None:
            if not sys.stderr.isatty():
                options["mininterval"] = LOG_SECONDS
            super().__init__(*args, **options)

    with part.open("ab") as target:
        http_get(
            url,
            target,
            resume_size=start,
            headers=headers,
            expected_size=size,
            displayed_filename=name,
            tqdm_class=Progress,
        )


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


def _refusal(source: Source, what: str, error: Exception) -> Exception:
    """Transient where waiting may help, else a ValueError that says what to do."""
    response = getattr(error, "response", None)
    status = response.status_code if response is not None else None
    if status is None or status in (408, 429) or status >= 500:
        return Transient(f"{type(error).__name__}: {error}")
    reason = {
        401: "access needs a token: log in with `hf auth login` or set HF_TOKEN",
        403: "access is refused: accept the licence on the hub's page and set HF_TOKEN",
        404: "it does not exist there",
    }.get(status, f"the answer was HTTP {status}")
    return ValueError(f"{source.row.name}: {what} of {source.where}: {reason}")


def _mark(part: Path) -> Path:
    """Beside a partial file: the checksum of the version it belongs to."""
    return part.with_name(part.name + ".of")


def _incomplete(out: Path) -> Path:
    return out.with_name(out.name + ".incomplete")
