"""Byte-level tokenizers with the control tokens and chat templates of well-known families."""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

_EACH = "{% for m in messages %}"
_CHATML = (
    _EACH + "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_GEMMA = (
    _EACH + "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
_PHI = (
    _EACH + "<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_LLAMA = (
    _EACH + "<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
_MISTRAL = (
    _EACH + "{% if m['role'] == 'assistant' %} {{ m['content'] }}</s>{% else %}[INST] {{ m['content'] }} [/INST]"
    "{% endif %}{% endfor %}"
)
_SPACED = (
    _EACH + "<|im_start|>{{ m['role'] }}\n{{ m['content'] }} \n<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_OPENING = (
    _EACH + "<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_HEADERS = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>"]
FAMILIES = {
    "gemma 3": (_GEMMA, "<eos>", "<end_of_turn>", ["<start_of_turn>", "<end_of_turn>", "\n\n", "<table>"], True),
    "phi 3": (_PHI, "<|endoftext|>", "<|end|>", ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>"], True),
    "llama 3.0": (_LLAMA, "<|end_of_text|>", "<|eot_id|>", _HEADERS, True),
    "llama 3, not special": (_LLAMA, "<|end_of_text|>", "<|eot_id|>", _HEADERS, False),
    "chatml, not special": (_CHATML, "<|endoftext|>", "<|im_end|>", ["<|im_start|>", "<|im_end|>"], False),
    "chatml, spaced": (_SPACED, "<|endoftext|>", "<|im_end|>", ["<|im_start|>", "<|im_end|>"], False),
    "qwen 3": (
        _CHATML,
        "<|im_end|>",
        "<|im_end|>",
        ["<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<think>", "</think>"],
        False,
    ),
    "mistral": (_MISTRAL, "</s>", "</s>", ["[INST]", "[/INST]", "[TOOL_CALLS]"], True),
    "no closing token": (_OPENING, "<|endoftext|>", "<|user|>", ["<|user|>", "<|assistant|>"], False),
}
"""By family: template, end of sequence, the token after an assistant's words, added tokens, and whether special."""


def family_tokenizer(family: str) -> PreTrainedTokenizerFast:
    template, end, _, added, special = FAMILIES[family]
    alphabet = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(alphabet, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(end, normalized=False, special=True)])
    backend.add_tokens([AddedToken(token, normalized=False, special=special) for token in added if token != end])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=end)
    tokenizer.chat_template = template
    return tokenizer
