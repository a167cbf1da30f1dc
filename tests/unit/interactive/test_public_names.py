"""What `import mrsearch` offers: typed, documented, and imported when it is used."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import mrsearch
from mrsearch.interactive.loaded_study import LoadedStudy
from mrsearch.interactive.open_agent import OpenAgent


@pytest.mark.parametrize("name", mrsearch.__all__)
def test_a_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(mrsearch, name)
    assert value.__doc__ and not value.__doc__.startswith(f"{name}(")
    assert name in dir(mrsearch)


def test_type_checkers_see_every_public_name() -> None:
    (checked,) = [node for node in ast.parse(Path(mrsearch.__file__).read_text()).body if isinstance(node, ast.If)]
    homes = {
        alias.name: node.module for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert homes == {name: f"mrsearch.{home}" for name, home in mrsearch._HOMES.items()}
    assert sorted(homes) == mrsearch.__all__


@pytest.mark.parametrize("owner", [LoadedStudy, OpenAgent])
def test_every_public_method_is_typed_and_documented(owner: type) -> None:
    methods = {name: member for name, member in inspect.getmembers(owner, inspect.isfunction) if name[0] != "_"}
    assert methods
    for name, method in methods.items():
        assert method.__doc__, name
        assert "return" in method.__annotations__, name


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        mrsearch.nope  # noqa: B018
