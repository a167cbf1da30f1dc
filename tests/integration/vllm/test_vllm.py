"""A real vLLM: what it generates is what the model in this process generates, and it ends with its job."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch
from support.evaluations import CONTEXT_TOKENS, evaluated_study, make_inputs
from support.small_world import TINY
from transformers import AutoModelForCausalLM

from mrsearch.agent.ports import Finish, Generation, Sampling
from mrsearch.agent.record_files import read_records
from mrsearch.config import Study
from mrsearch.config.generator import Generator
from mrsearch.evaluation.folders import EvaluationInputs, MethodFolders
from mrsearch.evaluation.run import evaluate_methods
from mrsearch.policy.http_policy import HttpPolicy
from mrsearch.policy.torch_policy import TorchPolicy

pytestmark = pytest.mark.integration
GENERATOR = {"kind": "vllm", "gpu_memory_utilization": 0.2, "server_arguments": ["--enforce-eager"]}
JOB = """
import json, pathlib, sys, time
from mrsearch.config.generator import Generator
from mrsearch.policy.serving import serve
generator, model, limit, log = Generator.model_validate_json(sys.argv[1]), *sys.argv[2:]
with serve(generator, pathlib.Path(model), int(limit), pathlib.Path(log)) as server:
    print(json.dumps({"url": server.url, "key": server.key, "session": server.process.pid}), flush=True)
    time.sleep(3600)
"""


@dataclass
class Running:
    """A server, and the job that started it."""

    job: subprocess.Popen[str]
    url: str
    key: str
    session: int
    log: Path


@pytest.fixture(scope="module")
def study() -> Study:
    return evaluated_study(
        6,
        models={"tiny": TINY | {"hidden_size": 64}},
        methods={
            "search_r1": {"policy": "base", "episodes": 2, "max_turns": 3},
            "one_episode": {"policy": "base", "max_turns": 4},
        },
        evaluation={"decoding": {"greedy": {"temperature": 0.0}}, "concurrency": 6},
        report={"decoding": "greedy"},
    )


@pytest.fixture(scope="module")
def inputs(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions, passages, index, and an untrained model that likes tags, so that every way of ending occurs."""
    folder = make_inputs(study, tmp_path_factory.mktemp("inputs"))
    policy = TorchPolicy.load(folder / "model")
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    names = ["<search>", "</search>", "<answer>", "</answer>", "<|im_end|>"]
    with torch.no_grad():
        for layer in model.model.layers:  # else an untrained model repeats its last token
            layer.mlp.down_proj.weight *= 8
        model.get_output_embeddings().weight[policy.tokenizer.convert_tokens_to_ids(names)] *= 1.5
    model.save_pretrained(folder / "model")
    leaks = {"repetition_penalty": 5.0, "top_k": 1, "temperature": 0.1, "top_p": 0.1, "min_p": 0.5}
    (folder / "model" / "generation_config.json").write_text(json.dumps({**leaks, "do_sample": True}))
    return folder


@pytest.fixture(scope="module")
def running(inputs: Path, tmp_path_factory: pytest.TempPathFactory):
    """A server that a job of its own started."""
    log = tmp_path_factory.mktemp("log") / "server.log"
    generator = Generator.model_validate(GENERATOR).model_dump_json()
    words = [sys.executable, "-c", JOB, generator, str(inputs / "model"), str(CONTEXT_TOKENS), str(log)]
    job = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    told = job.stdout.readline()
    assert told, log.read_text() if log.exists() else "no log"
    yield Running(job, **json.loads(told), log=log)
    job.kill()
    job.wait()


@pytest.fixture(scope="module")
def local(inputs: Path) -> TorchPolicy:
    return TorchPolicy.load(inputs / "model")


def contexts(policy: TorchPolicy, count: int = 12) -> list[list[int]]:
    """Prompts that differ from each other in every token."""
    size = len(policy.tokenizer)
    return [[(31 * number + 7 * place) % (size - 20) + 20 for place in range(20 + number)] for number in range(count)]


def generations(policy, asked: list[list[int]], sampling: Sampling) -> list[Generation]:
    """All at once."""

    async def main():
        names = [f"q{number}" for number in range(len(asked))]
        for name in names:
            policy.attach(name)
        try:
            pairs = zip(asked, names, strict=True)
            return await asyncio.gather(*(policy.generate(context, sampling, name) for context, name in pairs))
        finally:
            for name in names:
                policy.detach(name)
            await policy.aclose()

    return asyncio.run(main())


def client(running: Running, local: TorchPolicy, **keys) -> HttpPolicy:
    generator = Generator.model_validate(GENERATOR | keys)
    return HttpPolicy(running.url, local.tokenizer, generator, key=running.key)


def test_greedy_turns_are_those_of_the_model_in_this_process(running: Running, local: TorchPolicy) -> None:
    """Its generation_config.json asks for penalties and top-k: had they leaked in, the tokens would differ."""
    sampling, asked = Sampling(12), contexts(local)
    served, own = generations(client(running, local), asked, sampling), generations(local, asked, sampling)
    assert [each.token_ids for each in served] == [each.token_ids for each in own]
    assert [each.finish for each in served] == [each.finish for each in own]
    for one, other in zip(served, own, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-3)
    assert len({tuple(each.token_ids) for each in own}) > 6, "the turns differ from each other"


def test_sampled_turns_end_where_they_should_with_the_models_own_probabilities(running: Running, local: TorchPolicy):
    asked, sampling = contexts(local), Sampling(12, temperature=0.7, seed=3)
    served = generations(client(running, local, request_seeds=True), asked, sampling)
    ends = {"</search>", "</answer>", "<|im_end|>"}
    for context, made in zip(asked, served, strict=True):
        words = local.tokenizer.convert_ids_to_tokens(made.token_ids)
        assert not ends & set(words[:-1])
        assert (made.finish is Finish.stop) == (words[-1] in ends)
        assert made.finish is Finish.stop or len(words) == 12
        with torch.no_grad():
            logits = local.model(torch.tensor([context + made.token_ids])).logits[0, len(context) - 1 : -1]
        expected = torch.log_softmax(logits / 0.7, -1).gather(1, torch.tensor(made.token_ids)[:, None])[:, 0]
        assert made.logprobs == pytest.approx(expected.tolist(), abs=1e-3)
    assert {each.finish for each in served} == {Finish.stop, Finish.length}, "both ways of ending occurred"
    again = generations(client(running, local, request_seeds=True), asked, sampling)
    assert [each.token_ids for each in again] == [each.token_ids for each in served], "seeds decide"


def test_a_context_may_be_filled_to_its_last_token_and_not_further(running: Running, local: TorchPolicy) -> None:
    context = (contexts(local, 1)[0] * CONTEXT_TOKENS)[: CONTEXT_TOKENS - 3]
    (made,) = generations(client(running, local), [context], Sampling(3))
    (own,) = generations(local, [context], Sampling(3))
    assert made.token_ids == own.token_ids
    with pytest.raises(ValueError, match=r"HTTP 400: .*max_tokens"):
        generations(client(running, local), [context], Sampling(4))


def test_who_does_not_know_the_key_is_refused(running: Running, local: TorchPolicy) -> None:
    with pytest.raises(ValueError, match="HTTP 401"):
        asyncio.run(
            HttpPolicy(running.url, local.tokenizer, Generator(kind="vllm"), key="guess").generate(
                [5], Sampling(2), "q"
            )
        )
    assert running.key not in " ".join(psutil.Process(running.session).cmdline())


def test_the_server_writes_no_line_per_request(running: Running) -> None:
    assert "/v1/completions HTTP" not in running.log.read_text()


def test_whole_evaluations_over_one_server_have_the_records_of_the_model_in_this_process(
    study: Study, inputs: Path, tmp_path: Path
) -> None:
    made = {}
    sources = EvaluationInputs(inputs / "model", inputs / "data", inputs / "corpus", inputs / "index")
    for kind, generator in (("torch", {}), ("vllm", GENERATOR)):
        evaluation = study.evaluation.model_copy(update={"generator": Generator.model_validate(generator)})
        folders = {name: MethodFolders(tmp_path / kind / name, tmp_path / f"{kind}-{name}") for name in study.methods}
        evaluate_methods(study.model_copy(update={"evaluation": evaluation}), "tiny", folders, 0, sources)
        outs = [folder.out for folder in folders.values()]
        made[kind] = [
            record for out in outs for path in sorted(out.glob("*.greedy.jsonl*")) for record in read_records(path)
        ]
        jobs = [json.loads((out / "run.json").read_text())["timing"]["job"] for out in outs]
        assert jobs[0] == jobs[1] and jobs[0]["methods"] == list(study.methods), "one start for both"
    assert len(made["torch"]) == len(made["vllm"]) == 24
    for own, served in zip(made["torch"], made["vllm"], strict=True):
        assert served.token_ids == own.token_ids and served.loss_mask == own.loss_mask
        assert served.logprobs == pytest.approx(own.logprobs, abs=1e-3)
        assert served.tags["scores"] == own.tags["scores"]


def test_every_process_of_the_server_ends_with_a_job_that_is_killed(running: Running) -> None:
    """The last test: it ends the server of the others."""

    def members() -> list[int]:
        return [pid for pid in psutil.pids() if session_of(pid) == running.session]

    assert len(members()) > 1, "vLLM has processes of its own"
    os.kill(running.job.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while members() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert members() == []


def session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid) if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE else None
    except (ProcessLookupError, PermissionError, psutil.Error):
        return None
