"""The protocol: every knob that moves a number, whatever the method or the model."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from mrsearch.config.base import Model, Name, NonNegativeFloat, PositiveInt, SparseModel
from mrsearch.config.chat import ChatTemplate
from mrsearch.config.installed import completed, settings_of
from mrsearch.config.presets import TAKE_FROM, merged
from mrsearch.config.wording import UNWORDED, ReflectionPrompt, Tags, Wording
from mrsearch.extensions import PROMPT_SETS

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
SUMMARY_PROMPT = (
    "Nothing of what you read and wrote above will be in sight from now on. Write down in a few sentences what you "
    "want to keep: the answer you gave, what it rests on, which searches found nothing, and what is still open. Write "
    "neither a search nor an answer block."
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


FORMAT_KEYS = (
    "preset",
    "wording",
    "tags",
    "title_quotes",
    "strip_passages",
    "observation_limit",
    "context_overflow",
    "turns_are",
    "final_generation",
    "invalid_action_role",
    "reflection",
    "chat",
    "chat_template",
    "answer",
)
"""Keys that `own` leaves at their defaults."""


class Prompts(SparseModel):
    """The texts the agent reads. Each `{field}` must appear exactly as shown in the default."""

    idle_keys: ClassVar = ("summary", "budget")
    system: str | None = None
    """System message; null leaves whatever the model's chat template does by itself."""
    search: str = SEARCH_PROMPT
    """First user message of a searching agent; holds {question}."""
    reflection: str = REFLECTION_PROMPT
    """User message between two episodes; carries no verdict."""
    summary: str = SUMMARY_PROMPT
    """User message at the end of an episode of which only a summary goes on (`context: summary`)."""
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
    budget: str = ""
    """What a searching agent is told of its budget after the first prompt, reflection prompts, observations and hints;
    field searches: how many more of its episode are carried out, with a generation left to answer. Empty tells nothing.
    Example: "You may search {searches} more times."."""

    def first(self, procedure: str) -> str:
        """The first user message of a method's procedure; meta_episode, search_o1 and installed ones read that called
        search."""
        return {
            "direct": self.direct,
            "cot": self.cot,
            "rag": self.rag,
            "ircot": self.ircot,
        }.get(procedure, self.search)

    @field_validator("budget")
    @classmethod
    def _has_searches(cls, text: str) -> str:
        if text and "{searches}" not in text:
            raise ValueError(f"the prompt {text[:40]!r}... lacks the field {{searches}}")
        return text

    @field_validator("search", "direct", "cot", "rag", "ircot")
    @classmethod
    def _has_question(cls, text: str) -> str:
        if "{question}" not in text and text != UNWORDED:
            raise ValueError(f"the prompt {text[:40]!r}... lacks the field {{question}}")
        return text

    @field_validator("rag", "ircot", "read")
    @classmethod
    def _has_information(cls, text: str) -> str:
        if "{information}" not in text:
            raise ValueError(f"the prompt {text[:40]!r}... lacks the field {{information}}")
        return text


class Protocol(SparseModel):
    """Prompts, formats and budgets shared by training and evaluation."""

    idle_keys: ClassVar = ("preset_settings", "preset_package")
    preset: Literal["own", "search_r1", "mr_search", "r1_searcher"] | Name = "own"
    """Whose prompts and format hold where a key is not given: this project's, those of published checkpoints, or what
    an installed package adds. Example: search_r1."""
    preset_settings: dict[str, Any] = {}
    """Settings of an installed preset, by its package's own model. Example: {language: de}."""
    preset_package: str | None = None
    """Name and version of the package of an installed preset; written down when a study is started.
    Example: my-prompts 1.0."""
    wording: Wording | None = None
    """Files that a preset's published texts are taken from. Example: {prompts: train.parquet}."""
    prompts: Prompts = Prompts()
    """The texts the agent reads."""
    tags: Tags = Tags()
    """The tags around reasoning, queries, answers and passages."""
    passage_format: str = "Doc {rank}(Title: {title}) {text}\n"
    """How one passage appears inside an observation; fields rank (from 1), title, text, or contents (title and text
    as one)."""
    title_quotes: Literal["kept", "removed"] = "removed"
    """Whether titles keep the double quotes that they have in the corpus file; wiki-18 quotes some. Example: kept."""
    strip_passages: bool = False
    """Take white space off both ends of the passages of one search before they are put into the observation.
    Example: true."""
    observation_format: str = "\n\n<information>{passages}</information>\n\n"
    """How the passages of one search are put into the context; field passages, and {information} and {/information}
    for the tags."""
    no_hits: str = "No passage found."
    """What stands in the observation when a search returns nothing."""
    observation_limit: Literal["passages", "observation"] = "passages"
    """What `max_observation_tokens` counts: the passages alone, or the observation with its tags, which loses its end
    where it is longer. Example: observation."""
    max_observation_tokens: PositiveInt = 1024
    """An observation is cut at this many tokens (paper: 1024; Search-R1: 500)."""
    max_turn_tokens: PositiveInt = 1024
    """Most tokens the policy may generate in one turn."""
    max_context_tokens: PositiveInt = 8192
    """Most tokens of a whole meta-episode; `context_overflow` says what happens there."""
    context_overflow: Literal["end", "rolling"] = "end"
    """At `max_context_tokens`: end with `context_limit`, or generate on under the last so many tokens, as Search-R1
    does. Turns that did not see the whole context are not trained on. Example: rolling."""
    max_turns: PositiveInt = 3
    """Turn budget of an episode; a method may set its own."""
    turns_are: Literal["generations", "searches"] = "generations"
    """What the turn budget counts. Example: searches."""
    final_generation: bool = False
    """One generation more after the last turn, whose search is not carried out. Example: true."""
    invalid_action_role: Literal["turn", "assistant", "user"] = "turn"
    """Whose words the hint after an invalid action is: the assistant's turn unless an end-of-turn token closed it
    (turn), always the assistant's, or always a user message. Example: assistant."""
    reflection: ReflectionPrompt = ReflectionPrompt()
    """How the next episode is asked for."""
    chat: Literal["template", "none"] = "template"
    """Whether prompts go through the model's chat template, or stand as plain text. Example: none."""
    chat_template: ChatTemplate = ChatTemplate()
    """What the chat template is told besides the messages."""
    answer: Literal["last_valid", "last", "first"] = "last_valid"
    """Which answer of a meta-episode counts: that of the last episode that gave one, that of the last episode (none is
    wrong), or the first. Example: last."""
    append_question_mark: bool = True
    """Put a final "?" on questions that lack one, as Search-R1 does."""
    scoring: Literal["em", "f1"] = "em"
    """Which score of an episode's answer is its reward."""

    def question_text(self, question: str) -> str:
        """A question as it is stored and read: trimmed and, where the protocol says so, with a final question mark."""
        question = question.strip()
        return question + "?" if self.append_question_mark and not question.endswith("?") else question

    def unworded(self) -> list[str]:
        """Prompts whose wording is still missing."""
        return [name for name in TAKE_FROM if getattr(self.prompts, name) == UNWORDED]

    def require_wording(self, *names: str) -> None:
        """ValueError where one of these prompts has no wording yet; the message says how to get it."""
        missing = [name for name in self.unworded() if name in names]
        if missing:
            lines = "\n".join(f"  prompts.{name}: name it in {TAKE_FROM[name]}" for name in missing)
            raise ValueError(
                f"the preset {self.preset!r} takes published wording at run time, which is missing:\n{lines}"
            )

    def tagged(self, text: str) -> str:
        """`text` with {think}, {/think} and so on replaced by the tags."""
        for name in Tags.model_fields:
            pair = getattr(self.tags, name)
            # A prompt's {information} is the field of the passages, so that opening tag is for the observation alone.
            text = text.replace(f"{{/{name}}}", pair.close).replace(f"{{{name}}}", pair.open)
        return text

    @property
    def longest_sequence(self) -> int:
        """Most tokens that a policy sees and generates at once."""
        return self.max_context_tokens + (self.max_turn_tokens if self.context_overflow == "rolling" else 0)

    @property
    def observation_text(self) -> str:
        """The observation's format with its tags in place; field passages."""
        return self.tagged(self.observation_format)

    @model_validator(mode="before")
    @classmethod
    def _take_preset(cls, raw: Any) -> Any:
        raw = completed(raw, PROMPT_SETS, "preset", "preset_settings", "preset_package")
        name = raw.get("preset", "own") if isinstance(raw, dict) else None
        return merged(preset_keys(name, raw.get("preset_settings")), raw) if isinstance(name, str) else raw

    def left_out(self) -> tuple[str, ...]:
        """Under `own`, keys of other formats as well."""
        return (*self.idle_keys, *(FORMAT_KEYS if self.preset == "own" else ()))

    @model_validator(mode="after")
    def _budgets_fit(self) -> Protocol:
        if self.max_turn_tokens >= self.max_context_tokens:
            raise ValueError(
                f"max_turn_tokens ({self.max_turn_tokens}) must be smaller than max_context_tokens "
                f"({self.max_context_tokens})"
            )
        if "{passages}" not in self.observation_format:
            raise ValueError(f"observation_format ({self.observation_format!r}) lacks the field {{passages}}")
        if self.chat == "none" and self.prompts.system is not None:
            raise ValueError("prompts.system needs a chat template, but chat is none: leave one of them out")
        return self


def preset_keys(name: str, settings: Any = None) -> dict[str, Any]:
    """The keys of the protocol that a preset gives. ValueError for an unknown preset, and for an installed one that
    gives none.

    An installed preset is a `PromptSet`, or a mapping of such keys.
    """
    preset = PROMPT_SETS.load(name)
    package = PROMPT_SETS.package(name)
    if package is not None and callable(preset):
        preset = preset(settings_of(PROMPT_SETS, name, settings or {}))
    if not isinstance(preset, dict) or "preset" in preset:
        raise ValueError(f"preset {name!r} of {package} gives no keys of the protocol: {preset!r:.100}")
    return preset


class Decoding(Model):
    """How an evaluation samples."""

    temperature: NonNegativeFloat = 0.0
    """0 is greedy."""
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    """Nucleus mass; 1 keeps the whole distribution."""
