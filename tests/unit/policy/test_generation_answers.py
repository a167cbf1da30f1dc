"""Nothing that a generation server answers is believed: requests end in time, in bounded memory, with a reason."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import tracemalloc

import pytest
from support.tiny import word_tokenizer

from mrsearch.agent.ports import DeadlineError, Finish, Sampling
from mrsearch.config.generator import Generator
from mrsearch.policy import connection, http_policy
from mrsearch.policy.http_policy import HttpPolicy

TOKENIZER = word_tokenizer(size=20)
SIZE = len(TOKENIZER)
END = TOKENIZER.eos_token_id
WORD = TOKENIZER.convert_tokens_to_ids("w1")
HANG = 600.0
"""Seconds after which a test that hangs fails."""


def vllm(token_ids, logprobs):
    return {"choices": [{"token_ids": token_ids, "logprobs": {"token_logprobs": logprobs}, "finish_reason": "stop"}]}


def sglang(token_ids, logprobs):
    tokens = [[logprob, token, None] for logprob, token in zip(logprobs, token_ids, strict=True)]
    return {"meta_info": {"output_token_logprobs": tokens, "finish_reason": {"type": "stop"}}}


def both(token_ids: bytes, logprobs: bytes, triples: bytes) -> bytes:
    """One body for both languages, of JSON or nearly so."""
    choice = b'{"token_ids": ' + token_ids + b', "logprobs": {"token_logprobs": ' + logprobs + b"}}"
    return b'{"choices": [' + choice + b'], "meta_info": {"output_token_logprobs": ' + triples + b"}}"


SHAPES = {"vllm": vllm, "sglang": sglang}


def whole(body, status="200 OK", headers=""):
    """One whole HTTP answer."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


@contextlib.asynccontextmanager
async def server(act):
    """A server on which `act(writer, heads)` answers each request; yields its address and the heads it saw."""
    heads: list[bytes] = []
    writers = []

    async def handle(reader, writer):
        writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                heads.append(head + await reader.readexactly(size))
                await act(writer, heads)
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as running:
        tasks = running.sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{tasks}", heads
        finally:
            for writer in writers:  # since Python 3.12 a server that closes waits for its connections
                writer.transport.abort()


def ask(act, kind="vllm", max_tokens=4, key=None, check=None, **keys):
    """What one generation comes to: its result, and the requests that the server saw."""

    async def main():
        async with server(act) as (url, heads):
            generator = Generator(kind=kind, **({"patience_seconds": 30.0} | keys))
            policy = HttpPolicy(url, TOKENIZER, generator, key=key, check=check)
            try:
                async with asyncio.timeout(HANG):
                    return await policy.generate([5, 6], Sampling(max_tokens), "q"), heads
            finally:
                await policy.aclose()

    return asyncio.run(main())


def answering(*answers):
    """Answers in turn, the last one for ever."""

    async def act(writer, heads):
        writer.write(answers[min(len(heads), len(answers)) - 1])

    return act


def dripping(first, piece):
    async def act(writer, heads):
        writer.write(first)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)

    return act


@pytest.mark.parametrize("kind", SHAPES)
def test_a_good_answer_is_taken_as_it_is(kind):
    made, heads = ask(answering(whole(SHAPES[kind]([WORD, END], [-0.5, 0]))), kind)
    assert (made.token_ids, made.logprobs, made.finish) == ([WORD, END], [-0.5, 0.0], Finish.stop)
    assert len(heads) == 1 and all(type(each) is float for each in made.logprobs)


WRONG_TOKENS = [None, -1, SIZE, 2**63, 10**20, 1.0, "7", True, [7], {"id": 7}]
WRONG_LOGPROBS = [None, 0.5, -9999.0, -1e300, "-0.5", False, [-0.5], {}]


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("wrong", WRONG_TOKENS, ids=repr)
def test_what_is_no_token_id_is_refused(kind, wrong):
    with pytest.raises(ValueError, match="is no token id of a vocabulary"):
        ask(answering(whole(SHAPES[kind]([WORD, wrong], [-0.5, -0.5]))), kind)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("wrong", WRONG_LOGPROBS, ids=repr)
def test_what_no_sampled_token_can_have_is_refused(kind, wrong):
    with pytest.raises(ValueError, match="is no log-probability"):
        ask(answering(whole(SHAPES[kind]([WORD, END], [-0.5, wrong]))), kind)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"well",
        b"null",
        b"[]",
        b"{}",
        b'"choices"',
        b'{"choices": null, "meta_info": null}',
        b'{"choices": [], "meta_info": {"output_token_logprobs": []}}',
        both(b"[]", b"[]", b"3"),
        both(b"null", b"null", b"[null]"),
        both(b'{"7": 1}', b'"xy"', b'[["x", "y", "z"]]'),
        both(b"[7, 8]", b"[-1.0]", b"[[]]"),
        both(b"[7]", b"[NaN]", b"[[NaN, 7]]"),
        both(b"[7]", b"[1e999]", b"[[-1e999, 7]]"),
        both(b"[" + b"7" * 400 + b"]", b"[-1]", b"[[-1, " + b"7" * 400 + b"]]"),
        b"[" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"choices": [{"text": "\xff\xfe"}]}',
        b'{"choices": [{"text": "\\ud800"}]}',
        b"\x1f\x8b\x08\x00 not asked for",
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)
def test_a_malformed_answer_is_refused_at_once(kind, body):
    with pytest.raises(ValueError, match=r"^http://127.0.0.1:\d+/\S+: a malformed answer \(.+"):
        ask(answering(whole(body)), kind)


def test_a_compressed_answer_is_not_unpacked():
    """A kilobyte can unpack to a gigabyte."""
    import gzip

    packed = gzip.compress(json.dumps(vllm([WORD, END], [-0.5, -0.5])).encode())
    with pytest.raises(ValueError, match="malformed answer"):
        ask(answering(whole(packed, headers="Content-Encoding: gzip\r\n")))


@pytest.mark.parametrize("head", [b"", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 99999999999\r\n"])
def test_an_endless_answer_is_cut_off_in_bounded_memory(monkeypatch, head):
    monkeypatch.setattr(http_policy, "BYTES_BESIDE", 200_000)

    async def endless(writer, heads):
        writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
        piece = b" " * 10_000
        while True:
            writer.write(b"2710\r\n" + piece + b"\r\n" if b"chunked" in head else piece)
            await writer.drain()

    tracemalloc.start()
    with pytest.raises(ValueError, match=r"an answer of more than 204128 bytes"):
        ask(endless, patience_seconds=500)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20e6


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        (HEAD, b" "),
        (HEAD, b""),
        (b"", b""),
        (b"HTTP/1.1 200 OK\r\n", b"X-More: 1\r\n"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 100000\r\n\r\n", b" "),
    ],
    ids=["body", "half a body", "silence", "headers", "interim answers", "error"],
)
def test_an_answer_that_drips_ends_with_the_patience(first, piece):
    with pytest.raises(
        ValueError, match=r"within generator.patience_seconds \(0.8\): .*(no whole answer within|Error)"
    ):
        ask(dripping(first, piece), patience_seconds=0.8)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/9.9 banana\r\n\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
    ids=["nothing", "half", "broken chunks", "no HTTP", "bytes", "long header"],
)
def test_a_broken_connection_is_tried_again_until_the_patience_ends(answer):
    tries = []

    async def act(writer, heads):
        tries.append(len(heads))
        writer.write(answer)
        await writer.drain()
        writer.close()

    with pytest.raises(ValueError, match=r"within generator.patience_seconds \(0.8\): http://127"):
        ask(act, patience_seconds=0.8)
    assert len(tries) > 1


@pytest.mark.parametrize("retry", ["", "0", "-1", "nan", "1e9", "\u00b2", "Wed, 21 Oct 2015 07:28:00 GMT"])
@pytest.mark.parametrize("status", ["408 Late", "429 Many", "500 Oh", "503 Busy", "599 Odd"])
def test_a_busy_server_is_asked_again(status, retry, monkeypatch):
    monkeypatch.setattr(connection, "LONGEST_PAUSE", 0.5)
    busy = whole(b"wait", status, f"Retry-After: {retry}\r\n".encode("latin-1").decode("latin-1"))
    made, heads = ask(answering(busy, whole(vllm([END], [-0.5]))), patience_seconds=30)
    assert made.token_ids == [END] and len(heads) == 2


def test_no_pause_is_longer_than_the_patience():
    busy = whole(b"", "503 Busy", "Retry-After: 999999999\r\n")
    with pytest.raises(ValueError, match="HTTP 503"):
        ask(answering(busy), patience_seconds=0.8)


@pytest.mark.parametrize(
    "status", ["204 Empty", "302 There", "400 Bad", "401 Who", "404 Where", "422 What", "501 Never", "505 Older"]
)
def test_a_refusal_says_why(status):
    location = "Location: http://127.0.0.1:9/elsewhere\r\n"
    with pytest.raises(ValueError, match=rf"^http://127.0.0.1:\d+/\S+: HTTP {status[:3]}: (because)?"):
        ask(answering(whole(b"" if "204" in status else b"because", status, location)))


def test_a_long_page_about_an_overload_is_not_read_to_its_end_and_the_server_asked_again():
    busy = whole(b"<html>" + b"x" * 1_000_000, "503 Busy")
    made, heads = ask(answering(busy, whole(vllm([END], [-0.5]))))
    assert made.token_ids == [END] and len(heads) == 2
    with pytest.raises(ValueError, match=r"HTTP 403: <html>x+$") as refused:
        ask(answering(whole(b"<html>" + b"x" * 1_000_000, "403 No")))
    assert len(str(refused.value)) < 600


def test_a_server_that_gives_a_token_at_a_time_for_ever_ends_with_the_patience():
    async def act(writer, heads):
        await asyncio.sleep(0.05)
        writer.write(whole(vllm([WORD], [-0.5])))

    with pytest.raises(ValueError, match=r"generator\.patience_seconds"):
        ask(act, max_tokens=100_000, patience_seconds=0.8)
    made, heads = ask(act, max_tokens=3)
    assert (made.token_ids, made.finish, len(heads)) == ([WORD] * 3, Finish.length, 3)


def test_a_server_that_has_ended_is_not_waited_for():
    calls = []

    def check():
        calls.append(1)
        if len(calls) > 1:
            raise ValueError("the generation server ended with code 1")

    with pytest.raises(ValueError, match="ended with code 1"):
        ask(answering(whole(b"", "503 Gone")), patience_seconds=1e6, check=check)


def test_connections_of_event_loops_that_are_over_are_let_go(caplog):
    async def generate(policy=None):
        async with server(answering(whole(vllm([END], [-0.5])))) as (url, _):
            policy = policy or HttpPolicy(url, TOKENIZER, Generator(kind="vllm"))
            policy._url = url
            assert (await policy.generate([5, 6], Sampling(4), "q")).token_ids == [END]
            return policy

    policy = asyncio.run(generate(asyncio.run(generate())))
    asyncio.run(policy.aclose())
    del policy
    gc.collect()
    assert "Unclosed" not in caplog.text


def test_requests_leave_no_lines_in_the_log(caplog):
    with caplog.at_level(logging.INFO):
        ask(answering(whole(b"", "503 Busy"), whole(vllm([END], [-0.5]))))
    assert caplog.messages == []


def test_a_questions_deadline_ends_a_dripping_answer_too():
    with pytest.raises(DeadlineError, match=r"q: not answered within 0.3 s"):
        ask(dripping(HEAD, b" "), deadline_seconds=0.3, patience_seconds=50)


def test_neither_proxies_nor_netrc_of_the_environment_are_used(monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    made, heads = ask(answering(whole(vllm([END], [-0.5]))), key="sesame")
    assert made.token_ids == [END]
    assert b"authorization: bearer sesame" in heads[0].lower() and b"Basic" not in heads[0]


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("seeds", [True, False])
def test_a_request_leaves_nothing_to_the_models_own_settings(kind, seeds):
    _, heads = ask(answering(whole(SHAPES[kind]([END], [-0.5]))), kind, request_seeds=seeds)
    body = json.loads(heads[0].split(b"\r\n\r\n", 1)[1])
    sampling = body.get("sampling_params", body)
    assert (sampling["repetition_penalty"], sampling["top_p"], sampling["min_p"]) == (1.0, 1.0, 0.0)
    assert sampling["top_k"] == {"vllm": 0, "sglang": -1}[kind], "no limit, in the server's words"
    assert ("seed" in sampling or "sampling_seed" in sampling) is seeds
