"""The command `mrsearch` in this process, and the names of its sub-commands."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import click
import typer

from mrsearch.cli import app, main


class Ended(NamedTuple):
    """How a command ended, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


def mrsearch(*arguments: str, cwd: Path) -> Ended:
    """Run the command in a folder, as its entry point does."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["mrsearch", *arguments]),
    ):
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())


def sub_commands(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of a command and of all below it."""
    nested = [sub_commands(part, (*path, name)) for name, part in getattr(command, "commands", {}).items()]
    return [path, *(words for group in nested for words in group)]


COMMANDS = sub_commands(typer.main.get_command(app))
