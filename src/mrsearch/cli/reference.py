"""The commands' reference, from the commands themselves."""

from __future__ import annotations

import typing
from enum import Enum
from pathlib import Path
from typing import Any

import typer

REFERENCE = Path("docs/reference/cli.md")
KINDS: dict[type, str] = {str: "text", bool: "flag", Path: "path", int: "integer", float: "number"}


def cli_reference() -> str:
    """Markdown with every command, its arguments, options and defaults."""
    from mrsearch.cli import app

    sections = [
        "# Commands\n\nEvery rule calls one of these. `--help` behind any of them says the same.\n"
        "Written by `make config` from the commands themselves."
    ]
    sections += _sections(typer.main.get_command(app), "mrsearch")
    return "\n\n".join(sections) + "\n"


def _sections(command: Any, name: str) -> list[str]:
    nested = getattr(command, "commands", {})
    if nested:
        return [section for key in nested for section in _sections(nested[key], f"{name} {key}")]
    about = " ".join((command.help or "").split())
    rows = ["| option | value | default | meaning |", "| --- | --- | --- | --- |"]
    rows += [_row(parameter) for parameter in command.params if parameter.name != "help"]
    return [f"## {name}", about, *(["\n".join(rows)] if len(rows) > 2 else [])]


def _row(parameter: Any) -> str:
    argument = parameter.param_type_name == "argument"
    names = parameter.name.upper() if argument else ", ".join([*parameter.opts, *parameter.secondary_opts])
    default = getattr(parameter.default, "value", parameter.default)
    shown = "required" if parameter.required else "" if default is None else f"`{default}`"
    cells = (f"`{names}`", _kind(parameter.type_descriptor.annotation), shown, " ".join((parameter.help or "").split()))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _kind(annotation: Any) -> str:
    """What kind of value an option takes."""
    options = [option for option in typing.get_args(annotation) if option is not type(None)] or [annotation]
    if isinstance(options[0], type) and issubclass(options[0], Enum):
        return " or ".join(f"`{choice.value}`" for choice in options[0])
    return KINDS.get(options[0], options[0].__name__)
