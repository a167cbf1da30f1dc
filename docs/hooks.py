"""What the site adds to the pages: functions' lines beside their links, equations as MathML, links that stay inside."""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

ROOT = Path(__file__).parent.parent
SOURCE = re.compile(r"\[(?P<text>[^\]]+)\]\((?:\.\./)+(?P<path>src/[^)#]+)(?:#(?P<name>\w+))?\)")
DISPLAY, INLINE = (
    re.compile(r"\$\$(.+?)\$\$", re.DOTALL),
    re.compile(r"(?<![\\$`\w])\$([^$\n`]+(?:\n[^$\n`]+)?)\$(?!\w)"),
)
MOVED = {"config/README.md": "reference/config.md"}
"""Pages that the site shows in another place than the repository."""
EQUATIONS = "algorithm.md"
SHIM, WORKER = "https://unpkg.com/iframe-worker/shim", "assets/worker.js"


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """The page with the site's own stand-in for workers in place of the one that its theme fetches from the network."""
    return output.replace(SHIM, posixpath.relpath(WORKER, posixpath.dirname(page.url) or "."))


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page as the site shows it. ValueError for a function that is not in the file that a link names."""
    where = page.file.src_uri
    paragraphs = [_with_code(paragraph) for paragraph in _inside(markdown, where).split("\n\n")]
    text = "\n\n".join(paragraphs)
    if where == EQUATIONS:
        text = DISPLAY.sub(
            lambda found: f'<div class="equation">{convert(found[1].strip(), display="block")}</div>', text
        )
        text = INLINE.sub(lambda found: convert(found[1]), text)
    return text


def _inside(markdown: str, where: str) -> str:
    """Links to files that the site holds elsewhere, pointed at their page."""
    home = posixpath.dirname(where)
    for path, target in MOVED.items():
        link = posixpath.relpath(path, posixpath.join("docs", home))
        markdown = markdown.replace(f"]({link})", f"]({posixpath.relpath(target, home or '.')})")
    return markdown


def _with_code(paragraph: str) -> str:
    listings: list[str] = []

    def shown(found: re.Match[str]) -> str:
        path, name = found["path"], found["name"]
        if name is None:
            return f"`{path}`"
        code, line = _function(path, name)
        listings.append(f"```python\n# {path}, line {line}\n{code}\n```")
        return f"`{name}` (`{path}`, line {line})"

    return "\n\n".join([SOURCE.sub(shown, paragraph), *listings])


def _function(path: str, name: str) -> tuple[str, int]:
    """Source and first line of a function of a file."""
    text = (ROOT / path).read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            return "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno]), node.lineno
    raise ValueError(f"{path}: holds no function {name!r}: mend the link in docs/")
