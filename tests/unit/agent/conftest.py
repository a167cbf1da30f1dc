"""A scripted policy, a canned engine and two real tokenizers, for tests that drive the agent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from mrsearch.agent.agent import Agent, Request, Watcher
from mrsearch.agent.ports import Finish, Generation, Hit, Passage, Sampling, SearchError
from mrsearch.agent.procedures import run_procedure
from mrsearch.agent.protocol import StopRule
from mrsearch.agent.records import MetaEpisode, Question
from mrsearch.agent.renderer import Renderer
from mrsearch.agent.spec import AgentSpec
from mrsearch.config.protocol import Prompts, Protocol

QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TAGS = [f"<{slash}{name}>" for name in ("think", "search", "information", "answer") for slash in ("", "/")]
WORDS = (
    "question what is the prize of Gadurin ? reflect and search again ( ) nothing find city Köln Ålesund won Bla "
    "direct use user assistant system be brief broken"
)
WORD_TEMPLATE = (
    "{% for m in messages %}<|im_start|> {{ m['role'] }} {{ m['content'] }} <|im_end|> {% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> assistant {% endif %}"
)
QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PROTOCOL = Protocol(
    prompts=Prompts(
        search="question {question}",
        reflection="reflect and search again",
        direct="direct {question}",
        cot="direct use {question}",
        rag="<information> {information} </information> direct {question}",
        ircot="<information> {information} </information> use {question}",
        conclude="direct",
        read="use {reasoning} find {query} <information> {information} </information>",
        invalid_action=" <information> nothing </information> ",
    ),
    passage_format="( {title} ) {text} ",
    observation_format=" <information> {passages} </information> ",
    no_hits="nothing",
    max_observation_tokens=40,
    max_turn_tokens=60,
    max_context_tokens=2000,
    max_turns=2,
)


def word_tokenizer() -> PreTrainedTokenizerFast:
    """One token a white-space word; tags are ordinary words."""
    vocabulary = ["<unk>", "<pad>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", *TAGS, *dict.fromkeys(WORDS.split())]
    backend = Tokenizer(models.WordLevel({word: n for n, word in enumerate(vocabulary)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return wrap(backend, WORD_TEMPLATE, unk_token="<unk>")


def bpe_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with Qwen's splitting, in which a closing tag is several tokens and may swallow a line break."""
    backend = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(QWEN_SPLIT), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    backend.decoder = decoders.ByteLevel()
    text = " ".join(f"{tag}\n{tag} x?{tag}\n\n" for tag in TAGS) + WORDS
    trainer = trainers.BpeTrainer(
        vocab_size=460,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([text] * 20, trainer)
    return wrap(backend, QWEN_TEMPLATE)


def wrap(backend: Tokenizer, template: str, **special: str) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        **special,
    )
    tokenizer.chat_template = template
    return tokenizer


class ScriptedPolicy:
    """Says the given lines one a turn, ended and cut as the port demands; each token has its own log-probability."""

    def __init__(self, renderer: Renderer, lines: Sequence[str | list[int]]) -> None:
        self.renderer, self.lines = renderer, list(lines)
        self.calls: list[tuple[list[int], Sampling, str]] = []
        self.said: list[Generation] = []

    async def generate(self, context: Sequence[int], sampling: Sampling, request_id: str) -> Generation:
        assert len(self.calls) < len(self.lines), "the script is over"
        line = self.lines[len(self.calls)]
        planned = self.renderer.tokenizer.encode(line, add_special_tokens=False) if isinstance(line, str) else line
        spoken: list[int] = []
        finish = Finish.length
        for token in planned[: sampling.max_tokens]:
            spoken.append(token)
            if self.renderer.stop_rule.is_end(spoken):
                finish = Finish.stop
                break
        number = sum(len(generation.token_ids) for generation in self.said)
        logprobs = [-(number + n + 1) / 1024 for n in range(len(spoken))]
        self.calls.append((list(context), sampling, request_id))
        self.said.append(Generation(spoken, logprobs, finish))
        await asyncio.sleep(0)
        return self.said[-1]


class CannedEngine:
    """Answers every query with the same passage; queries that contain "broken" fail for good."""

    def __init__(self, title: str = "Gadurin", text: str = "Gadurin won Bla") -> None:
        self.passage, self.queries = Passage("p1", title, text), list[tuple[str, int]]()

    async def search(self, query: str, topk: int) -> list[Hit]:
        self.queries.append((query, topk))
        if "broken" in query:
            raise SearchError("the engine is broken")
        return [Hit(self.passage, 0.5)]


@dataclass
class Stage:
    """One tokenizer, one protocol, and a way to play a script."""

    name: str
    tokenizer: PreTrainedTokenizerFast
    protocol: Protocol = PROTOCOL
    question: Question = field(default_factory=lambda: Question("q1", "what is the prize of Gadurin ?", ("Bla",)))
    engine: CannedEngine = field(default_factory=CannedEngine)

    def __post_init__(self) -> None:
        self.renderer = Renderer(self.tokenizer, self.protocol)
        self.stop_rule: StopRule = self.renderer.stop_rule

    def having(self, **changes: Any) -> Stage:
        """The same stage with other protocol keys."""
        return Stage(self.name, self.tokenizer, self.protocol.model_copy(update=changes), self.question)

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def policy(self, lines: Sequence[str | list[int]]) -> ScriptedPolicy:
        return ScriptedPolicy(self.renderer, lines)

    def play(
        self,
        policy: ScriptedPolicy,
        *,
        seed: int = 0,
        request_id: str = "r",
        watch: Watcher | None = None,
        **spec: Any,
    ) -> MetaEpisode:
        """Run a procedure with this stage's engine to its end."""
        chosen = AgentSpec(protocol=self.protocol, **{"max_turns": self.protocol.max_turns, "topk": 1, **spec})
        agent = Agent(policy, self.engine, chosen, self.renderer, watch)
        return asyncio.run(run_procedure(self.question, agent, Request(request_id, seed, 0.7, 0.9)))


@cache
def tokenizer_named(name: str) -> PreTrainedTokenizerFast:
    return {"word": word_tokenizer, "bpe": bpe_tokenizer}[name]()


@pytest.fixture(params=["word", "bpe"])
def stage(request: pytest.FixtureRequest) -> Stage:
    """A fresh stage for each of the two tokenizers."""
    return Stage(request.param, tokenizer_named(request.param))


@pytest.fixture(scope="session")
def stages() -> dict[str, Stage]:
    """Both stages by the tokenizer's name, shared: for property tests, which may not ask for fresh fixtures."""
    return {name: Stage(name, tokenizer_named(name)) for name in ("word", "bpe")}
