"""The server over real sockets: the contract, bad input, overload, secrets, and good manners at the end."""

import asyncio
import json
import logging
import os
import socket
import threading
import time

import httpx
import psutil
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from support.rude_clients import KINDS, misbehave

from mrsearch.agent.ports import SearchError
from mrsearch.config import load_run, load_study
from mrsearch.config.retrieval import Client, Service
from mrsearch.retrieval.indexes.index import build_index, open_searcher
from mrsearch.retrieval.indexes.passages import PassageStore, build_store
from mrsearch.retrieval.service.app import create_app
from mrsearch.retrieval.service.client import HttpEngine
from mrsearch.retrieval.service.endpoint import Endpoint, publish
from mrsearch.retrieval.service.process import server_of

pytestmark = pytest.mark.integration
log = logging.getLogger(__name__)
COUNT = 500
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SERVICE = Service(max_query_chars=200, max_queries=50, max_topk=20, max_body_bytes=100_000, cache_entries=1000)
STORM_SECONDS = float(os.environ.get("MRSEARCH_STORM_SECONDS", 3))


class Running:
    """An application on a free port of this machine, served from a thread."""

    def __init__(self, app, service=Service()):
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.server = server_of(app, service)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]})

    def __enter__(self):
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()

    def post(self, body, **options):
        return httpx.post(f"{self.url}/retrieve", json=body, timeout=30, **options)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    place = tmp_path_factory.mktemp("server")
    study = load_study(load_run({"study": "demo"}))
    build_store(((f"p{n}", f'Title "T{n}"', f"about t{n} line\nsecond line") for n in range(COUNT)), place / "corpus")
    build_index(study, "dense", place / "corpus", place / "indexes" / "dense")
    store = PassageStore(place / "corpus")
    return store, open_searcher(study, "dense", store, place / "indexes")


class Slow:
    """The real searcher, slower by a fixed time per batch."""

    def __init__(self, searcher, seconds):
        self.searcher, self.seconds, self.batches = searcher, seconds, []

    def search(self, queries, topk):
        time.sleep(self.seconds)
        self.batches.append(len(queries))
        return self.searcher.search(queries, topk)


@pytest.fixture(scope="module")
def app(parts):
    return create_app(*parts, SERVICE, topk=3, boot="b1")


@pytest.fixture(scope="module")
def running(app):
    with Running(app) as running:
        yield running


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
@pytest.mark.parametrize("with_scores", [True, False, None])
def test_search_r1_contract(running, count, with_scores):
    body = {"queries": [f"t{n} title" for n in range(count)], "topk": 2}
    answer = running.post(body if with_scores is None else {**body, "return_scores": with_scores})
    assert answer.status_code == 200
    result = answer.json()["result"]
    assert len(result) == count
    for n, items in enumerate(result):
        document = items[0]["document"] if with_scores else items[0]
        assert document == {"id": f"p{n}", "contents": f'Title "T{n}"\nabout t{n} line\nsecond line'}
        assert len(items) == 2
        if with_scores:
            assert items[0]["score"] > items[1]["score"] > 0


def test_topk_default_and_topk_above_the_corpus(parts, running):
    assert len(running.post({"queries": ["title"]}).json()["result"][0]) == 3
    assert len(running.post({"queries": ["title"], "topk": None}).json()["result"][0]) == 3
    wide = create_app(*parts, Service(max_topk=5000), topk=3)
    with Running(wide) as server:
        (documents,) = server.post({"queries": ["title line"], "topk": 5000}).json()["result"]
    assert len({document["id"] for document in documents}) == COUNT


BAD = [
    (b"", 422),
    (b"{", 422),
    (b"[]", 422),
    (b"null", 422),
    (b'{"queries": "text"}', 422),
    (b'{"queries": [1]}', 422),
    (b'{"queries": [null]}', 422),
    (b'{"queries": {"a": 1}}', 422),
    (b'{"topk": 3}', 422),
    (b'{"queries": ["a"], "topk": 0}', 422),
    (b'{"queries": ["a"], "topk": -1}', 422),
    (b'{"queries": ["a"], "topk": 21}', 422),
    (b'{"queries": ["a"], "topk": "3"}', 422),
    (b'{"queries": ["a"], "topk": 1e999}', 422),
    (b'{"queries": ["a"], "topk": 99999999999999999999999}', 422),
    (b'{"queries": ["a"], "return_scores": "yes"}', 422),
    (b'{"queries": ["\\ud800"]}', 422),
    (b'{"queries": ["\xff\xfe"]}', 400),
    (json.dumps({"queries": ["x" * 201]}).encode(), 422),
    (json.dumps({"queries": ["x"] * 51}).encode(), 422),
    (json.dumps({"queries": ["x"] * 10_000}).encode(), 422),
    (b'{"queries": ["' + b"x" * 200_000 + b'"]}', 413),
    (b"[" * 50_000, 400),
]


@pytest.mark.parametrize(("body", "status"), BAD, ids=[f"{body[:40]!r}" for body, _ in BAD])
def test_bad_bodies_are_refused_with_a_reason(running, body, status):
    answer = httpx.post(f"{running.url}/retrieve", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text[:300]
    assert answer.text if status == 413 else answer.json()["detail"]
    assert len(answer.content) < 20_000


def test_odd_but_valid_queries_are_answered(running):
    queries = ["", " ", "\0", "🙂", "ﷺ" * 10, "t1\nt2", "\u202e", "'; DROP TABLE", "a" * 200]
    result = running.post({"queries": queries, "return_scores": True}).json()["result"]
    assert [len(hits) for hits in result] == [0, 0, 0, 0, 0, 2, 0, 0, 0]


def test_body_without_announced_length_is_capped_too(running):
    def chunks():
        yield b'{"queries": ["'
        for _ in range(300):
            yield b"x" * 1000
        yield b'"]}'

    answer = httpx.post(f"{running.url}/retrieve", content=chunks(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


def test_a_client_that_hangs_up_harms_nobody(parts):
    slow = Slow(parts[1], 0.3)
    with Running(create_app(parts[0], slow, SERVICE, topk=3)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        body = b'{"queries": ["t5"]}'
        head = "POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        for cut in (10, len(head) + 5, len(head) + len(body)):
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall((head.encode() + body)[:cut])
        assert server.post({"queries": ["t5"], "topk": 1}).json()["result"][0][0]["id"] == "p5"


def test_health_and_metrics(app, running):
    before = _metric(running, "mrsearch_queries_total")
    running.post({"queries": ["t1", "t2", "t3"]})
    assert _metric(running, "mrsearch_queries_total") == before + 3
    health = httpx.get(f"{running.url}/health")
    assert health.json() == {"status": "ok", "boot": "b1", "passages": COUNT}


def _metric(running, name):
    families = text_string_to_metric_families(httpx.get(f"{running.url}/metrics").text)
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def test_health_fails_when_searching_does(parts):
    class Broken:
        def search(self, queries, topk):
            raise RuntimeError("the index is gone")

    with Running(create_app(parts[0], Broken(), SERVICE, topk=3)) as server:
        assert httpx.get(f"{server.url}/health").status_code == 503
        answer = server.post({"queries": ["t1"]})
        assert answer.status_code == 503 and "the index is gone" in answer.text


def test_single_flight_cache_and_batches(parts):
    slow = Slow(parts[1], 0.2)
    with Running(create_app(parts[0], slow, SERVICE, topk=3)) as server:
        engine = HttpEngine(server.url, Client())

        async def ask(*queries):
            async with httpx.AsyncClient(timeout=30) as client:
                url = f"{server.url}/retrieve"
                answers = await asyncio.gather(*(client.post(url, json={"queries": [q], "topk": 1}) for q in queries))
            return [answer.json()["result"][0][0]["id"] for answer in answers]

        assert asyncio.run(ask(*["t7"] * 40)) == ["p7"] * 40
        assert slow.batches == [1], "one search for forty askers"
        assert asyncio.run(ask(*[f"t{n}" for n in range(40)])) == [f"p{n}" for n in range(40)]
        assert sum(slow.batches) == 40, "the cache knew one of the forty"
        assert len(slow.batches) <= 6, "what waits together is searched together"
        assert engine.search_many(["t1"], 1)[0][0].passage.id == "p1"
        assert sum(slow.batches) == 40
        engine.close()


def test_full_queue_answers_503_and_patient_clients_still_finish(parts):
    service = SERVICE.model_copy(update={"max_queue": 8, "cache_entries": 0})
    with Running(create_app(parts[0], Slow(parts[1], 0.1), service, topk=3)) as server:
        refused = []

        async def storm():
            async with httpx.AsyncClient(timeout=30, limits=httpx.Limits(max_connections=100)) as client:
                url = f"{server.url}/retrieve"
                answers = await asyncio.gather(*(client.post(url, json={"queries": [f"t{n}"]}) for n in range(100)))
            for answer in answers:
                assert answer.status_code in (200, 503)
                if answer.status_code == 503:
                    assert int(answer.headers["Retry-After"]) >= 1
                    refused.append(answer)

        asyncio.run(storm())
        assert 0 < len(refused) < 100
        engine = HttpEngine(server.url, Client(patience_seconds=60))

        async def patient():
            return await asyncio.gather(*(engine.search(f"t{n}", 1) for n in range(300)))

        assert [hits[0].passage.id for hits in asyncio.run(patient())] == [f"p{n}" for n in range(300)]
        assert engine.counts.failed == 0
        engine.close()


class Storm:
    """200 clients at once: most ask and check every answer, the others are rude; `MRSEARCH_STORM_SECONDS` long."""

    def __init__(self, server, seconds=STORM_SECONDS):
        self.host, port = server.url.removeprefix("http://").split(":")
        self.port, self.url = int(port), f"{server.url}/retrieve"
        self.deadline = time.monotonic() + seconds
        self.longest, self.answered = 0.0, []

    @property
    def goes_on(self):
        return time.monotonic() < self.deadline

    async def run(self):
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
        async with httpx.AsyncClient(timeout=60, limits=limits) as client:
            honest = [self.honest(client, number) for number in range(200 - 5 * len(KINDS))]
            rude = [misbehave(kind, self.host, self.port, self.deadline) for kind in KINDS for _ in range(5)]
            await asyncio.gather(*honest, *rude)

    async def honest(self, client, number):
        step = 0
        while self.goes_on or not step:
            wanted = [(number * 31 + step * 17 + k) % COUNT for k in range(1 + step % 3)]
            body = {"queries": [f"t{n} about" for n in wanted], "topk": 1}
            begun = time.monotonic()
            answer = await client.post(self.url, json=body)
            self.longest = max(self.longest, time.monotonic() - begun)
            assert answer.status_code == 200
            assert [hits[0]["id"] for hits in answer.json()["result"]] == [f"p{n}" for n in wanted]
            step += 1
        self.answered.append(step)


def test_no_answer_is_lost_or_crossed_with_200_clients_rude_ones_among_them(parts, caplog):
    service = SERVICE.model_copy(update={"cache_entries": 50, "request_seconds": 10.0})
    with Running(create_app(*parts, service, topk=3), service) as server:
        asyncio.run(Storm(server, 1.0).run())  # what is done once per process has been done now
        before = psutil.Process().memory_info().rss
        storm = Storm(server)
        asyncio.run(storm.run())
        grown = psutil.Process().memory_info().rss - before
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")], "nobody fills the log"
    assert len(storm.answered) == 170 and min(storm.answered) >= 1
    assert grown < 200_000_000, f"{grown} bytes more after the second storm"
    log.info(
        "%d answers, at least %d each, the longest after %.1f s, %d bytes more",
        sum(storm.answered),
        min(storm.answered),
        storm.longest,
        grown,
    )


def test_shutdown_finishes_what_was_taken(parts):
    with Running(create_app(parts[0], Slow(parts[1], 1.0), SERVICE, topk=3)) as server:
        answers = []
        asker = threading.Thread(target=lambda: answers.append(server.post({"queries": ["t9"], "topk": 1})))
        asker.start()
        time.sleep(0.4)
        server.server.should_exit = True
        asker.join(10)
        assert answers[0].status_code == 200 and answers[0].json()["result"][0][0]["id"] == "p9"
        server.thread.join(10)
        with pytest.raises(httpx.ConnectError):
            server.post({"queries": ["t9"]})


def test_bearer_token(parts, tmp_path):
    with Running(create_app(*parts, SERVICE, topk=3, boot="b", bearer="secret")) as server:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret"}):
            for path in ("/health", "/metrics", "/docs", "/redoc", "/openapi.json", "/other", "/docs/../x"):
                assert httpx.get(f"{server.url}{path}", headers=headers).status_code == 401
            assert server.post({"queries": ["t1"]}, headers=headers).status_code == 401
        publish(tmp_path / "e.live", Endpoint(server.url, "b", "secret"))
        assert (tmp_path / "e.live").stat().st_mode & 0o077 == 0, "others may not read the secret"
        engine = HttpEngine(tmp_path / "e.live", Client())
        assert engine.search_many(["t1"], 1)[0][0].passage.title == 'Title "T1"'
        engine.close()


def test_client_counts_and_gives_up(tmp_path):
    closed = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    closed.close()
    for where in (url, tmp_path / "missing.json"):
        engine = HttpEngine(where, Client(patience_seconds=0.5))
        with pytest.raises(SearchError, match=r"no answer for 'q' within 0.5 s"):
            asyncio.run(engine.search("q", 1))
        with pytest.raises(SearchError, match=r"no answer for 'a' within 0.5 s"):
            engine.search_many(["a", "b"], 1)
        assert (engine.counts.searches, engine.counts.failed) == (3, 3)
        assert engine.counts.retries >= 2
        engine.close()


def test_one_refused_query_does_not_fail_its_neighbours(running):
    engine = HttpEngine(running.url, Client())

    async def ask():
        queries = ["t1", "x" * 201, "\ud800 t2", "t3"]
        return await asyncio.gather(*(engine.search(q, 1) for q in queries), return_exceptions=True)

    first, refused, odd, last = asyncio.run(ask())
    assert [hits[0].passage.id for hits in (first, odd, last)] == ["p1", "p2", "p3"]
    assert isinstance(refused, SearchError) and "422" in str(refused)
    assert engine.counts.failed == 1 and engine.counts.retries == 0
    engine.close()


def test_client_against_a_server_that_speaks_search_r1_only():
    foreign = FastAPI()

    @foreign.post("/retrieve")
    def retrieve(request: dict) -> dict:
        assert set(request) == {"queries", "topk", "return_scores"}
        documents = [{"document": {"contents": f'"A {q}"\ntext'}, "score": 0.5} for q in request["queries"]]
        return {"result": [[document] * request["topk"] for document in documents]}

    with Running(foreign) as server:
        engine = HttpEngine(server.url, Client())
        hits = asyncio.run(engine.search("q1", 2))
        assert [(hit.passage.title, hit.passage.text, hit.score) for hit in hits] == [('"A q1"', "text", 0.5)] * 2
        assert [hits[0].passage.title for hits in engine.search_many(["a", "b", "c"], 1)] == ['"A a"', '"A b"', '"A c"']
        engine.close()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_openapi_holds_for_generated_requests(app, mode):
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = {operation.ok().path: operation.ok() for operation in schema.get_all_operations()}
    assert set(operations) == {"/retrieve", "/health", "/metrics"}
    chosen = operations.values() if mode is GenerationMode.POSITIVE else [operations["/retrieve"]]
    statuses = set()

    @settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=st.one_of([operation.as_strategy(generation_mode=mode) for operation in chosen]))
    def holds(case):
        response = case.call()
        statuses.add(response.status_code)
        if response.status_code != 503:
            case.validate_response(response, checks=CHECKS)

    holds()
    assert statuses <= {200, 400, 413, 422, 503}
    assert 200 in statuses if mode is GenerationMode.POSITIVE else statuses & {400, 422}
