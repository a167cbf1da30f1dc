"""Tokenizers that hold pieces of characters: bytes as letters, and bytes as a fallback."""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def fallback_tokenizer() -> PreTrainedTokenizerFast:
    """As Llama 2's and Gemma's: ASCII has pieces, all other characters are bytes."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *map(chr, range(33, 127))]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return _wrapped(backend)


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """As GPT-2's without merges but one, of a full stop with the first byte of a character."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    (first,) = {_letters(text)[0] for text in "北京"} - {_letters("京")[0]}
    vocabulary = {letter: number for number, letter in enumerate([*letters, "." + first])}
    backend = Tokenizer(models.BPE(vocabulary, [(".", first)]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return _wrapped(backend)


def _letters(text: str) -> str:
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return "".join(piece for piece, _ in splitter.pre_tokenize_str(text))


def _wrapped(backend: Tokenizer) -> PreTrainedTokenizerFast:
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    backend.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in names])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")
    tokenizer.chat_template = TEMPLATE
    return tokenizer


PIECES = {"fallback": fallback_tokenizer, "byte level": byte_level_tokenizer}
