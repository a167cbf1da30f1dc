"""A server that somebody else runs: what it is asked, and what of its answers is taken."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from mrsearch.agent.ports import Hit, Passage, SearchError
from mrsearch.config import load_run, load_study
from mrsearch.config.derived_retrievers import RemoteRetriever
from mrsearch.retrieval.engine import described_by, open_engine
from mrsearch.retrieval.service.remote import remote_endpoint

FOUND = {"document": {"id": "x9", "contents": "A title\nA text."}, "score": 0.5}


def test_a_study_searches_with_a_server_of_somebody_else_by_its_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret-1\n")
    token.chmod(0o600)
    heads: list[bytes] = []

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        asked = json.loads(await reader.readexactly(int(length)))
        heads.append(head)
        hits = [FOUND] * (asked["topk"] + (asked["queries"] == ["too many"]))
        body = json.dumps({"result": [hits]}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async def ask() -> tuple[list[Hit], BaseException | list[Hit]]:
        server = await asyncio.start_server(answered, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        retriever = {"kind": "remote", "url": url, "token_file": str(token)}
        overrides = {"retrieval.retrievers.far": retriever, "retrieval.use": "far", "retrieval.service.mode": "http"}
        study = load_study(load_run({"study": "demo", "overrides": overrides}))
        assert "secret-1" not in study.model_dump_json() and study.served() == () and study.indexed() == ()
        assert described_by(study, tmp_path, tmp_path) == {}
        engine = open_engine(study, tmp_path / "no corpus", tmp_path / "no index")
        hits = await engine.search("q", 2)
        (refused,) = await asyncio.gather(engine.search("too many", 2), return_exceptions=True)
        await engine.aclose()
        server.close()
        return hits, refused

    hits, refused = asyncio.run(ask())
    assert hits == [Hit(Passage("x9", "A title", "A text."), 0.5)] * 2
    assert isinstance(refused, SearchError) and "3 passages for a topk of 2" in str(refused)
    assert heads[0].startswith(b"POST /retrieve HTTP/1.1\r\n") and b"Authorization: Bearer secret-1\r\n" in heads[0]


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (None, 0, "cannot be read: No such file"),
        (b"t", 0o640, "is open to other users"),
        (b"two words", 0o600, "something else than one bearer token"),
        (b"a" * 9000, 0o600, "something else than one bearer token"),
        (b"", 0o600, "something else than one bearer token"),
    ],
)
def test_a_file_that_holds_no_secret_token_is_refused(
    tmp_path: Path, content: bytes | None, mode: int, message: str
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(ValueError, match=message):
        remote_endpoint(RemoteRetriever(url="http://h:1", token_file=str(path)))
