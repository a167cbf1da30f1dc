"""A meta-episode in a terminal, step by step: from a record, or while it is made.

Questions, passages and what a policy says come from outside: nothing of them reaches the terminal but what can be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from mrsearch.agent.ports import Hit
from mrsearch.agent.records import MetaEpisode, Question
from mrsearch.agent.scoring import em, holds_answer
from mrsearch.config.protocol import Protocol
from mrsearch.interactive.as_data import costs
from mrsearch.interactive.steps import Step, StepKind, steps
from mrsearch.visible import printable

LABEL_WIDTH = 10
SHOWN = 240
"""Characters of a passage, unless whole ones are wanted."""
STYLES = {
    StepKind.episode: "bold",
    StepKind.reflection: "magenta",
    StepKind.reasoning: "dim",
    StepKind.search: "cyan",
    StepKind.passages: "blue",
    StepKind.notes: "blue",
    StepKind.answer: "bold green",
    StepKind.invalid: "red",
    StepKind.summary: "magenta",
    StepKind.hint: "yellow",
    StepKind.stop: "red",
}
PLAIN = {StepKind.passages, StepKind.notes}
"""Steps whose text has no style of its own: long texts are read better so."""


class TerminalView:
    """Shows the steps of one meta-episode, each once and as soon as it is there."""

    def __init__(self, console: Console, protocol: Protocol, whole_passages: bool = False) -> None:
        self._console, self._protocol, self._whole_passages = console, protocol, whole_passages
        self._count = 0

    def begin(self, question: Question, source: str = "") -> None:
        """The question, its gold answers where there are some, and where the record is from."""
        self._console.print()
        self._line("question", question.question.strip(), "bold", "bold")
        if question.golden_answers:
            self._line("gold", "; ".join(question.golden_answers), "dim", "")
        if source:
            self._line("record", source, "dim", "")

    def update(self, record: MetaEpisode, over: bool = False) -> None:
        """Show what has happened since the last call."""
        so_far = steps(record, self._protocol, over)
        for step in so_far[self._count :]:
            self._step(step, record)
        self._count = max(self._count, len(so_far))

    def end(self, record: MetaEpisode, answer: str | None, seconds: float | None = None) -> None:
        """The rest of the steps, the answer that counts and what it cost."""
        self.update(record, over=True)
        self._console.print()
        self._line("result", _judged(answer, record.question), "bold green" if answer else "bold red", "bold")
        self._line("cost", _cost_text(record, seconds), "dim", "dim")

    def _step(self, step: Step, record: MetaEpisode) -> None:
        golds, style = record.question.golden_answers, STYLES[step.kind]
        if step.kind is StepKind.episode:
            name = "sample" if record.context == "independent" and len(record.episodes) > 1 else "episode"
            self._console.print(Text(f"\n{name} {step.text}", style))
        elif step.hits:
            for rank, hit in enumerate(step.hits, 1):
                self._line(step.kind.value if rank == 1 else "", self._passage(rank, hit, golds), style, "")
        else:
            text = _judged(step.text, record.question) if step.kind is StepKind.answer else step.text or "none"
            self._line(step.kind.value, text, style, "" if step.kind in PLAIN else style)

    def _passage(self, rank: int, hit: Hit, golds: Sequence[str]) -> str:
        text = " ".join(hit.passage.text.split())
        if not self._whole_passages and len(text) > SHOWN:
            text = f"{text[:SHOWN]} ..."
        holds_gold = bool(golds) and holds_answer(f"{hit.passage.title}\n{hit.passage.text}", golds)
        return f"{rank} {hit.passage.title} ({hit.score:.3g}{', holds a gold answer' if holds_gold else ''}): {text}"

    def _line(self, label: str, text: str, label_style: str, style: str) -> None:
        grid = Grid.grid(padding=(0, 1))
        grid.add_column(width=LABEL_WIDTH, no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(Text(label, label_style), Text(printable(text), style))
        self._console.print(grid)


def terminal() -> Console:
    """The standard output; colours where it is a terminal, and no markup, since texts are shown as they are."""
    return Console(markup=False, highlight=False, emoji=False)


def _judged(answer: str | None, question: Question) -> str:
    """The answer, and whether it is right where that is known."""
    if answer is None:
        return "no answer"
    if not question.golden_answers:
        return answer
    return f"{answer} ({'right' if em(answer, question.golden_answers) else 'wrong'})"


def _cost_text(record: MetaEpisode, seconds: float | None) -> str:
    return ", ".join(_cost_phrases(record, seconds))


def _cost_phrases(record: MetaEpisode, seconds: float | None) -> Iterator[str]:
    cost = costs(record)
    yield _plural(len(record.episodes), "episode")
    yield _plural(cost["turns"], "turn")
    yield _plural(cost["searches"], "search", "searches")
    yield f"{_plural(cost['generated_tokens'], 'token')} generated of {cost['tokens']:,}"
    if cost["aside_tokens"]:
        yield f"{cost['aside_tokens']:,} beside them"
    if seconds is not None:
        yield f"{seconds:.1f} s"


def _plural(count: int, name: str, names: str = "") -> str:
    return f"{count:,} {name if count == 1 else names or f'{name}s'}"
