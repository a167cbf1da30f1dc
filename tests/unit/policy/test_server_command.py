"""How generation servers are started, and how they are proven to be ours."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from mrsearch.config.generator import Generator
from mrsearch.policy.server_command import require_server, server_command, server_environment
from mrsearch.policy.serving import vocabulary_size

MODEL = Path("model")


def value(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


@pytest.mark.parametrize(
    ("kind", "module", "parallel", "copies", "context"),
    [
        ("vllm", "vllm.entrypoints.openai.api_server", "--tensor-parallel-size", "--data-parallel-size", "8192"),
        # sglang refuses a request whose context is within 6 tokens of its limit
        ("sglang", "sglang.launch_server", "--tp-size", "--dp-size", "8200"),
    ],
)
def test_the_servers_commands(kind, module, parallel, copies, context):
    generator = Generator(kind=kind, tensor_parallel=4, dtype="bfloat16", server_arguments=("--seed", "7"))
    command = server_command(generator, MODEL, 1234, 8192)
    assert command[:3] == [sys.executable, "-m", module] and copies not in command
    assert value(command, parallel) == "4" and value(command, "--port") == "1234"
    assert value(command, "--max-model-len" if kind == "vllm" else "--context-length") == context
    assert command[-2:] == ["--seed", "7"]
    assert value(server_command(generator, MODEL, 1234, 8192, copies=8), copies) == "8"


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
@pytest.mark.parametrize("words", [("--trust-remote-code",), ("--seed", "7", "--trust_remote_code=true")])
def test_no_server_is_told_to_run_a_folders_code(kind, words):
    assert not [word for word in server_command(Generator(kind=kind), MODEL, 1, 99) if "remote" in word]
    with pytest.raises(ValueError, match="run Python of the model's folder"):
        Generator(kind=kind, server_arguments=words)


def test_a_models_own_sampling_settings_and_request_lines_are_turned_off():
    vllm = server_command(Generator(kind="vllm"), MODEL, 1, 99)
    assert value(vllm, "--generation-config") == "vllm" and "--disable-uvicorn-access-log" in vllm
    sglang = server_command(Generator(kind="sglang"), MODEL, 1, 99)
    assert value(sglang, "--sampling-defaults") == "openai" and value(sglang, "--log-level-http") == "warning"


def test_the_key_is_in_no_command_line_and_tools_of_the_environment_come_first(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    variables = server_environment("sesame")
    assert variables["VLLM_API_KEY"] == "sesame"
    assert variables["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert variables["no_proxy"] == variables["NO_PROXY"] == "127.0.0.1,localhost"
    file = Path("key.yaml")
    assert value(server_command(Generator(kind="sglang"), MODEL, 1, 99, key_file=file), "--config") == str(file)
    for kind in ("vllm", "sglang"):
        assert "sesame" not in " ".join(server_command(Generator(kind=kind), MODEL, 1, 99, key_file=file))


def test_an_environment_without_the_server_says_where_it_is():
    with pytest.raises(ValueError, match=r"sglang, which .* does not have: .*paths\.gpu_environment.*make gpu-env"):
        require_server(Generator(kind="sglang"))
    require_server(Generator(kind="sglang", command=("elsewhere",)))
    require_server(Generator())


def test_the_models_vocabulary_may_be_larger_than_the_tokenizers(tmp_path):
    for config, size in [({"vocab_size": 151936}, 151936), ({"text_config": {"vocab_size": 9}}, 9), ({}, 0)]:
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert vocabulary_size(tmp_path) == size
