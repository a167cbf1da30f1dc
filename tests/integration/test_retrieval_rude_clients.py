"""Connections that send too much, too slowly, or nothing harm nobody else."""

import asyncio
import contextlib
import itertools
import json
import socket
import threading

import pytest

from mrsearch.config.retrieval import Service
from mrsearch.retrieval.indexes.passages import PassageStore, build_store
from mrsearch.retrieval.indexes.ranking import Ranking
from mrsearch.retrieval.service.app import create_app
from mrsearch.retrieval.service.process import server_of
from mrsearch.retrieval.service.protocol import HEAD_BYTES

pytestmark = pytest.mark.integration

HASTY = Service(request_seconds=0.4)
PATIENT = Service(request_seconds=60.0)
POST = b"POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
BODY = b'{"queries": ["a"]}'
VALID = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


class Echo:
    """One hit for every query."""

    def __init__(self):
        self.batches = []

    def search(self, queries, topk):
        self.batches.append(list(queries))
        return [Ranking([0], [1.0]) for _ in queries]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    place = tmp_path_factory.mktemp("rude")
    build_store([("1", "T", "text " * 2000)], place)
    return PassageStore(place)


@contextlib.asynccontextmanager
async def serving(store, service, **options):
    """The port of a server in this event loop, and its searcher."""
    searcher = options.pop("searcher", None) or Echo()
    server = server_of(create_app(store, searcher, service, 1, "b", **options), service)
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    listener.setblocking(False)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        async with asyncio.timeout(60):
            yield listener.getsockname()[1], searcher
    finally:
        server.should_exit = server.force_exit = True
        await task


async def answered(port, request=VALID):
    """Status and body of one request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    body = await reader.readexactly(int(head.partition("content-length:")[2].split()[0]))
    writer.close()
    return int(head.split()[1]), body


async def until_cut(port, pieces, pause=0.0):
    """Sends pieces until the server closes; returns how many bytes it took and what it said.

    On a bare socket, which still gives what came before a reset: a stream throws that away.
    """
    loop, sent = asyncio.get_running_loop(), 0
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", port))
        said = asyncio.create_task(heard(client))
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                if said.done():
                    break
                await loop.sock_sendall(client, piece)
                sent += len(piece)
                await asyncio.sleep(pause)
        return sent, await said


async def heard(client):
    loop, said = asyncio.get_running_loop(), b""
    with contextlib.suppress(ConnectionError):
        while piece := await loop.sock_recv(client, 65536):
            said += piece
    return said


def repeated(start, piece, times):
    yield start
    for _ in range(times):
        yield piece


CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LONG = {
    "one header": (POST + b"X-A: ", b"x" * 10_000),
    "many headers": (POST, b"X-A: b\r\n" * 1000),
    "a header's name": (POST, b"X" * 10_000),
    "folded header": (POST + b"X-A: b", b"\r\n " + b"c" * 5000),
    "a query string": (b"GET /health?", b"a=b&" * 2500),
    "a path": (b"GET /", b"a" * 10_000),
    "a method": (b"G", b"E" * 10_000),
    "a version": (b"GET / HTTP/", b"1" * 10_000),
    "blank lines": (b"\r\n", b"\r\n" * 5000),
    "a trailer": (CHUNKED + b"12\r\n" + BODY + b"\r\n0\r\nX-A: ", b"x" * 10_000),
    "trailers": (CHUNKED + b"12\r\n" + BODY + b"\r\n0\r\n", b"X-A: b\r\n" * 1000),
    "a chunk's extension": (CHUNKED + b"12;a=", b"x" * 10_000),
    "a chunk's size": (CHUNKED, b"0" * 10_000),
    "nonsense": (b"\0\xff\x16\x03\x01", b"\xfe" * 10_000),
}


@pytest.mark.parametrize(("start", "piece"), LONG.values(), ids=LONG)
def test_heads_without_end_are_cut(store, start, piece):
    async def scenario():
        async with serving(store, PATIENT) as (port, _):
            sent, said = await until_cut(port, repeated(start, piece, 2000))
            assert sent < 8_000_000, "what the buffers of two sockets hold, and no more"
            assert said[:12] in (b"", b"HTTP/1.1 431", b"HTTP/1.1 400", b"HTTP/1.1 200")
            assert (await answered(port))[0] == 200

    asyncio.run(scenario())


def test_heads_of_a_usual_size_pass_and_longer_ones_are_told(store):
    def request(size):
        return VALID.replace(b"Host: x", b"Host: x\r\nX-A: " + b"a" * size)

    async def scenario():
        async with serving(store, PATIENT) as (port, _):
            assert (await answered(port, request(HEAD_BYTES - 500)))[0] == 200
            status, reason = await answered(port, request(HEAD_BYTES + 1))
            assert status == 431 and b"65536" in reason

    asyncio.run(scenario())


SLOW = {
    "nothing": [],
    "half a head": [POST],
    "half a body": [VALID[:-3]],
    "half a chunk": [CHUNKED + b"12\r\n{"],
    "a second request by half": [VALID, VALID[:40]],
    "a second body by half": [VALID, VALID[:-2]],
    "blank lines after an answer": [VALID, b"\r\n"],
}


@pytest.mark.parametrize("pieces", SLOW.values(), ids=SLOW)
def test_half_open_connections_end_in_time(store, pieces):
    async def scenario():
        async with serving(store, HASTY) as (port, _):
            _, said = await until_cut(port, iter(pieces), pause=0.1)
            assert said.count(b"HTTP/1.1 200") == (len(pieces) == 2)
            assert (await answered(port))[0] == 200

    asyncio.run(scenario())


@pytest.mark.parametrize("data", [VALID, CHUNKED + b"12\r\n" + BODY, POST + b"X-A: b\r\n" * 100], ids=["p", "c", "h"])
def test_dripping_requests_end_in_time(store, data):
    async def scenario():
        async with serving(store, HASTY) as (port, _):
            pieces = (data[n : n + 1] for n in range(len(data)))
            sent, said = await until_cut(port, pieces, pause=0.02)
            assert sent < len(data)
            assert said.startswith(b"HTTP/1.1 408")

    asyncio.run(scenario())


def test_an_answer_that_nobody_takes_is_dropped(store):
    """Its connection ends, although the client still holds it."""

    async def scenario():
        service = HASTY.model_copy(update={"max_connections": 50})
        async with serving(store, service) as (port, _):
            body = json.dumps({"queries": ["a"] * 2000}).encode()
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1000)
            writer.write(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await asyncio.sleep(2.0)
            got = 0
            with contextlib.suppress(ConnectionError):
                while piece := await reader.read(100_000):
                    got += len(piece)
            assert 0 <= got < 2000 * 10_000, "20 MB were never sent"
            writer.close()
            assert (await answered(port))[0] == 200

    asyncio.run(scenario())


@pytest.mark.parametrize("start", [b"", b"POST /re", VALID[:-3]])
def test_idle_connections_give_way_to_those_that_ask(store, start):
    async def scenario():
        service = PATIENT.model_copy(update={"max_connections": 20})
        async with serving(store, service) as (port, _):
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
            for _, writer in idle:
                writer.write(start)
            for _ in range(30):
                assert (await answered(port))[0] == 200
            for _, writer in idle:
                writer.close()

    asyncio.run(scenario())


def test_without_the_token_no_body_is_awaited_and_nothing_is_shown(store):
    async def scenario():
        async with serving(store, PATIENT, bearer="secret") as (port, searcher):
            asked = POST + b"Content-Length: 1000000\r\n\r\n{"
            assert (await answered(port, asked))[0] == 401
            for path in (
                b"/",
                b"/docs",
                b"/openapi.json",
                b"/redoc",
                b"/docs/oauth2-redirect",
                b"/health",
                b"/metrics",
            ):
                for given in (b"", b"Bearer ", b"Bearer secre", b"Bearer secret2", b"Basic secret", b"secret", b"\xff"):
                    head = b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nAuthorization: " + given + b"\r\n\r\n"
                    status, body = await answered(port, head)
                    assert (status, json.loads(body)) == (401, {"detail": "send the bearer token"})
            assert searcher.batches == []
            for path in (b"/docs", b"/openapi.json", b"/health"):
                head = b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\r\n"
                assert (await answered(port, head))[0] == 200

    asyncio.run(scenario())


def test_queries_of_clients_that_hung_up_are_not_searched(store):
    class Gated(Echo):
        gate = threading.Event()

        def search(self, queries, topk):
            self.batches.append(list(queries))
            if queries == ["first"]:
                self.gate.wait(50)
            return [Ranking([0], [1.0]) for _ in queries]

    def request(*queries):
        body = json.dumps({"queries": queries}).encode()
        return POST + b"Content-Length: %d\r\n\r\n" % len(body) + body

    async def scenario():
        async with serving(store, PATIENT, searcher=Gated()) as (port, searcher):
            first = asyncio.create_task(answered(port, request("first")))
            while not searcher.batches:
                await asyncio.sleep(0.01)
            gone = [await asyncio.open_connection("127.0.0.1", port) for _ in range(10)]
            for n, (_, writer) in enumerate(gone):
                writer.write(request(f"gone {n}", "shared"))
            stays = asyncio.create_task(answered(port, request("shared", "stays")))
            await asyncio.sleep(0.3)
            for _, writer in gone:
                writer.close()
            await asyncio.sleep(0.3)
            searcher.gate.set()
            assert (await first)[0] == (await stays)[0] == 200
            assert sorted(itertools.chain(*searcher.batches)) == ["first", "shared", "stays"]

    asyncio.run(scenario())


def test_an_answer_has_a_bound_of_passages(store):
    async def scenario():
        service = PATIENT.model_copy(update={"max_hits": 5})
        async with serving(store, service) as (port, _):
            for count, status in ((5, 200), (6, 422)):
                body = json.dumps({"queries": ["a"] * count, "topk": 1}).encode()
                assert (await answered(port, POST + b"Content-Length: %d\r\n\r\n" % len(body) + body))[0] == status

    asyncio.run(scenario())
