"""Downloads from a real HTTP server that misbehaves in every way a network can."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from huggingface_hub import constants

from mrsearch.data import transfer
from mrsearch.data.download import download, missing
from mrsearch.data.registry import RegistryEntry

pytestmark = pytest.mark.integration
COMMIT = "c" * 40
BODY = bytes(range(256)) * 1200
CHUNK = 8192
"""Smaller than the library's own, so that a small file is cut between two chunks."""


class Hub(http.server.ThreadingHTTPServer):
    """Speaks as much of the hub's language as a download needs; `faults` names what goes wrong, per file and try."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = {}
        self.gets: Counter[str] = Counter()
        self.ranges: list[str] = []
        self.announced: dict[str, str] = {}
        self.authorised: list[str | None] = []
        self.running = self.most = 0
        self.gate = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        body = self.server.files.get(self.name())
        if body is None:
            return self.plain(404, {"X-Error-Code": "EntryNotFound"})
        etag = self.server.announced.get(self.name(), hashlib.sha256(body).hexdigest())
        self.plain(200, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"', "Content-Length": str(len(body))}, empty=False)

    def do_GET(self) -> None:
        if self.path.startswith("/api/"):
            return self.tree()
        name = self.name()
        with self.server.gate:
            self.server.gets[name] += 1
            self.server.running += 1
            self.server.most = max(self.server.most, self.server.running)
        self.runs = True
        try:
            self.serve(name, self.server.faults.get(name, []))
        finally:
            self.ended()

    def ended(self) -> None:
        """Nothing runs that a client may have got already: it asks for the next file before this thread goes on."""
        with self.server.gate:
            self.server.running -= self.runs
        self.runs = False

    def serve(self, name: str, faults: list[str]) -> None:
        self.server.authorised.append(self.headers.get("Authorization"))
        fault = faults.pop(0) if faults else ""
        body = self.server.files[name]
        if fault.isdigit():
            return self.plain(int(fault), {"Retry-After": "0"} if fault == "429" else {})
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        if asked:
            self.server.ranges.append(asked)
        if fault == "ignore range":
            start, asked = 0, None
        if fault == "corrupt":
            body = body[:100] + b"\xff\x00\xff" + body[103:]
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        rest = body[start:]
        if fault in ("truncate", "stall"):
            self.wfile.write(rest[: len(rest) // 2])
            self.wfile.flush()
            time.sleep(1.5 if fault == "stall" else 0)
            self.close_connection = True
            return self.connection.close()
        step = len(rest) // 40 if fault == "slow" else len(rest)
        for first in range(0, len(rest), max(1, step)):
            time.sleep(0.1 if fault == "slow" else 0.02)
            if first + max(1, step) >= len(rest):
                self.ended()
            self.wfile.write(rest[first : first + max(1, step)])

    def tree(self) -> None:
        entries = [
            {"type": "file", "path": name, "size": len(body), "oid": "0" * 40, "lfs": lfs(body)}
            for name, body in self.server.files.items()
        ]
        text = json.dumps(entries).encode()
        self.plain(200, {"Content-Type": "application/json", "Content-Length": str(len(text))}, empty=False)
        self.wfile.write(text)

    def plain(self, status: int, headers: dict[str, str], empty: bool = True) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if empty:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def name(self) -> str:
        return self.path.split("/resolve/", 1)[-1].split("/", 1)[-1]


def lfs(body: bytes) -> dict[str, object]:
    return {"oid": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 130}


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
    monkeypatch.setattr(transfer, "LONGEST_PAUSE", 0.05)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def row(hub, *names, known=True, **changes):
    """A row of files that the hub serves."""
    files = []
    for number, name in enumerate(names):
        body = hub.files[name] = BODY[number:] + name.encode()
        facts = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()} if known else {}
        files.append({"path": name, **facts})
    values = {"name": "r", "kind": "corpus", "repository": "o/r", "revision": COMMIT, "files": files, "source": "test"}
    return RegistryEntry.model_validate(values | changes)


@pytest.mark.parametrize(
    "faults",
    [
        [],
        ["truncate"],
        ["truncate", "truncate", "ignore range"],
        ["stall"],
        ["corrupt"],
        ["429", "500"],
        ["500", "truncate", "corrupt"],
    ],
    ids=lambda faults: "-".join(faults) or "well",
)
def test_a_file_arrives_whole_whatever_the_network_does(hub, tmp_path, faults):
    wanted = row(hub, "sub/a.bin")
    hub.faults["sub/a.bin"] = list(faults)
    out = tmp_path / "out"
    download(wanted, out, mirror=hub.address)
    assert (out / "sub" / "a.bin").read_bytes() == hub.files["sub/a.bin"]
    assert sorted(path.name for path in out.rglob("*")) == ["a.bin", "sub"]
    assert hub.faults["sub/a.bin"] == []
    assert bool(hub.ranges) == ("truncate" in faults or "stall" in faults), "a cut transfer goes on where it stopped"
    before = dict(hub.gets)
    download(wanted, out, mirror=hub.address)
    assert dict(hub.gets) == before, "what is there is not fetched again"


def test_a_file_that_stays_wrong_never_becomes_visible(hub, tmp_path):
    wanted = row(hub, "good.bin", "bad.bin")
    hub.faults["bad.bin"] = ["corrupt"] * 99
    with pytest.raises(ValueError, match=r"bad.bin of o/r@c+ at .* did not arrive after 4 attempts: .*its checksum is"):
        download(wanted, tmp_path / "out", mirror=hub.address)
    assert not (tmp_path / "out").exists()
    hub.faults["bad.bin"] = []
    download(wanted, tmp_path / "out", mirror=hub.address)
    assert (hub.gets["good.bin"], hub.gets["bad.bin"]) == (1, 5), "the good file waited"


def test_a_server_that_only_fails_is_given_up_and_a_file_that_is_not_there_at_once(hub, tmp_path):
    wanted = row(hub, "a.bin")
    hub.faults["a.bin"] = ["500"] * 99
    with pytest.raises(ValueError, match=r"a.bin .*did not arrive after 4 attempts"):
        download(wanted, tmp_path / "out", mirror=hub.address)
    del hub.files["a.bin"]
    with pytest.raises(ValueError, match=r"a.bin of o/r@c+ at .*: it does not exist there"):
        download(wanted, tmp_path / "other", mirror=hub.address)


def test_another_file_under_the_same_name_is_not_even_fetched(hub, tmp_path):
    wanted = row(hub, "a.bin")
    hub.announced["a.bin"] = "f" * 64
    with pytest.raises(ValueError, match=r"announces sha256 f+, the registry says"):
        download(wanted, tmp_path / "out", mirror=hub.address)
    assert not hub.gets


def test_without_registered_checksums_the_announced_ones_hold(hub, tmp_path):
    wanted = row(hub, "a.bin", known=False)
    hub.faults["a.bin"] = ["corrupt"]
    download(wanted, tmp_path / "out", mirror=hub.address)
    assert (tmp_path / "out" / "a.bin").read_bytes() == hub.files["a.bin"]
    assert hub.gets["a.bin"] == 2
    blob = hub.files["small.json"] = b'{"a": 1}'
    hub.announced["small.json"] = hashlib.sha1(b"blob 8\0" + blob).hexdigest()
    hub.faults["small.json"] = ["corrupt"]
    listed = row(hub, files=None, patterns=["*.json"])
    download(listed, tmp_path / "listed", mirror=hub.address)
    assert [path.name for path in (tmp_path / "listed").iterdir()] == ["small.json"]


def test_files_come_in_parallel(hub, tmp_path):
    wanted = row(hub, *(f"{letter}.bin" for letter in "abcdef"))
    for name in hub.files:
        hub.faults[name] = ["slow"]
    download(wanted, tmp_path / "out", mirror=hub.address)
    assert hub.most == 4


def test_a_killed_download_goes_on_where_it_stopped(hub, tmp_path):
    wanted = row(hub, "a.bin")
    hub.faults["a.bin"] = ["slow"]
    script = (
        "import json, pathlib, sys\n"
        "from huggingface_hub import constants\n"
        f"constants.DOWNLOAD_CHUNK_SIZE = {CHUNK}\n"
        "from mrsearch.data.download import download\n"
        "from mrsearch.data.registry import RegistryEntry\n"
        "download(RegistryEntry.model_validate(json.loads(sys.argv[1])), "
        "pathlib.Path(sys.argv[2]), mirror=sys.argv[3])\n"
    )
    out = tmp_path / "out"
    job = subprocess.Popen([sys.executable, "-c", script, wanted.model_dump_json(), str(out), hub.address])
    part = tmp_path / "out.part" / "a.bin.incomplete"
    deadline = time.monotonic() + 60
    while not (part.is_file() and part.stat().st_size > 40_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    kept = part.stat().st_size
    assert 40_000 < kept < len(hub.files["a.bin"]) and not out.exists()
    download(wanted, out, mirror=hub.address)
    assert (out / "a.bin").read_bytes() == hub.files["a.bin"]
    assert hub.ranges == [f"bytes={kept}-"]


def test_a_folder_as_mirror_is_verified_too(hub, tmp_path):
    wanted = row(hub, "sub/a.bin")
    mirror = tmp_path / "mirror" / "o" / "r" / "sub"
    mirror.mkdir(parents=True)
    (mirror / "a.bin").write_bytes(hub.files["sub/a.bin"][:-1])
    with pytest.raises(ValueError, match=r"is not the registered file: it has \d+ bytes instead of \d+"):
        download(wanted, tmp_path / "out", mirror=str(tmp_path / "mirror"))
    (mirror / "a.bin").write_bytes(hub.files["sub/a.bin"])
    download(wanted, tmp_path / "out", mirror=str(tmp_path / "mirror"), offline=True)
    assert (tmp_path / "out" / "sub" / "a.bin").read_bytes() == hub.files["sub/a.bin"]
    assert not hub.gets
    with pytest.raises(ValueError, match="neither a folder nor an http"):
        download(wanted, tmp_path / "other", mirror=str(tmp_path / "nowhere"))
    (mirror / "a.bin").unlink()
    with pytest.raises(ValueError, match="the mirror lacks this file"):
        download(wanted, tmp_path / "other", mirror=str(tmp_path / "mirror"))


def test_offline_says_what_is_missing(hub, tmp_path):
    wanted = row(hub, "a.bin", "b.bin")
    hub.faults["b.bin"] = ["500"] * 9
    with pytest.raises(ValueError, match=r"2 downloads are missing(.|\n)*r: o/r@c+ a.bin \(307,205 bytes\)"):
        download(wanted, tmp_path / "out", offline=True)
    with pytest.raises(ValueError, match=r"b.bin"):
        download(wanted, tmp_path / "out", mirror=hub.address)
    assert [found.file.path for found in missing([(wanted, tmp_path / "out")])] == ["b.bin"]
    hub.faults["b.bin"] = []
    download(wanted, tmp_path / "out", mirror=hub.address)
    assert missing([(wanted, tmp_path / "out")]) == []


def test_the_token_does_not_travel_over_plain_http(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 30)
    download(row(hub, "a.bin"), tmp_path / "out", mirror=hub.address)
    assert hub.authorised == [None]
