"""The HTTP policy against a real server of a tiny checkpoint: the same records as the model in this process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import httpx
import pytest
import torch
from support.project import ROOT
from support.tiny import tiny_model, word_tokenizer

from mrsearch.agent.agent import Agent, Request
from mrsearch.agent.batch import run_batch
from mrsearch.agent.ports import DeadlineError, Hit, Passage, Sampling
from mrsearch.agent.procedures import run_procedure
from mrsearch.agent.records import Question, StopReason
from mrsearch.agent.renderer import Renderer
from mrsearch.agent.spec import AgentSpec
from mrsearch.config.generator import Generator
from mrsearch.config.protocol import Prompts, Protocol
from mrsearch.policy.http_policy import HttpPolicy
from mrsearch.policy.serving import open_policy, serve
from mrsearch.policy.tokenizer import load_tokenizer

pytestmark = pytest.mark.integration
SERVER = ROOT / "tests" / "support" / "http_engine.py"
PROMPTS = Prompts(search="w1 {question}", reflection="w2 w3", invalid_action=" w4 ")
PROTOCOL = Protocol(prompts=PROMPTS, max_turn_tokens=12, max_context_tokens=160, max_turns=2, max_observation_tokens=20)


class OnePassage:
    async def search(self, query: str, topk: int) -> list[Hit]:
        return [Hit(Passage("p", "w5", f"w6 {query[:8]}"), 1.0)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny model that likes to close tags, so that every way of ending occurs."""
    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = word_tokenizer(size=20)
    model = tiny_model(len(tokenizer))
    with torch.no_grad():
        tags = tokenizer.convert_tokens_to_ids(["<search>", "</search>", "<answer>", "</answer>", "<|im_end|>"])
        model.get_output_embeddings().weight[tags] *= 3.0
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(checkpoint, tmp_path_factory):
    """One server for all tests, started as a job starts it."""
    with serve(engine("vllm"), checkpoint, 160, tmp_path_factory.mktemp("log") / "log") as running:
        yield running


@pytest.fixture
def client(server, checkpoint):
    """A function that makes a policy after telling the server how to behave."""

    def make(kind, behaviour=None, **keys):
        httpx.post(server.url + "/behave", json=behaviour or {})
        return HttpPolicy(server.url, load_tokenizer(checkpoint), engine(kind, **keys), key=server.key)

    return make


@pytest.fixture(scope="module")
def expected(checkpoint, tmp_path_factory):
    """Greedy and sampled rollouts of the model in this process."""
    with open_policy(Generator(), checkpoint, 160, tmp_path_factory.mktemp("log") / "log") as policy:
        return {temperature: rollouts(policy, temperature) for temperature in (0.0, 1.0)}


def engine(kind: str, **keys: object) -> Generator:
    command = (sys.executable, str(SERVER), "--model", "{model}", "--port", "{port}")
    return Generator(kind=kind, command=command, start_seconds=300, request_seeds=True, **keys)


def rollouts(policy, temperature=1.0, count=6):
    renderer = Renderer(policy.tokenizer, PROTOCOL)
    agent = Agent(policy, OnePassage(), AgentSpec(protocol=PROTOCOL, episodes=3, max_turns=2, topk=1), renderer)

    def job(number):
        question = Question(f"q{number}", f"w{number} w{number + 1}", ("w7",))
        return lambda: run_procedure(question, agent, Request(question.id, 3, temperature))

    async def batch():
        try:
            return await run_batch([(f"q{number}", job(number)) for number in range(count)], policy, 50)
        finally:
            await policy.aclose()

    return asyncio.run(batch())


def same(first, second):
    assert [record.token_ids for record in first] == [record.token_ids for record in second]
    assert [record.episodes for record in first] == [record.episodes for record in second]
    for one, other in zip(first, second, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
@pytest.mark.parametrize("behaviour", [{}, {"late": 2}, {"busy": 3}], ids=["exact", "late", "busy"])
def test_records_equal_those_of_the_model_in_this_process(client, expected, kind, behaviour):
    policy = client(kind, behaviour)
    for temperature, records in expected.items():
        same(rollouts(policy, temperature), records)
    kinds = {turn.action for record in expected[1.0] for episode in record.episodes for turn in episode.turns}
    assert len(kinds) > 1, "the rollouts end in different ways"


def test_no_more_requests_in_flight_than_allowed(client, server):
    rollouts(client("vllm", {"delay": 0.02}, requests=2), count=8)
    assert httpx.post(server.url + "/behave", json={}).json()["most"] == 2


def test_a_question_whose_time_is_over_keeps_its_record(client):
    records = rollouts(client("sglang", {"delay": 2.0}, deadline_seconds=5.0), count=2)
    assert {record.stop for record in records} == {StopReason.deadline}
    assert all(sum(record.loss_mask) for record in records), "what was generated in time is kept"
    with pytest.raises(DeadlineError, match=r"x: not answered within 0.2 s"):
        asyncio.run(client("vllm", {"delay": 9.0}, deadline_seconds=0.2).generate([5, 6], Sampling(4), "x"))


def test_a_server_that_stays_away_is_named(checkpoint):
    policy = HttpPolicy("http://127.0.0.1:9", load_tokenizer(checkpoint), engine("vllm", patience_seconds=0.3))
    with pytest.raises(ValueError, match=r"patience_seconds \(0.3\): http://127.0.0.1:9/\S+: ClientConnector"):
        asyncio.run(policy.generate([5, 6], Sampling(4), "x"))


def test_a_server_that_dies_at_the_start_shows_its_log(checkpoint, tmp_path):
    broken = Generator(kind="vllm", command=(sys.executable, "-c", "raise SystemExit('no GPU {port}')"))
    with (
        pytest.raises(ValueError, match=r"ended with code 1:\nlast lines of .*log:\nno GPU \d+"),
        serve(broken, checkpoint, 160, tmp_path / "log"),
    ):
        pass
    silent = Generator(kind="vllm", command=(sys.executable, "-c", "import time; time.sleep(60)"), start_seconds=0.5)
    with (
        pytest.raises(ValueError, match=r"not healthy within generator.start_seconds \(0.5\)"),
        serve(silent, checkpoint, 160, tmp_path / "log"),
    ):
        pass


def test_the_server_ends_with_a_job_that_is_killed(checkpoint, tmp_path):
    script = (
        "import pathlib, sys, time\n"
        "from mrsearch.config.generator import Generator\n"
        "from mrsearch.policy.serving import serve\n"
        "model, server, told = sys.argv[1:]\n"
        "command = (sys.executable, server, '--model', '{model}', '--port', '{port}')\n"
        "engine, log = Generator(kind='vllm', command=command), pathlib.Path(told + '.log')\n"
        "with serve(engine, pathlib.Path(model), 99, log) as server:\n"
        "    pathlib.Path(told).write_text(server.url)\n"
        "    time.sleep(99)\n"
    )
    told = tmp_path / "url"
    job = subprocess.Popen([sys.executable, "-c", script, str(checkpoint), str(SERVER), str(told)])
    deadline = time.monotonic() + 120
    while not (told.is_file() and told.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    url = told.read_text()
    assert httpx.get(url + "/health").status_code == 200
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    with pytest.raises(httpx.ConnectError):
        while time.monotonic() < deadline:
            httpx.get(url + "/health")
            time.sleep(0.1)
