"""A model folder that another study made is a model like any other."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.architectures import random_model
from support.families import family_tokenizer
from tokenizers import Tokenizer

from mrsearch.config import Run, load_study
from mrsearch.config.protocol import Prompts, Protocol
from mrsearch.data.download import is_wanted
from mrsearch.data.registry import RegistryEntry
from mrsearch.policy.base_model import MODEL_FILES, make_base
from mrsearch.policy.causal_model import load_model
from mrsearch.policy.model_folder import check_folder
from mrsearch.policy.tokenizer import load_tokenizer, require_no_code

FAMILY = "chatml, not special"


def whole_model(folder: Path, *, rows: int = 0) -> None:
    """A tiny Llama with a byte-level tokenizer; rows: of its embedding, 0 for as many as there are tokens."""
    tokenizer = family_tokenizer(FAMILY)
    tokenizer.save_pretrained(folder)
    random_model("llama", rows or len(tokenizer)).save_pretrained(folder)


def test_a_folder_of_another_study_is_linked_without_its_marks(tmp_path: Path) -> None:
    """Snakemake writes when a folder was made into the folder; a link to that file would be written through."""
    source = tmp_path / "other-study" / "model"
    source.mkdir(parents=True)
    whole_model(source)
    for name in (".snakemake_timestamp", ".gitattributes"):
        (source / name).write_text(name)
    (source / "deeper").mkdir()
    long_ago = time.time() - 86_400
    os.utime(source / ".snakemake_timestamp", (long_ago, long_ago))
    study = load_study(Run(study="demo", overrides={"models.tiny": {"kind": "folder", "path": str(source)}}))
    make_base(study, "tiny", [], tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        path.name for path in source.iterdir() if path.is_file() and not path.name.startswith(".")
    }
    (tmp_path / "out" / ".snakemake_timestamp").touch()
    assert (source / ".snakemake_timestamp").stat().st_mtime == pytest.approx(long_ago, abs=1)


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def split_weights(folder: Path, file_of: Callable[[str], object] | None) -> None:
    """The weights under another name, and an index in which `file_of` turns that name into another; None lists none."""
    name = "model-00001-of-00001.safetensors"
    listed = {} if file_of is None else dict.fromkeys(load_file(folder / "model.safetensors"), file_of(name))
    (folder / "model.safetensors").rename(folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": listed}))


def edit_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def keep_only_bin(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights are a pointer": (lambda f: (f / "model.safetensors").write_text(POINTER), r"model\.safetensors.*git lfs"),
    "tokenizer is a pointer": (lambda f: (f / "tokenizer.json").write_text(POINTER), r"tokenizer\.json.*git lfs"),
    "empty weights": (lambda f: (f / "model.safetensors").write_bytes(b""), r"model\.safetensors.*download it again"),
    "cut weights": (lambda f: os.truncate(f / "model.safetensors", 5000), r"model\.safetensors.*download it again"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"model\.safetensors.*is missing"),
    "NaN": (lambda f: edit_weights(f, lambda w: w["model.norm.weight"].fill_(float("nan"))), "norm.*NaN"),
    "infinite": (lambda f: edit_weights(f, lambda w: w["lm_head.weight"].fill_(float("inf"))), "lm_head.*infinite"),
    "a layer is missing": (lambda f: edit_weights(f, lambda w: w.pop("model.norm.weight")), "1 weights are missing"),
    "other shapes": (lambda f: edit_json(f / "config.json", intermediate_size=40), "do not fit|other shape"),
    "small embedding": (lambda f: whole_model(f, rows=100), r"tokenizer\.json.*100 embeddings"),
    "quantised": (lambda f: edit_json(f / "config.json", quantization_config={"quant_method": "gptq"}), "gptq.*whole"),
    "only bin": (keep_only_bin, r"\.bin files are not read"),
    "no template": (lambda f: (f / "chat_template.jinja").unlink(), r"chat_template\.jinja"),
    "no tokenizer": (lambda f: (f / "tokenizer_config.json").unlink(), r"tokenizer_config\.json is missing"),
    "damaged tokenizer": (lambda f: (f / "tokenizer.json").write_text("{"), "tokenizer cannot be read"),
    "config is no JSON": (lambda f: (f / "config.json").write_text("{"), r"config\.json: is not JSON"),
    "config is a list": (lambda f: (f / "config.json").write_text("[]"), r"config\.json: holds a list"),
    "endings are a list": (lambda f: (f / "generation_config.json").write_text("[]"), r"generation_.*holds a list"),
    "an ending is no token": (
        lambda f: edit_json(f / "generation_config.json", eos_token_id=[1, 10**8]),
        "no token of",
    ),
    "an ending of the model is no token": (lambda f: edit_json(f / "config.json", eos_token_id=10**8), "no token of"),
    "a value is text": (lambda f: edit_json(f / "config.json", hidden_size="32"), "do not fit together"),
    "a value is below zero": (lambda f: edit_json(f / "config.json", num_hidden_layers=-1), "do not fit|left out"),
    "a value is no number": (lambda f: edit_json(f / "config.json", rms_norm_eps=float("nan")), "output is NaN"),
    "fewer layers": (
        lambda f: edit_json(f / "config.json", num_hidden_layers=1, layer_types=None),
        "would be left out",
    ),
    "an index of numbers": (lambda f: split_weights(f, lambda name: 5), "is no index of weights"),
    "an index of nothing": (lambda f: split_weights(f, None), "is no index of weights"),
    "an index that leaves the folder": (
        lambda f: split_weights(f, lambda name: "../" + name),
        "no file of this folder",
    ),
    "a part is missing": (
        lambda f: split_weights(f, lambda name: "other.safetensors"),
        r"other\.safetensors: is missing",
    ),
    "whole weights beside an index": (
        lambda f: (
            (f / "model.safetensors.index.json").write_text('{"weight_map": {}}'),
            edit_weights(f, lambda w: w["model.norm.weight"].fill_(float("nan"))),
        ),
        "norm.*NaN",
    ),
    "weights of eight bits": (
        lambda f: edit_weights(f, lambda w: w.update({"lm_head.weight": w["lm_head.weight"].to(torch.float8_e4m3fn)})),
        "lm_head.*float8",
    ),
    "weights are integers": (
        lambda f: edit_weights(f, lambda w: w.update({"lm_head.weight": w["lm_head.weight"].to(torch.int8)})),
        "lm_head.*int8",
    ),
    "zeros": (lambda f: edit_weights(f, lambda w: w["lm_head.weight"].zero_()), "lm_head.*all zeros"),
    "an adapter": (lambda f: (f / "adapter_config.json").write_text("{}"), "merge it into the weights"),
    "a tokenizer's settings alone": (
        lambda f: (f / "tokenizer.json").unlink(),
        r"tokenizer\.json is missing|cannot be read",
    ),
    "a template without end": (
        lambda f: (f / "chat_template.jinja").write_text("{% for i in range(10 ** 9) %}x{% endfor %}"),
        "template refuses the prompts",
    ),
    "own code": (lambda f: edit_json(f / "config.json", model_type="mine", auto_map={"AutoConfig": "m.C"}), "not run"),
    "an encoder": (lambda f: edit_json(f / "config.json", model_type="vit"), "no language model"),
    "a template that draws lots": (
        lambda f: (f / "chat_template.jinja").write_text(
            "{% for m in messages %}{{ m['content'] }}{% endfor %}{{ range(10 ** 5) | random }}"
        ),
        "another prompt each time",
    ),
    "a template that refuses": (
        lambda f: (f / "chat_template.jinja").write_text("{{ raise_exception('never') }}"),
        "template refuses the prompts",
    ),
}


def test_weights_in_parts_and_what_older_files_hold_besides_are_no_fault(tmp_path: Path) -> None:
    whole_model(tmp_path)
    derived = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
        "model.layers.0.attn.bias": torch.ones(4, 4, dtype=torch.bool),
    }
    edit_weights(tmp_path, lambda weights: weights.update(derived))
    split_weights(tmp_path, lambda name: name)
    check_folder(tmp_path, Protocol())


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_folder_is_refused_with_file_and_remedy(fault: str, tmp_path: Path) -> None:
    change, message = BROKEN[fault]
    whole_model(tmp_path)
    check_folder(tmp_path, Protocol())
    change(tmp_path)
    with pytest.raises(ValueError, match=message) as refusal:
        check_folder(tmp_path, Protocol())
    assert str(tmp_path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_template_without_a_system_role_is_refused_where_the_protocol_sets_one(tmp_path: Path) -> None:
    whole_model(tmp_path)
    template = tmp_path / "chat_template.jinja"
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    template.write_text(refusing + template.read_text())
    check_folder(tmp_path, Protocol())
    with pytest.raises(ValueError, match=r"no system role.*protocol\.prompts\.system: null"):
        check_folder(tmp_path, Protocol(prompts=Prompts(system="be brief")))


@pytest.mark.parametrize("label", ["LlamaTokenizer", "LlamaTokenizerFast", "Qwen2Tokenizer", "GemmaTokenizer", None])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2"])
def test_a_tokenizer_gives_the_ids_of_its_file_whatever_its_label(label: str | None, kind: str, tmp_path: Path) -> None:
    family_tokenizer(FAMILY).save_pretrained(tmp_path)
    edit_json(tmp_path / "tokenizer_config.json", tokenizer_class=label)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    text = "In 2024 Köln  won 1,234 \n\n prizes"
    tokenizer, alone = load_tokenizer(tmp_path), Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.encode(text, add_special_tokens=False) == alone.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def opened(place: str, folder: Path) -> object:
    """What this project opens of a folder: each way in which the library would ask whether to run its code."""
    if place == "critic":
        from mrsearch.training.verl.cpu.worker import load_critic

        return load_critic(str(folder), torch.float32, None)
    return load_tokenizer(folder) if place == "tokenizer" else load_model(folder, "auto")


@pytest.fixture
def proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that exists once the folder's code has run; every question at the terminal is answered with y."""
    whole_model(tmp_path)
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.setattr("signal.signal", lambda *_: None)
    return tmp_path / "ran"


@pytest.mark.parametrize("place", ["model", "tokenizer", "critic"])
def test_no_code_of_a_folder_runs_whatever_is_answered(place: str, proof: Path, tmp_path: Path) -> None:
    if place == "tokenizer":
        (tmp_path / "tokenizer.json").unlink()
        tokenizers = {"AutoTokenizer": ["own.Own", "own.Own"]}
        edit_json(tmp_path / "tokenizer_config.json", tokenizer_class="Own", auto_map=tokenizers)
    else:
        own = dict.fromkeys(("AutoConfig", "AutoModelForCausalLM", "AutoModelForTokenClassification"), "own.Own")
        edit_json(tmp_path / "config.json", model_type="mine", auto_map=own)
    with pytest.raises(ValueError):
        opened(place, tmp_path)
    assert not proof.exists()


@pytest.mark.parametrize("place", ["model", "tokenizer", "critic"])
def test_what_a_known_kind_brings_of_its_own_is_left_alone(place: str, proof: Path, tmp_path: Path) -> None:
    names = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForTokenClassification")
    edit_json(tmp_path / "config.json", auto_map=dict.fromkeys(names, "own.Own"))
    edit_json(tmp_path / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Own", "own.Own"]})
    assert type(opened(place, tmp_path)).__module__.startswith("transformers.")
    assert not proof.exists()


@pytest.mark.parametrize(
    ("file", "auto_map", "named"),
    [
        ("tokenizer_config.json", {"AutoTokenizer": ["own.Own", None]}, True),
        ("tokenizer_config.json", {"AutoTokenizer": "other/place--own.Own"}, True),
        ("config.json", {"AutoTokenizer": "own.Own"}, True),
        ("config.json", {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}, False),
        ("config.json", {}, False),
    ],
)
def test_a_folder_whose_tokenizer_names_code_is_not_given_to_verl(
    file: str, auto_map: dict, named: bool, tmp_path: Path
) -> None:
    whole_model(tmp_path)
    require_no_code(tmp_path)
    edit_json(tmp_path / file, auto_map=auto_map)
    with pytest.raises(ValueError, match=rf"{file}: names code") if named else contextlib.nullcontext():
        require_no_code(tmp_path)
    edit_json(tmp_path / "config.json", auto_map={"AutoConfig": "own.Own"})
    edit_json(tmp_path / "tokenizer_config.json", tokenizer_class=None)
    with pytest.raises(ValueError, match="names code"):
        require_no_code(tmp_path)


def test_a_model_download_takes_one_copy_of_the_weights() -> None:
    row = RegistryEntry(name="m", kind="model", repository="a/b", patterns=MODEL_FILES, source="test")
    taken = ["config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "tokenizer.json"]
    left = ["consolidated.safetensors", "original/params.json", "original/model.safetensors", "onnx/config.json"]
    assert [path for path in [*taken, *left, "pytorch_model.bin"] if is_wanted(path, row)] == taken
    encoder = row.model_copy(update={"patterns": ("*.json", "1_Pooling/config.json")})
    assert is_wanted("1_Pooling/config.json", encoder) and not is_wanted("2_Dense/config.json", encoder)
