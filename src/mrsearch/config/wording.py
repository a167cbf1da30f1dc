"""The agent's texts in this project's own words, and where a preset takes published ones from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import model_validator

from mrsearch.config.base import Model

UNWORDED = "{wording}"
"""Stands in a prompt whose text a preset takes at run time and that nobody has given yet."""


class Wording(Model):
    """Files that published texts are taken from: their wording is not shipped."""

    prompts: str | None = None
    """A published training file (parquet or jsonl), whose column of prompts holds the first user message with the
    question in it; or a text file that holds it with {question} in its place. Example: train.parquet."""
    column: str = "prompt"
    """Column of the prompts: text, or a list of chat messages. Example: prompt."""
    question_column: str = "question"
    """Column of the question that is taken out of the prompt. Example: question."""
    reflection: str | None = None
    """Text file with the message between two episodes. Example: reflection.txt."""
    invalid_action: str | None = None
    """Text file with the hint after an invalid action, its line breaks included. Example: hint.txt."""

    def texts(self) -> dict[str, str]:
        """The named files' texts by prompt. ValueError where a file cannot be read, or where its column holds several
        templates; the message shows them."""
        from mrsearch.config.templates import template_of

        read = {
            "search": template_of(Path(self.prompts), self.column, self.question_column) if self.prompts else None,
            "reflection": _text(self.reflection, "reflection"),
            "invalid_action": _text(self.invalid_action, "invalid_action"),
        }
        return {name: text for name, text in read.items() if text is not None}


class TagPair(Model):
    """The two tags around a part of what is said."""

    open: str
    """Opening tag. Example: <search>, or <|begin_of_query|> for R1-Searcher."""
    close: str
    """Closing tag. Example: </search>, or <|end_of_query|> for R1-Searcher."""

    @model_validator(mode="after")
    def _tell_apart(self) -> TagPair:
        if not self.open.strip() or not self.close.strip() or self.open == self.close:
            raise ValueError(f"the tags {self.open!r} and {self.close!r} must be two different texts")
        for tag in (self.open, self.close):
            if tag != tag.strip() or (tag[0] == "<") != (tag[-1] == ">"):
                raise ValueError(f"the tag {tag!r} must have no white space at its ends, and < with its >")
        return self


class Tags(Model):
    """Tags of the four parts of a transcript. `{think}`, `{/think}`, `{search}` and so on stand for them in texts."""

    think: TagPair = TagPair(open="<think>", close="</think>")
    """Around reasoning. Example: {open: <think>, close: </think>}."""
    search: TagPair = TagPair(open="<search>", close="</search>")
    """Around a query. Example: {open: <|begin_of_query|>, close: <|end_of_query|>}."""
    answer: TagPair = TagPair(open="<answer>", close="</answer>")
    """Around an answer. Example: {open: <answer>, close: </answer>}."""
    information: TagPair = TagPair(open="<information>", close="</information>")
    """Around the passages of one search. Example: {open: <|begin_of_documents|>, close: <|end_of_documents|>}."""

    @property
    def texts(self) -> tuple[str, ...]:
        """Every opening and closing tag."""
        pairs = (self.think, self.search, self.answer, self.information)
        return tuple(tag for pair in pairs for tag in (pair.open, pair.close))

    @property
    def closing(self) -> tuple[str, str]:
        """The closing tags that end a generation: a search's and an answer's."""
        return self.search.close, self.answer.close

    @model_validator(mode="after")
    def _actions_differ(self) -> Tags:
        if self.search.open == self.answer.open or self.search.close == self.answer.close:
            raise ValueError("tags.search and tags.answer share a tag: a search could not be told from an answer")
        return self


class ReflectionPrompt(Model):
    """Where the reflection prompt stands and what it repeats."""

    role: Literal["user", "assistant"] = "user"
    """Whose words it is: a user message that ends the turn, or text that goes on in the assistant's turn.
    Example: user."""
    repeats: Literal["nothing", "instructions", "question"] = "nothing"
    """What follows it: nothing, the first prompt without its last line (the question's), or the first prompt whole.
    Example: instructions."""


def _text(name: str | None, key: str) -> str | None:
    if name is None:
        return None
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"wording.{key} ({name}) cannot be read: {error}") from error
