"""`mrsearch ask`: an agent of a study answers in the terminal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from mrsearch.cli import options
from mrsearch.cli import scheduler as placement

if TYPE_CHECKING:
    from mrsearch.interactive.open_agent import OpenAgent


def ask(
    study: Annotated[str, typer.Argument(help="A study's name, or the path of its file.")],
    method: Annotated[str, typer.Argument(help="Name of a method of the study.")],
    question: Annotated[
        str | None, typer.Argument(help="The question; without it, questions are read line by line until their end.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Name of a model of the study; default: its first.")] = None,
    seed: Annotated[int | None, typer.Option(help="Training seed; default: the study's first.")] = None,
    decoding: Annotated[str | None, typer.Option(help="How to sample; default: the study's first decoding.")] = None,
    whole_passages: options.WholePassages = False,
    as_json: options.AsJson = False,
    results: Annotated[Path, typer.Option(help="Folder of all studies' results.")] = Path("results"),
    resources: Annotated[Path, typer.Option(help="Folder of what studies share.")] = Path("results/resources"),
    gpu_environment: placement.JobGpuEnvironment = None,
    retriever_environment: placement.RetrieverEnvironment = None,
    site: placement.JobSite = None,
) -> None:
    """Let a trained agent answer, live: reasoning, searches, passages, reflections, answers and costs.

    The retriever of a running pipeline is used where there is one; otherwise retriever and generator are started, and
    ended with the last question.
    """
    from mrsearch.cluster.signals import interrupts
    from mrsearch.interactive.loaded_study import load_study

    loaded = load_study(study, results=results, resources=resources)
    if gpu_environment is not None and loaded.study.resources.evaluate.gpus:
        settings = {"model": model, "seed": seed, "decoding": decoding, "results": results, "resources": resources}
        settings |= {"retriever_environment": retriever_environment or gpu_environment}
        flags = [*(["--whole-passages"] if whole_passages else []), *(["--json"] if as_json else [])]
        _run_on_gpus(settings, flags, [study, method, *filter(None, [question])], gpu_environment, site)
    with (
        placement.failures_told(),
        interrupts(signal.SIGTERM, signal.SIGHUP),
        loaded.open_agent(
            method,
            model=model,
            seed=seed,
            decoding=decoding,
            gpu_environment=gpu_environment or placement.GPU_ENVIRONMENT,
            retriever_environment=retriever_environment,
        ) as agent,
    ):
        for text in _questions(as_json) if question is None else [question]:
            _show(agent, text, whole_passages, as_json)


def _run_on_gpus(
    settings: Mapping[str, object], flags: Sequence[str], words: Sequence[str], environment: Path, site: Path | None
) -> NoReturn:
    """The same command in the environment for GPUs; a question may begin with a dash."""
    from mrsearch.cluster.commands import option_words

    placement.run_on_gpus(["ask", *option_words(settings), *flags, "--", *words], {}, environment, site)


def _show(agent: OpenAgent, question: str, whole_passages: bool, as_json: bool) -> None:
    from mrsearch.agent.records import Question
    from mrsearch.interactive.as_data import as_line
    from mrsearch.interactive.terminal import TerminalView, terminal

    if as_json:
        answer = agent.answer(question)
        return typer.echo(as_line(answer.record, answer.protocol, answer.seconds))
    view = TerminalView(terminal(), agent.study.protocol, whole_passages)
    view.begin(Question("", question, ()))
    answer = agent.answer(question, watch=view.update)
    view.end(answer.record, answer.text, answer.seconds)


def _questions(as_json: bool) -> Iterator[str]:
    """Lines with something to see from the standard input, which a person is prompted for."""
    if not sys.stdin.isatty():
        yield from (line.strip() for line in sys.stdin if line.strip())
        return
    typer.echo("One question a line; Ctrl-D ends.", err=True)
    while True:
        try:
            # The prompt goes where the answers do not.
            text = input("" if as_json else "question> ")
        except EOFError:
            return
        if text.strip():
            yield text.strip()
