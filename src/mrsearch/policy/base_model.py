"""The untrained model a study starts from, as an ordinary Hugging Face folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsearch.config import Study
from mrsearch.config.models import FolderModel, HubModel, TinyModel
from mrsearch.config.prompt_words import prompt_words, words_of_methods
from mrsearch.data.world import World, world_words
from mrsearch.policy.generation_import import import_generation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, TURN_START, TURN_END = "<pad>", "<unk>", "<|im_start|>", "<|im_end|>"
TAGS = tuple(f"<{slash}{name}>" for name in ("think", "search", "information", "answer") for slash in ("", "/"))
MODEL_FILES = ("*.json", "*.safetensors", "*.txt", "*.jinja")
SCRIPT_WORDS = "find of no with next is against . done guess keep"
WORD_TEMPLATE = (
    "{% for message in messages %}<|im_start|> {{ message['role'] }} {{ message['content'] }} <|im_end|> {% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> assistant {% endif %}"
)
BPE_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_base(study: Study, model: str, texts: Iterable[str], out: Path, mirror: str | None = None) -> None:
    """Write the base model of `study.models[model]` to the folder `out`, atomically.

    `tiny` is built here with a tokenizer of the study's words, or one fitted on `texts` where it is a bpe; `folder` is
    copied by link; `hub` is downloaded at its pinned revision, from `mirror` where one is given, and goes on where an
    interrupted download stopped.
    ValueError for a folder or download that holds no whole, usable model.
    """
    from mrsearch.files import atomic_folder
    from mrsearch.policy.model_folder import check_folder

    config = study.models[model]
    if isinstance(config, HubModel):
        _download(model, config, out, mirror)
        check_folder(out, study.protocol)
        return
    with atomic_folder(out) as draft:
        if isinstance(config, TinyModel):
            tokenizer = _word_tokenizer(study) if config.tokenizer == "word" else _bpe_tokenizer(config, texts)
            if config.embedding_rows is not None:
                tokenizer = _padded(tokenizer, config.embedding_rows)
            tokenizer.save_pretrained(draft)
            _tiny_qwen2(config, tokenizer).save_pretrained(draft)
        else:
            assert isinstance(config, FolderModel)
            check_folder(Path(config.path), study.protocol)
            _link_folder(Path(config.path), draft)


def _word_tokenizer(study: Study) -> PreTrainedTokenizerFast:
    """One token per white-space word of the synthetic world, its prompts and its scripts."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    if study.data.kind != "world":
        raise ValueError(f"models.*.tokenizer: word fits data.kind: world only, not {study.data.kind}: use bpe")
    words = prompt_words(study.protocol) | set(words_of_methods(study)) | set(SCRIPT_WORDS.split())
    words |= {"user", "assistant", "system", *world_words(World(study.data))}
    first = [PAD, UNKNOWN, TURN_START, TURN_END, *TAGS]
    vocabulary = {token: index for index, token in enumerate([*first, *sorted(words - set(first))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _wrap(tokenizer, WORD_TEMPLATE)


def _bpe_tokenizer(config: TinyModel, texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE trained on the texts."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        special_tokens=[PAD, UNKNOWN, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if config.tag_preference is not None:
        tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS])
    return _wrap(tokenizer, BPE_TEMPLATE)


def _padded(tokenizer: PreTrainedTokenizerFast, rows: int) -> PreTrainedTokenizerFast:
    """The tokenizer with tokens that no text is ever split into, up to so many in all."""
    import json

    from tokenizers import Tokenizer

    if len(tokenizer) > rows:
        raise ValueError(f"models.*.embedding_rows ({rows}) is less than the {len(tokenizer)} tokens of the vocabulary")
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = described["model"]["vocab"]
    added = [token for token in described["added_tokens"] if token["content"] not in vocabulary]
    vocabulary |= {f"unused{number}": number for number in range(len(vocabulary), rows - len(added))}
    for number, token in enumerate(added, rows - len(added)):
        token["id"] = number
    return _wrap(Tokenizer.from_str(json.dumps(described)), str(tokenizer.chat_template))


def _wrap(tokenizer: Any, template: str) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=TURN_END,
        additional_special_tokens=[TURN_START],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = template
    return fast


def _tiny_qwen2(config: TinyModel, tokenizer: PreTrainedTokenizerFast) -> Any:
    """Random Qwen2 weights from the configured seed, in float32."""
    import torch

    import_generation()
    from transformers import Qwen2Config, Qwen2ForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=len(tokenizer),
                hidden_size=config.hidden_size,
                intermediate_size=config.intermediate_size,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                num_key_value_heads=config.kv_heads,
                max_position_embeddings=config.max_positions,
                initializer_range=config.initializer_range,
                tie_word_embeddings=True,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
                bos_token_id=None,
            )
        )
    if config.tag_preference is not None:
        with torch.no_grad():
            model.get_output_embeddings().weight[tokenizer.convert_tokens_to_ids(list(TAGS))] *= config.tag_preference
    return model.bfloat16() if config.dtype == "bfloat16" else model


def _link_folder(source: Path, target: Path) -> None:
    """Hidden files stay behind: Snakemake's mark of when a folder was made belongs to that folder alone, and a link to
    it would change the time of one and make the other look older than what it was made from."""
    for file in sorted(source.iterdir()):
        if file.is_file() and not file.name.startswith("."):
            (target / file.name).symlink_to(file.resolve())


def _download(name: str, config: HubModel, out: Path, mirror: str | None) -> None:
    from mrsearch.data.download import download
    from mrsearch.data.registry import RegistryEntry

    row = RegistryEntry(
        name=name,
        kind="model",
        repository=config.repository,
        revision=config.revision,
        patterns=MODEL_FILES,
        source=f"models.{name} of the study",
    )
    download(row, out, mirror=mirror)
