"""Where the Java runtime keeps its virtual machine, and what is said where it has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrsearch.retrieval.indexes.java import virtual_machine


@pytest.mark.parametrize("name", ["lib/server/libjvm.so", "lib/server/libjvm.dylib"])
def test_the_virtual_machine_is_where_linux_and_macos_have_it(tmp_path: Path, name: str) -> None:
    library = tmp_path / name
    library.parent.mkdir(parents=True)
    library.touch()
    assert virtual_machine(tmp_path) == library


def test_a_runtime_for_another_system_is_named_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "jvm.dll").touch()
    with pytest.raises(ValueError, match=rf"{tmp_path} has no libjvm.so or libjvm.dylib: .* dense retriever"):
        virtual_machine(tmp_path)
