"""The protocol: every knob that moves a number, whatever the method or the model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from mrsearch.config.base import Model

SEARCH_PROMPT = (
    "Answer the question below. Whenever you receive new information, first reason about it between <think> and "
    "</think>. If some knowledge is missing, you may ask a search engine by writing <search> your query </search>; "
    "the best matching passages then come back between <information> and </information>. You may search as often as "
    "you need. Once nothing is missing, give the answer alone between <answer> and </answer>, a few words and no "
    "explanation, for instance <answer> Ada Lovelace </answer>.\nQuestion: {question}\n"
)
REFLECTION_PROMPT = (
    "Look critically at the answer you just gave. Check it against further evidence from the search engine and give "
    "an improved answer. Reason between <think> and </think>, search with <search> your query </search>, and close "
    "with <answer> your answer </answer>."
)
DIRECT_PROMPT = (
    "Answer the question from what you know. Give the answer alone between <answer> and </answer>, a few words and "
    "no explanation.\nQuestion: {question}\n"
)
COT_PROMPT = (
    "Answer the question. First reason step by step between <think> and </think>, then give the answer alone between "
    "<answer> and </answer>, a few words and no explanation.\nQuestion: {question}\n"
)
RAG_PROMPT = (
    "Answer the question with the help of the passages. Give the answer alone between <answer> and </answer>, a few "
    "words and no explanation.\n<information>{information}</information>\nQuestion: {question}\n"
)
IRCOT_PROMPT = (
    "Answer the question by reasoning in short sentences, one at a time. After each sentence, passages that fit it "
    "come between <information> and </information>; use them for the next one. Once nothing is missing, give the "
    "answer alone between <answer> and </answer>, a few words and no explanation.\n"
    "<information>{information}</information>\nQuestion: {question}\n"
)
CONCLUDE_PROMPT = (
    "That was enough searching. Give the answer alone now between <answer> and </answer>, a few words and no "
    "explanation."
)
READ_PROMPT = (
    "Somebody reasons about a question, searched for something and got the passages below. Pick out what helps to go "
    "on with the reasoning, in a few sentences, and state only what the passages say. Where nothing helps, say so. "
    "Write the result between <answer> and </answer>.\nReasoning so far: {reasoning}\nSearch: {query}\n"
    "<information>{information}</information>\n"
)
INVALID_ACTION_HINT = (
    "\nThat was neither a search nor an answer. Write <search> your query </search> to search, or <answer> your "
    "answer </answer> to answer.\n"
)


class Prompts(Model):
    """The texts the agent reads. Each `{field}` must appear exactly as shown in the default."""

    system: str | None = None
    """System message; null leaves whatever the model's chat template does by itself."""
    search: str = SEARCH_PROMPT
    """First user message of a searching agent; holds {question}."""
    reflection: str = REFLECTION_PROMPT
    """User message between two episodes; carries no verdict."""
    direct: str = DIRECT_PROMPT
    """First user message of `direct`; holds {question}."""
    cot: str = COT_PROMPT
    """First user message of `cot`; holds {question}."""
    rag: str = RAG_PROMPT
    """First user message of `rag`; holds {question} and {information}."""
    ircot: str = IRCOT_PROMPT
    """First user message of `ircot`; holds {question} and {information}."""
    conclude: str = CONCLUDE_PROMPT
    """User message before the last turn of `ircot`."""
    read: str = READ_PROMPT
    """User message of `search_o1`'s reading; holds {reasoning}, {query} and {information}."""
    invalid_action: str = INVALID_ACTION_HINT
    """Hint after a generation that held no complete action."""

    @field_validator("search", "direct", "cot", "rag", "ircot")
    @classmethod
    def _has_question(cls, text: str) -> str:
        if "{question}" not in text:
            raise ValueError(f"the prompt {text[:40]!r}... lacks the field {{question}}")
        return text

    @field_validator("rag", "ircot", "read")
    @classmethod
    def _has_information(cls, text: str) -> str:
        if "{information}" not in text:
            raise ValueError(f"the prompt {text[:40]!r}... lacks the field {{information}}")
        return text


class Protocol(Model):
    """Prompts, formats and budgets shared by training and evaluation."""

    prompts: Prompts = Prompts()
    """The texts the agent reads."""
    passage_format: str = "Doc {rank}(Title: {title}) {text}\n"
    """How one passage appears inside an observation; fields rank (from 1), title, text."""
    observation_format: str = "\n\n<information>{passages}</information>\n\n"
    """How the passages of one search are put into the context; field passages."""
    no_hits: str = "No passage found."
    """What stands in the observation when a search returns nothing."""
    observation_tokens: PositiveInt = 1024
    """An observation's passages are cut at this many tokens (paper: 1024; Search-R1: 500)."""
    turn_tokens: PositiveInt = 1024
    """Most tokens the policy may generate in one turn."""
    context_tokens: PositiveInt = 8192
    """Most tokens of a whole meta-episode; reaching it ends the meta-episode with `context_limit`."""
    turns: PositiveInt = 3
    """Turn budget of an episode; a method may set its own."""
    append_question_mark: bool = True
    """Put a final "?" on questions that lack one, as Search-R1 does."""
    scoring: Literal["em", "f1"] = "em"
    """Which score of an episode's answer is its reward."""

    @model_validator(mode="after")
    def _budgets_fit(self) -> Protocol:
        if self.turn_tokens >= self.context_tokens:
            raise ValueError(
                f"turn_tokens ({self.turn_tokens}) must be smaller than context_tokens ({self.context_tokens})"
            )
        if "{passages}" not in self.observation_format:
            raise ValueError(f"observation_format ({self.observation_format!r}) lacks the field {{passages}}")
        return self


class Decoding(Model):
    """How an evaluation samples."""

    temperature: float = Field(0.0, ge=0.0)
    """0 is greedy."""
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    """Nucleus mass; 1 keeps the whole distribution."""
