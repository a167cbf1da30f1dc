"""What a generation costs the client's core: `HttpPolicy` beside the plainest client of httpx.

A server in a process of its own answers as vLLM's completions endpoint does, with canned turns, so that the client is
what is measured. Both clients send the same bodies, keep as many requests in flight, and turn answers into token ids
and log-probabilities; HttpPolicy also checks them and looks for the end of the turn. The two run in turn.

    python benchmarks/generator_client.py --generations 2000 --in-flight 256
"""

# ruff: noqa: T201  (a script that prints its measurements)
from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import os
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.tiny import word_tokenizer

from mrsearch.agent.ports import Sampling
from mrsearch.config.generator import Generator
from mrsearch.policy.backends import dialect
from mrsearch.policy.http_policy import HttpPolicy
from mrsearch.runlog import processor

VOCABULARY = 5000


def canned(draw: random.Random, close: int) -> bytes:
    """One choice with every field that vLLM sends, of some 170 tokens on average."""
    count = max(20, int(draw.lognormvariate(5.0, 0.5)))
    ids = [draw.randrange(20, VOCABULARY) for _ in range(count)] + [close]
    texts = [f" word{token}" for token in ids]
    logprobs = [-draw.expovariate(2.0) for _ in ids]
    choice = {
        "index": 0,
        "text": "".join(texts),
        "logprobs": {
            "text_offset": list(range(0, 8 * len(ids), 8)),
            "token_logprobs": logprobs,
            "tokens": texts,
            "top_logprobs": [{text: logprob} for text, logprob in zip(texts, logprobs, strict=True)],
        },
        "finish_reason": "stop",
        "stop_reason": "</search>",
        "token_ids": ids,
    }
    return json.dumps(choice)[:-1].encode()


def serve(close: int, delay: float, told: Any) -> None:
    """Answer every request after about `delay` seconds with a canned turn and its own prompt, as vLLM does."""
    draw = random.Random(0)
    choices = [canned(draw, close) for _ in range(200)]

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
                start = body.index(b'"prompt":') + 9
                prompt = body[start : body.index(b"]", start) + 1].lstrip()
                await asyncio.sleep(delay * draw.lognormvariate(0.0, 0.5))
                answer = b'{"id":"cmpl-1","object":"text_completion","created":1,"model":"policy","choices":['
                answer += draw.choice(choices) + b',"prompt_token_ids":' + prompt + b'}],"usage":{"prompt_tokens":1}}'
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                writer.write(b"content-length: %d\r\n\r\n" % len(answer) + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0, limit=1 << 24)
        told.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


class Plain:
    """The least that httpx can be asked with."""

    def __init__(self, url: str, in_flight: int) -> None:
        self.url, self.dialect = url, dialect("vllm", "policy")
        self.gate = asyncio.Semaphore(in_flight)
        limits = httpx.Limits(max_connections=in_flight)
        self.client = httpx.AsyncClient(timeout=600, limits=limits, trust_env=False)

    async def generate(self, context: list[int], sampling: Sampling, request_id: str) -> Any:
        async with self.gate:
            body = self.dialect.body(context, sampling, sampling.max_tokens, [3])
            answer = (await self.client.post(self.url + self.dialect.path, json=body)).json()
        choice = answer["choices"][0]
        return choice["token_ids"], choice["logprobs"]["token_logprobs"]

    async def aclose(self) -> None:
        await self.client.aclose()


async def drive(policy: Any, contexts: list[list[int]]) -> tuple[float, float]:
    """Seconds of this process's CPU and of the clock for a generation after each context."""
    sampling = Sampling(max_tokens=1024, temperature=1.0)
    cpu, clock = time.process_time(), time.perf_counter()
    await asyncio.gather(*(policy.generate(each, sampling, str(number)) for number, each in enumerate(contexts)))
    spent = time.process_time() - cpu, time.perf_counter() - clock
    await policy.aclose()
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generations", type=int, default=2000)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--context", type=int, default=1500, help="tokens of a prompt")
    parser.add_argument("--delay", type=float, default=0.05, help="seconds that the server takes, about")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{processor()}, {os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.1f}")
    tokens = word_tokenizer(size=VOCABULARY)
    told: Any = multiprocessing.Queue()
    close = tokens.convert_tokens_to_ids("</search>")
    server = multiprocessing.Process(target=serve, args=(close, options.delay, told), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{told.get(timeout=60)}"
    draw = random.Random(1)
    contexts = [[draw.randrange(20, VOCABULARY) for _ in range(options.context)] for _ in range(options.generations)]
    generator = Generator(kind="vllm", requests=options.in_flight)
    gc.freeze()  # looking through all prompts again and again is no client's work

    async def plain() -> tuple[float, float]:
        return await drive(Plain(url, options.in_flight), contexts)

    async def ours() -> tuple[float, float]:
        return await drive(HttpPolicy(url, tokens, generator), contexts)

    spent: dict[str, list[float]] = {"httpx": [], "HttpPolicy": []}
    for _ in range(options.rounds):
        for name, run in (("httpx", plain), ("HttpPolicy", ours)):
            cpu, clock = asyncio.run(run())
            spent[name].append(cpu)
            rate = options.generations / cpu
            print(
                f"{name:10} {1e3 * cpu / options.generations:6.2f} ms of CPU each, {rate:6.0f}/s a core, {clock:.1f} s"
            )
    medians = {name: statistics.median(times) for name, times in spent.items()}
    rate, ratio = options.generations / medians["HttpPolicy"], medians["httpx"] / medians["HttpPolicy"]
    print(
        f"median: HttpPolicy {rate:.0f} generations/s a core, {ratio:.1f} times httpx at {options.in_flight} in flight"
    )
    server.terminate()


if __name__ == "__main__":
    main()
