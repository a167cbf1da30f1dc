"""What a new interpreter loads for the configuration, a command's help and a bag of words."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import COMMANDS
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

pytestmark = pytest.mark.integration

HEAVY = {
    *("torch", "transformers", "faiss", "pandas", "matplotlib", "sentence_transformers", "wandb", "fastapi"),
    *("numpy", "pyarrow", "httpx", "aiohttp"),
}


@pytest.mark.parametrize(
    "module", ["mrsearch.config", "mrsearch.cli", "mrsearch; mrsearch.load_study, mrsearch.Question"]
)
def test_configuration_and_command_line_load_nothing_heavy(module):
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & set(loaded)


def test_a_bag_of_words_needs_neither_sentence_transformers_nor_transformers():
    code = (
        "import sys; from mrsearch.retrieval.indexes.bow import fit; from mrsearch.retrieval.engine import open_engine;"
        "import numpy; assert numpy.isfinite(fit([('a title', 'some text')]).encode(['text'])).all();"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"sentence_transformers", "transformers"} & set(loaded)


def test_a_model_needs_neither_scikit_learn_nor_scipy_nor_pandas():
    code = (
        "import sys; from mrsearch.policy.generation_import import import_generation; import_generation();"
        "from transformers import AutoModelForCausalLM, Qwen2Config;"
        "AutoModelForCausalLM.from_config(Qwen2Config(vocab_size=8, hidden_size=8, intermediate_size=8,"
        "num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1));"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "transformers" in loaded and not {"sklearn", "scipy", "pandas"} & set(loaded)


def test_a_tokenizer_needs_no_model_and_a_configuration_no_statistics(tmp_path: Path) -> None:
    """The tokenizer comes first, as in an evaluation."""
    (tmp_path / "config.json").write_text('{"model_type": "qwen2", "vocab_size": 8}')
    (tmp_path / "tokenizer_config.json").write_text("{}")
    Tokenizer(WordLevel({"?": 0, "city": 1}, unk_token="?")).save(str(tmp_path / "tokenizer.json"))
    code = (
        "import sys; from pathlib import Path; from mrsearch.policy.causal_model import load_config;"
        "from mrsearch.policy.tokenizer import load_tokenizer;"
        "assert load_tokenizer(Path(sys.argv[1])).encode('city') == [1];"
        "assert 'transformers.modeling_utils' not in sys.modules;"
        "assert load_config(Path(sys.argv[1])).vocab_size == 8;"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "transformers" in loaded and not {"sklearn", "scipy", "pandas"} & set(loaded)


HELP = """
import json, sys
from typer.testing import CliRunner
from mrsearch.cli import app
for path in json.loads(sys.argv[1]):
    shown = CliRunner().invoke(app, [*path, "--help"])
    heavy = [name for name in json.loads(sys.argv[2]) if name in sys.modules]
    print(json.dumps([path, shown.exit_code, "Usage" in shown.output, heavy]))
"""


@pytest.fixture(scope="module")
def helps(root: Path) -> dict[tuple[str, ...], tuple[int, bool, list[str]]]:
    """Exit code, whether usage was shown, and the heavy modules that were loaded by then, of every command's help."""
    command = [sys.executable, "-c", HELP, json.dumps(COMMANDS), json.dumps(sorted(HEAVY))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    return {tuple(path): tuple(rest) for path, *rest in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_is_shown_without_importing_anything_heavy(
    path: tuple[str, ...], helps: dict[tuple[str, ...], tuple[int, bool, list[str]]]
) -> None:
    assert helps[path] == (0, True, [])
