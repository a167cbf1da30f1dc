"""`mrsearch inspect`: a recorded meta-episode in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrsearch.cli import options


def inspect(
    record_file: Annotated[
        Path, typer.Argument(help="A file of records: BENCHMARK.DECODING.jsonl.zst or groups.jsonl.zst.")
    ],
    question_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the question.")],
    whole_passages: options.WholePassages = False,
    as_json: options.AsJson = False,
) -> None:
    """Show a recorded meta-episode: reasoning, searches, passages, reflections, answers and costs.

    Of a training's groups, every member's meta-episode on the question is shown.
    """
    from mrsearch.interactive.as_data import as_line, final_answer, origin
    from mrsearch.interactive.recorded import protocol_of, records_of
    from mrsearch.interactive.terminal import TerminalView, terminal

    records, protocol = records_of(record_file, question_id), protocol_of(record_file)
    for record in records:
        if as_json:
            typer.echo(as_line(record, protocol))
            continue
        view = TerminalView(terminal(), protocol, whole_passages)
        view.begin(record.question, ", ".join(f"{name} {value}" for name, value in origin(record).items()))
        view.end(record, final_answer(record, protocol))
