"""Files of rows in the formats that repositories of the hub have: jsonl, json, parquet, csv and tsv."""

from __future__ import annotations

import codecs
import csv
import gzip
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from mrsearch.config.hub_rows import RowFormat
from mrsearch.data.corpus import GZIP_MAGIC
from mrsearch.data.strict_json import parse_json

Row = tuple[str, dict[str, Any]]
"""Where a row stands, for messages, and its fields."""


def read_rows(path: Path, format: RowFormat, fields: Collection[str]) -> Iterator[Row]:
    """Stream the rows of a file; of parquet, the columns that hold these fields (dots lead into them).

    ValueError names the file, and the row where it is about one: what is not of the format, a field or a column that
    stands twice or is missing, rows of another length than the header, a damaged or an empty file.
    """
    empty = True
    with _naming_file(path):
        for row in _rows(path, format, fields):
            empty = False
            yield row
    if empty:
        raise ValueError(f"{path}: holds no row: at least one is needed")


def _rows(path: Path, format: RowFormat, fields: Collection[str]) -> Iterator[Row]:
    match format:
        case "jsonl":
            return _jsonl(path)
        case "json":
            return _json(path)
        case "parquet":
            return _parquet(path, fields)
        case "csv" | "tsv":
            return _separated(path, {"csv": ",", "tsv": "\t"}[format])


@contextmanager
def _naming_file(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: is damaged or cut off ({error}): download it again") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is no text in UTF-8: {error}") from error


def _jsonl(path: Path) -> Iterator[Row]:
    with _opened(path) as lines:
        for number, line in enumerate(lines, 1):
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if line.strip():
                yield _object(parse_json(line, where := f"{path}, line {number}"), where)


def _json(path: Path) -> Iterator[Row]:
    with _opened(path) as file:
        values = parse_json(file.read().removeprefix(codecs.BOM_UTF8), str(path))
    if not isinstance(values, list):
        raise ValueError(f"{path}: holds {type(values).__name__}, not a list of objects: say format: jsonl or another")
    for number, value in enumerate(values, 1):
        yield _object(value, f"{path}, row {number}")


def _separated(path: Path, delimiter: str) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
            _refuse_doubled(header, path)
            for cells in reader:
                where = f"{path}, line {reader.line_num}"
                if cells and len(cells) != len(header):
                    raise ValueError(
                        f"{where}: {len(cells)} cells under a header of {len(header)}: quote commas in texts"
                    )
                if cells:
                    yield where, dict(zip(header, cells, strict=True))
        except csv.Error as error:
            raise ValueError(f"{path}, line {reader.line_num}: cannot be read as a table: {error}") from error


def _parquet(path: Path, fields: Collection[str]) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            _refuse_doubled(names, path)
            number = 0
            for batch in file.iter_batches(columns=_columns(names, fields, path)):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path}: cannot be read as parquet ({error}): download it again or correct format") from error


def _columns(names: list[str], fields: Collection[str], path: Path) -> list[str]:
    """The columns that hold the fields, of which a column may have the whole name or that of the first step."""
    columns = {field if field in names else field.split(".")[0]: field for field in fields}
    for column, field in columns.items():
        if column not in names:
            raise ValueError(f"{path}: no column holds the field {field!r:.80}; there are {', '.join(names):.200}")
    return list(columns)


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as raw:
        zipped = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    return gzip.open(path, "rb") if zipped else path.open("rb")  # type: ignore[return-value]


def _object(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: holds {type(value).__name__}, not an object of fields")
    return where, value


def _refuse_doubled(names: list[str], path: Path) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"{path}: {names.count(name)} columns are named {name!r:.80}: each needs a name of its own"
            )
