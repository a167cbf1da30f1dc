"""Servers that would fill the disk, never end, or learn a secret; files that change after they first came."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from mrsearch.data import hub_requests, transfer
from mrsearch.data.download import download
from mrsearch.data.hub_requests import authorised, without_password
from mrsearch.data.registry import RegistryEntry

COMMIT = "c" * 40
SIZE = 18_000
BODY = bytes(range(250)) * 72
SHA256 = hashlib.sha256(BODY).hexdigest()
Answer = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer("head")

    def do_GET(self) -> None:
        self.answer("list" if self.path.startswith("/api/") else "get")

    def answer(self, kind: str) -> None:
        self.server.seen.append((kind, self.path, self.headers.get("Authorization")))
        try:
            self.server.answers[kind](self)
        except OSError:
            self.close_connection = True

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Hub(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str, str | None]] = []
        self.over = threading.Event()
        self.answers: dict[str, Answer] = {
            "head": lambda on: on.send(200, b"", ETag=f'"{SHA256}"', Content_Length=str(SIZE)),
            "get": lambda on: on.send(200, BODY),
            "list": lambda on: on.send(200, listing({"path": "a.bin", "size": SIZE})),
        }

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def listing(*entries: dict[str, Any]) -> bytes:
    return json.dumps([{"type": "file", **entry} for entry in entries]).encode()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(transfer, "TRIES", 2)
    monkeypatch.setattr(transfer, "LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 60.0)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


def row(known: bool = True, **changes: Any) -> RegistryEntry:
    facts = {"bytes": SIZE, "sha256": SHA256} if known else {}
    files = [{"path": "a.bin", **facts}]
    values = {"name": "r", "kind": "model", "repository": "o/r", "revision": COMMIT, "files": files, "source": "test"}
    return RegistryEntry.model_validate(values | changes)


def disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def drips(on: Handler, beginning: bytes, piece: bytes = b"x") -> None:
    """Something now and then, for ever."""
    on.wfile.write(beginning)
    while not on.server.over.wait(0.02):
        on.wfile.write(piece)
        on.wfile.flush()


def floods(on: Handler, beginning: bytes) -> None:
    on.wfile.write(beginning)
    while not on.server.over.is_set():
        on.wfile.write(b"x" * 65_536)


OK = b"HTTP/1.1 200 OK\r\n"
LARGE = {
    "without a length": lambda on: floods(on, OK + b"\r\n"),
    "with another length": lambda on: floods(on, OK + b"Content-Length: 999999999999\r\n\r\n"),
    "in chunks": lambda on: [on.wfile.write(OK + b"Transfer-Encoding: chunked\r\n\r\n"), floods_in_chunks(on)],
    "packed": lambda on: floods(on, OK + b"Content-Encoding: gzip\r\n\r\n"),
    "as a part": lambda on: floods(on, b"HTTP/1.1 206 Partial\r\n\r\n"),
}


def floods_in_chunks(on: Handler) -> None:
    while not on.server.over.is_set():
        on.wfile.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")


@pytest.mark.parametrize("kind", LARGE)
@pytest.mark.parametrize("known", [True, False])
def test_no_more_is_written_than_was_announced(hub: Hub, tmp_path: Path, kind: str, known: bool) -> None:
    hub.answers["get"] = LARGE[kind]
    with pytest.raises(ValueError, match="did not arrive after 2 attempts"):
        download(row(known), tmp_path / "out", mirror=hub.address)
    assert disk(tmp_path) < SIZE + 200 and not (tmp_path / "out").exists()


DRIPS = {
    "get": lambda on: drips(on, OK + b"Content-Length: 18000\r\n\r\n"),
    "get, in chunks": lambda on: drips(on, OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "get, in its headers": lambda on: drips(on, OK + b"X: "),
    "get, in further headers": lambda on: drips(on, OK, b"X: y\r\n"),
    "get, nothing": lambda on: drips(on, b"", b""),
    "head": lambda on: drips(on, OK + b"X: "),
    "head, nothing": lambda on: drips(on, b"", b""),
    "list": lambda on: drips(on, OK + b"\r\n["),
    "list, in its headers": lambda on: drips(on, OK + b"X: "),
}


@pytest.mark.parametrize("kind", DRIPS)
def test_what_drips_ends(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(transfer, "TRIES", 1)
    monkeypatch.setattr(hub_requests, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(hub_requests, "WINDOW_SECONDS", 0.5)
    hub.answers[kind.partition(",")[0]] = DRIPS[kind]
    wanted = row(files=None) if kind.startswith("list") else row()
    with pytest.raises(ValueError, match="did not arrive after 1 attempts"):
        download(wanted, tmp_path / "out", mirror=hub.address)


@pytest.mark.parametrize("size", ["", "-1", "1e9", "9" * 30, str(1 << 41), "18000.0", "0x10"])
def test_sizes_that_are_none_or_too_large_are_refused_before_anything_is_fetched(
    hub: Hub, tmp_path: Path, size: str
) -> None:
    hub.answers["head"] = lambda on: on.send(200, ETag=f'"{SHA256}"', Content_Length="", X_Linked_Size=size)
    with pytest.raises(ValueError, match="could fill the disk"):
        download(row(known=False), tmp_path / "out", mirror=hub.address)
    assert "get" not in {kind for kind, _, _ in hub.seen}


def test_a_file_larger_than_the_room_is_refused(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "SPARE_BYTES", shutil.disk_usage(tmp_path).free)
    with pytest.raises(ValueError, match=r"a\.bin needs 0\.000 GB, and .* has 0\.000 GB to spare"):
        download(row(), tmp_path / "out", mirror=hub.address)


LISTS: dict[str, tuple[Answer, str]] = {
    "endless pages": (
        lambda on: on.send(200, listing({"path": "a", "size": 1}) * 1, Link=f'<{on.path}>; rel="next"'),
        "lists more than 50 files",
    ),
    "a large page": (lambda on: on.send(200, b"[" + b" " * 5_000 + b"]"), "an answer of more than 4,000 bytes"),
    "an endless page": (lambda on: floods(on, OK + b"\r\n["), "an answer of more than 4,000 bytes"),
    "no JSON": (lambda on: on.send(200, b"<html>"), "cannot be read"),
    "deep JSON": (lambda on: on.send(200, b"[" * 3_900), "cannot be read"),
    "a mapping": (lambda on: on.send(200, b'{"type": "file"}'), "cannot be read"),
    "no path": (lambda on: on.send(200, b'[{"type": "file", "size": 1}]'), "cannot be read"),
    "a path that leads out": (lambda on: on.send(200, listing({"path": "../../x", "size": 1})), "cannot be read"),
    "an absolute path": (lambda on: on.send(200, listing({"path": "/etc/x", "size": 1})), "cannot be read"),
    "a path with a line": (lambda on: on.send(200, listing({"path": "a\n", "size": 1})), "cannot be read"),
    "a size that is text": (lambda on: on.send(200, listing({"path": "a", "size": "many"})), "cannot be read"),
    "a negative size": (lambda on: on.send(200, listing({"path": "a", "size": -1})), "cannot be read"),
    "a hash that is none": (
        lambda on: on.send(200, listing({"path": "a", "size": 1, "lfs": {"oid": "../x"}})),
        "cannot be read",
    ),
}


@pytest.mark.parametrize("kind", LISTS)
def test_odd_lists_of_files_end_in_one_sentence(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(transfer, "MOST_LIST_BYTES", 4_000)
    monkeypatch.setattr(transfer, "MOST_LISTED", 50)
    hub.answers["list"], message = LISTS[kind]
    with pytest.raises(ValueError, match=message):
        download(row(files=None), tmp_path / "out", mirror=hub.address)
    assert disk(tmp_path) == 0


@pytest.mark.parametrize(
    ("address", "goes"),
    [
        ("https://huggingface.co/o/r/resolve/main/a", True),
        ("http://huggingface.co/o/r/resolve/main/a", False),
        ("https://mirror.example/o/r/resolve/main/a", False),
        ("https://huggingface.co.example/a", False),
        ("https://huggingface.co:8443/a", False),
        ("https://huggingface.co@mirror.example/a", False),
        ("https://cdn-lfs.huggingface.co/a", False),
        ("http://127.0.0.1:1/a", False),
    ],
)
def test_the_token_goes_to_the_hub_alone(monkeypatch: pytest.MonkeyPatch, address: str, goes: bool) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(constants, "ENDPOINT", "https://huggingface.co")
    assert authorised(address) == ({"Authorization": "Bearer hf_secret"} if goes else {})


def test_the_token_does_not_go_to_a_hub_over_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.example")
    assert authorised("http://hub.example/a") == {}


def test_a_mirror_never_sees_the_token(hub: Hub, tmp_path: Path) -> None:
    download(row(files=None), tmp_path / "out", mirror=hub.address)
    assert {kind for kind, _, _ in hub.seen} == {"list", "head", "get"}
    assert {sent for _, _, sent in hub.seen} == {None}


def test_a_password_shows_nowhere(hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mirror = hub.address.replace("http://", "http://mira:pass%20word@")
    caplog.set_level(logging.DEBUG)
    download(row(files=None), tmp_path / "out", mirror=mirror)
    sent = "Basic " + base64.b64encode(b"mira:pass word").decode()
    assert {header for _, _, header in hub.seen} == {sent}
    broken: dict[str, Answer] = {
        "list": lambda on: on.send(404),
        "head": lambda on: on.send(403),
        "get": lambda on: on.send(500),
    }
    texts = []
    for kind, answer in broken.items():
        working, hub.answers[kind] = hub.answers[kind], answer
        with pytest.raises(ValueError, match="o/r") as refused:
            download(row(files=None), tmp_path / kind, mirror=mirror)
        hub.answers[kind] = working
        texts.append(str(refused.value))
    hub.answers["head"] = lambda on: on.send(200, ETag=f'"{"f" * 64}"', Content_Length=str(SIZE))
    with pytest.raises(ValueError, match="announces sha256") as refused:
        download(row(), tmp_path / "other", mirror=mirror)
    told = "\n".join([*texts, str(refused.value), caplog.text])
    assert "pass%20word" not in told and "pass word" not in told and sent not in told


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://a:b@mirror.example/x?y", "https://mirror.example/x?y"),
        ("https://a:b@c@mirror.example", "https://mirror.example"),
        ("https://token@mirror.example:8443/x", "https://mirror.example:8443/x"),
        ("https://mirror.example/x@y", "https://mirror.example/x@y"),
    ],
)
def test_addresses_are_shown_without_their_password(address: str, shown: str) -> None:
    assert without_password(address) == shown


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/a", "gopher://127.0.0.1", "javascript:1"])
def test_no_answer_leads_on_to_anything_but_http(hub: Hub, tmp_path: Path, target: str) -> None:
    hub.answers["get"] = lambda on: on.send(302, Location=target)
    with pytest.raises(ValueError, match=r"not secure|is no address"):
        download(row(), tmp_path / "out", mirror=hub.address)


def test_answers_lead_on_a_few_times(hub: Hub, tmp_path: Path) -> None:
    hub.answers["get"] = lambda on: on.send(302, Location=on.path)
    with pytest.raises(ValueError, match="leads on more than 5 times"):
        download(row(), tmp_path / "out", mirror=hub.address)


def test_what_came_first_is_what_later_downloads_must_be(hub: Hub, tmp_path: Path) -> None:
    """The hub announces another file for the same commit: nobody but the record beside the folder can tell."""
    wanted, out = row(files=None), tmp_path / "o--r@c"
    download(wanted, out, mirror=hub.address)
    record = tmp_path / "o--r@c.sha256"
    assert record.read_text() == f"{SHA256}  a.bin\n"
    shutil.rmtree(out)
    other = BODY[:-1] + b"!"
    hub.answers["get"] = lambda on: on.send(200, other)
    hub.answers["head"] = lambda on: on.send(200, Content_Length=str(SIZE))
    with pytest.raises(ValueError, match="its checksum is"):
        download(wanted, out, mirror=hub.address)
    hub.answers["head"] = lambda on: on.send(
        200, ETag=f'"{hashlib.sha256(other).hexdigest()}"', Content_Length=str(SIZE)
    )
    with pytest.raises(ValueError, match="the first download"):
        download(wanted, out, mirror=hub.address)
    hub.answers["list"] = lambda on: on.send(
        200, listing({"path": "a.bin", "size": SIZE}, {"path": "code.py", "size": 3})
    )
    with pytest.raises(ValueError, match=r"holds other files than those recorded .*code\.py"):
        download(wanted, out, mirror=hub.address)
    record.write_text("no hash  a.bin\n")
    with pytest.raises(ValueError, match="no sha256"):
        download(wanted, out, mirror=hub.address)
    assert not out.exists()


def test_a_registered_file_needs_no_record(hub: Hub, tmp_path: Path) -> None:
    download(row(), tmp_path / "out", mirror=hub.address)
    assert not list(tmp_path.glob("*.sha256"))


def test_a_link_in_the_way_receives_nothing(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "out.part").symlink_to(tmp_path / "victim")
    with pytest.raises(ValueError, match="is a link"):
        download(row(), tmp_path / "out", mirror=hub.address)
    (tmp_path / "out.part").unlink()
    (tmp_path / "out.part").mkdir()
    (tmp_path / "victim" / "thesis").write_text("mine")
    (tmp_path / "out.part" / "a.bin.incomplete").symlink_to(tmp_path / "victim" / "thesis")
    (tmp_path / "out.part" / "a.bin.incomplete.of").write_text(SHA256)
    with pytest.raises(OSError, match="symbolic links"):
        download(row(), tmp_path / "out", mirror=hub.address)
    assert (tmp_path / "victim" / "thesis").read_text() == "mine"


def test_an_empty_file_arrives(hub: Hub, tmp_path: Path) -> None:
    hub.answers["head"] = lambda on: on.send(200, Content_Length="0")
    hub.answers["list"] = lambda on: on.send(200, listing({"path": "__init__", "size": 0}))
    download(row(files=None), tmp_path / "out", mirror=hub.address)
    assert (tmp_path / "out" / "__init__").read_bytes() == b""
