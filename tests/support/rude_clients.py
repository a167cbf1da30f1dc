"""Clients of the retrieval server that misbehave, each in a way of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time

KINDS = ("silent", "dripping", "endless head", "hangs up", "takes nothing", "greedy")
HEAD = "POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def search_request(body: dict, headers: str = "") -> bytes:
    """A whole request; headers: further ones, each with its line's end."""
    payload = json.dumps(body).encode()
    return f"{HEAD}{headers}Content-Length: {len(payload)}\r\n\r\n".encode() + payload


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    """The body of the next answer; AssertionError where its status is not 200."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert head.split()[1] == "200", head[:200]
    return await reader.readexactly(int(head.split("content-length:")[1].split()[0]))


async def misbehave(kind: str, host: str, port: int, stop: float, headers: str = "") -> None:
    """One client of a kind, on one connection after the other, until the monotonic clock says `stop`."""
    while time.monotonic() < stop:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                async with asyncio.timeout(max(0.1, stop - time.monotonic())):
                    await _misbehave_once(kind, reader, writer, headers)
            except TimeoutError:
                pass
            finally:
                writer.close()
        await asyncio.sleep(0.02)


async def _misbehave_once(kind: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: str) -> None:
    if kind == "silent":
        await reader.read(100)
    elif kind in ("dripping", "endless head"):
        piece = b"X" if kind == "dripping" else b"X-A: " + b"b" * 60_000
        writer.write(f"{HEAD}{headers}Content-Length: 9\r\nX-A: ".encode())
        while not reader.at_eof():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
    else:
        body = {"queries": [f"t{n} {kind}" for n in range(50)], "topk": 20, "return_scores": True}
        for _ in range(1 if kind == "hangs up" else 20):
            writer.write(search_request(body, headers))
        await writer.drain()
        if kind == "takes nothing":
            await asyncio.sleep(1.0)
        for _ in range(20 if kind == "greedy" else 0):
            await read_answer(reader)
