"""The retriever's client against servers that answer anything: every search ends in time, with a reason."""

import asyncio
import contextlib
import json
import logging

import pytest

from mrsearch.agent.ports import SearchError
from mrsearch.config.retrieval import Client
from mrsearch.retrieval.service.client import HttpEngine
from mrsearch.retrieval.service.endpoint import Endpoint, healthy, publish, read_endpoint

PATIENT = Client(patience_seconds=30, timeout_seconds=30)
HASTY = Client(patience_seconds=0.6, timeout_seconds=0.3)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@contextlib.asynccontextmanager
async def serving(respond):
    """The URL of a server that reads one request's head and body and leaves the rest to `respond(writer, body)`."""

    async def connected(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
                await respond(writer, await reader.readexactly(int(length or 0)))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def whole(body, head=HEAD):
    async def respond(writer, _):
        writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    return respond


def outcomes(respond, config=PATIENT, queries=("q",), topk=1):
    """What each search gave, and the engine."""

    async def ask():
        async with serving(respond) as url:
            engine = HttpEngine(url, config)
            async with asyncio.timeout(60):
                got = await asyncio.gather(*(engine.search(q, topk) for q in queries), return_exceptions=True)
            await engine.aclose()
            return got, engine

    return asyncio.run(ask())


def hit(**changes):
    item = {"document": {"id": "1", "contents": '"T"\ntext'}, "score": 0.5}
    item["document"] |= changes.pop("document", {})
    return item | changes


def answer(*lists):
    return json.dumps({"result": lists}).encode()


def replaced(old, new):
    return answer([hit()]).replace(old, new)


MALFORMED = {
    "contents null": answer([hit(document={"contents": None})]),
    "contents number": answer([hit(document={"contents": 7})]),
    "contents list": answer([hit(document={"contents": ["a"]})]),
    "no contents": replaced(b'"contents"', b'"content"'),
    "document text": answer([hit() | {"document": "T"}]),
    "document null": answer([hit() | {"document": None}]),
    "id list": answer([hit(document={"id": []})]),
    "id true": answer([hit(document={"id": True})]),
    "hit number": answer([3]),
    "hit null": answer([None]),
    "hits object": answer({"0": hit()}),
    "hits text": answer("abc"),
    "result number": b'{"result": 3}',
    "result null": b'{"result": null}',
    "result text": b'{"result": "a"}',
    "result object": b'{"result": {"q": []}}',
    "no result": b'{"results": [[]]}',
    "answer list": b"[[]]",
    "answer number": b"17",
    "answer null": b"null",
    "no list": answer(),
    "two lists": answer([], []),
    "score text": answer([hit(score="0.5")]),
    "score null": answer([hit(score=None)]),
    "score true": answer([hit(score=True)]),
    "no score": replaced(b'"score"', b'"scored"'),
    "score NaN": replaced(b"0.5", b"NaN"),
    "score Infinity": replaced(b"0.5", b"-Infinity"),
    "score 1e999": replaced(b"0.5", b"1e999"),
    "score of 400 digits": replaced(b"0.5", b"9" * 400),
    "a lone surrogate": replaced(b"text", b"\\ud800"),
    "half a pair in the id": replaced(b'"1"', b'"\\udfff"'),
    "deep lists": b"[" * 50_000 + b"]" * 50_000,
    "deep objects": b'{"result":' * 20_000 + b"1" + b"}" * 20_000,
    "deep inside a hit": replaced(b"0.5", b"[" * 5000 + b"]" * 5000),
    "too many hits": answer([hit()] * 2),
    "100,000 hits": answer([hit()] * 100_000),
    "not UTF-8": replaced(b"text", b"\xff\xfe"),
    "no JSON": b"<html>It works!</html>",
    "nothing": b"",
    "half": answer([hit()])[:-9],
    "two answers": answer([hit()]) * 2,
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_malformed_answers_fail_at_once_with_a_reason(body):
    (first, second), engine = outcomes(whole(body), queries=("q", "q"))
    assert isinstance(first, SearchError) and isinstance(second, SearchError)
    assert "http://127.0.0.1" in str(first) and len(str(first)) < 1500
    assert (engine.counts.searches, engine.counts.retries, engine.counts.failed) == (2, 0, 2)


async def _endless(writer, _):
    writer.write(HEAD + b"Content-Length: 99999999999\r\n\r\n")
    for _ in range(10_000):
        writer.write(b" " * 10_000)
        await writer.drain()


async def _endless_chunks(writer, _):
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(10_000):
        writer.write(b"2710\r\n" + b"[" * 10_000 + b"\r\n")
        await writer.drain()


@pytest.mark.parametrize("respond", [_endless, _endless_chunks])
def test_a_body_is_read_no_further_than_its_bound(respond):
    (outcome,), engine = outcomes(respond, PATIENT.model_copy(update={"max_passage_bytes": 1000}))
    assert isinstance(outcome, SearchError) and "max_passage_bytes (1000)" in str(outcome)
    assert engine.counts.retries == 0


async def _silent(writer, _):
    await asyncio.sleep(600)


async def _dripping(writer, _):
    writer.write(HEAD + b"Content-Length: 1000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def _dripping_head(writer, _):
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-A: b\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def _hangs_up(writer, _):
    writer.write(HEAD + b"Content-Length: 1000\r\n\r\n{")
    writer.close()


async def _no_http(writer, _):
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    writer.close()


async def _busy(writer, _):
    writer.write(b"HTTP/1.1 503 Busy\r\nRetry-After: 1e9\r\nContent-Length: 4\r\n\r\nfull")


ABSENT = [_silent, _dripping, _dripping_head, _hangs_up, _no_http, _busy]


@pytest.mark.parametrize("respond", ABSENT, ids=[respond.__name__ for respond in ABSENT])
def test_a_server_that_never_answers_is_given_up_when_patience_ends(respond):
    (one, two), engine = outcomes(respond, HASTY, queries=("a", "b"))
    for outcome in (one, two):
        assert isinstance(outcome, SearchError)
        assert "within 0.6 s" in str(outcome) and "http://127.0.0.1" in str(outcome)
    assert engine.counts.failed == 2


def test_patience_bounds_a_try_that_may_take_longer():
    (outcome,), _ = outcomes(_silent, Client(patience_seconds=0.3, timeout_seconds=600))
    assert isinstance(outcome, SearchError) and "within 0.3 s" in str(outcome)


def test_search_many_ends_as_well():
    async def ask(respond, config):
        async with serving(respond) as url:
            engine = HttpEngine(url, config)
            try:
                return await asyncio.to_thread(engine.search_many, ["a", "b"], 1), engine
            except SearchError as error:
                return error, engine

    for respond, config in ((_dripping, HASTY), (whole(b"{}"), PATIENT), (whole(answer([])), PATIENT)):
        outcome, engine = asyncio.run(ask(respond, config))
        assert isinstance(outcome, SearchError) and engine.counts.failed == 2
    outcome, _ = asyncio.run(ask(whole(answer([hit()], [])), PATIENT))
    assert [len(hits) for hits in outcome] == [1, 0]


@pytest.mark.parametrize("status", [301, 302, 307, 401, 404, 418, 501, 505])
def test_other_statuses_are_final_and_no_redirect_is_followed(status):
    asked = []

    async def respond(writer, body):
        asked.append(body)
        writer.write(b"HTTP/1.1 %d X\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n" % status)

    (outcome,), _ = outcomes(respond)
    assert isinstance(outcome, SearchError) and f"({status})" in str(outcome)
    assert len(asked) == 1


def test_the_environment_s_proxy_sees_nothing(monkeypatch, tmp_path):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (hits,), _ = outcomes(whole(answer([hit()])))
    assert (hits[0].passage.id, hits[0].passage.title, hits[0].score) == ("1", '"T"', 0.5)


def test_searches_leave_no_lines_in_the_log(caplog):
    with caplog.at_level(logging.INFO):
        (hits,), _ = outcomes(whole(answer([hit()])))
    assert len(hits) == 1 and caplog.messages == []


def test_a_compressed_answer_is_not_unpacked():
    import gzip

    bomb = gzip.compress(answer([hit()]) + b" " * 1_000_000)
    (outcome,), _ = outcomes(whole(bomb, HEAD + b"Content-Encoding: gzip\r\n"))
    assert isinstance(outcome, SearchError)


def test_valid_variants_are_taken():
    for document, identity in (({"id": 7}, "7"), ({"id": "é"}, "é")):
        (hits,), _ = outcomes(whole(answer([hit(document=document, score=-3)])))
        assert (hits[0].passage.id, hits[0].score) == (identity, -3.0)
    (hits,), _ = outcomes(whole(answer([{"document": {"contents": "T"}, "score": 1, "more": {}}])))
    assert (hits[0].passage.id, hits[0].passage.title, hits[0].passage.text) == ("", "T", "")


def test_odd_queries_end_too():
    for query in (None, 3, b"bytes"):
        (outcome,), _ = outcomes(whole(answer([])), queries=(query,))
        assert isinstance(outcome, SearchError)


@pytest.mark.parametrize(
    "content",
    ["[]", "3", '"x"', "{", '{"url": 3}', '{"url": null}', '{"live": 3}', '{"live": ""}', '{"live": "../other"}', "{}"],
)
def test_a_damaged_endpoint_file_announces_nobody(tmp_path, content):
    publish(tmp_path / "other", Endpoint("http://127.0.0.1:1", "b"))
    (tmp_path / "service").mkdir()
    path = tmp_path / "service" / "e.json"
    path.write_text(content)
    assert read_endpoint(path) is None
    engine = HttpEngine(path, HASTY)
    with pytest.raises(SearchError, match="no live retriever announces itself"):
        asyncio.run(engine.search("q", 1))
    engine.close()


def test_a_token_that_no_header_can_carry_is_a_reason(tmp_path):
    publish(tmp_path / "e.live", Endpoint("http://127.0.0.1:1", "b", "a\r\nX: y"))
    engine = HttpEngine(tmp_path / "e.live", HASTY)
    with pytest.raises(SearchError):
        asyncio.run(engine.search("q", 1))
    engine.close()


def test_health_believes_nothing():
    async def state(respond):
        async with serving(respond) as url:
            return await asyncio.to_thread(healthy, Endpoint(url, "b"), 0.3)

    assert asyncio.run(state(whole(b'{"boot": "b"}')))
    for respond in (_dripping, _endless, _no_http, whole(b"[]"), whole(b'"b"'), whole(b'{"boot": "c"}'), whole(b"{")):
        assert not asyncio.run(state(respond))
    for url in ("nonsense", "http://[", "ftp://127.0.0.1:1", "http://127.0.0.1:99999"):
        assert not healthy(Endpoint(url, "b"), 0.3)
