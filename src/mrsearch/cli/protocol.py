"""`mrsearch protocol`: the wire format, held against what checkpoints really wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The agent's protocol.", no_args_is_help=True)
DIFFERENT = 1


@app.command("check")
def check(
    transcripts: Annotated[Path, typer.Argument(help="Recorded outputs, a JSON object a line.")],
    study: Annotated[str, typer.Option(help="Study, or path of its file, whose protocol is checked.")] = "demo",
    preset: Annotated[str | None, typer.Option(help="A preset's protocol in place of the study's.")] = None,
    prompt: Annotated[str, typer.Option(help="Column of the prompt.")] = "prompt",
    response: Annotated[str, typer.Option(help="Column of the recorded output.")] = "response",
    question: Annotated[str, typer.Option(help="Column of the question.")] = "question",
    prediction: Annotated[str, typer.Option(help="Column of the scored answer, where there is one.")] = "pred",
    stop: Annotated[
        str, typer.Option(help="Column of why the last generation ended, where there is one: length if it was cut.")
    ] = "stop_reason",
    first: Annotated[int, typer.Option(help="First record to check, from 1.")] = 1,
    last: Annotated[int | None, typer.Option(help="Last record to check.")] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="The model's folder: tokens are counted instead of bounded by words and bytes.")
    ] = None,
    shown: Annotated[int, typer.Option(help="Differences to print.")] = 20,
) -> None:
    """Play the generations and passages of recorded outputs through a protocol and compare the text character by
    character.

    Prints each first difference with both sides and the key that likely causes it, and the keys that these records do
    not show, with the reason. Exit code 1 where a record differs.
    """
    from mrsearch.agent.recordings.check import check_records
    from mrsearch.agent.recordings.file import Columns, read_recorded
    from mrsearch.config.load import read_study, validated
    from mrsearch.config.protocol import Protocol

    spoken = validated(Protocol, {"preset": preset}, "--preset") if preset else read_study(study).protocol
    records = read_recorded(transcripts, Columns(prompt, response, question, prediction, stop))[first - 1 : last]
    if not records:
        raise ValueError(f"{transcripts}: holds no record from {first} to {last or 'its end'}")
    verdict = check_records(records, spoken, _counter(tokenizer) if tokenizer else None)
    for note in verdict.notes:
        typer.echo(f"note: {note}")
    for key in verdict.unshown:
        typer.echo(f"not shown by these records: protocol.{key}")
    different = [result for result in verdict.results if result.difference]
    for result in different[:shown]:
        difference = result.difference
        assert difference is not None
        typer.echo(
            f"{result.recorded.name}: {difference.where} differs at character {difference.offset}; "
            f"likely protocol.{difference.key}"
        )
        typer.echo(f"  protocol: {difference.expected!r}\n  recorded: {difference.recorded!r}")
    typer.echo(f"{verdict.equal} of {len(records)} records are rendered exactly")
    if different:
        raise typer.Exit(DIFFERENT)


def _counter(folder: Path):  # type: ignore[no-untyped-def]
    from mrsearch.policy.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(folder)
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))
