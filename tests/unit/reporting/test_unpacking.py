"""Archives of anybody: what is no plain file with a plain name is refused before anything is written outside."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mrsearch.reporting import unpacking
from mrsearch.reporting.bundle import MANIFEST, verify_bundle
from mrsearch.reporting.unpacking import check_tables, read_manifest, unpack

Entry = tuple[tarfile.TarInfo, bytes]


def entry(name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, link: str = "") -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = len(content) if kind in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE) else 0
    return info, content


def archive(path: Path, *entries: Entry, format: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w:gz", format=format) as packed:
        for info, content in entries:
            packed.addfile(info, io.BytesIO(content) if info.size else None)
    return path


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


LINKS = {"symlink": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE}
NAMES = (
    "../outside",
    "/tmp/outside",
    "b/../../outside",
    "b/./x",
    "b//x",
    "b/",
    "b/x\n",
    "b/x\x1b[2J",
    "b/ x",
    "b/.hidden",
    ".b/x",
    "b/x\\y",
    "b/ünï",
    "C:/x",
    "x",
    "b/" + "d/" * 130 + "x",
)


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_not_plain_are_refused(tmp_path: Path, name: str) -> None:
    bundle = archive(tmp_path / "a.tar.gz", entry("b/good"), entry(name), format=tarfile.GNU_FORMAT)
    with pytest.raises(ValueError, match="is refused"):
        unpack(bundle, tmp_path / "in" / "target")
    assert everything(tmp_path) == ["a.tar.gz", "in", "in/target", "in/target/b", "in/target/b/good"]


@pytest.mark.parametrize("kind", LINKS)
@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", "good"])
def test_links_are_refused_even_within_the_folder(tmp_path: Path, kind: str, target: str) -> None:
    entries = [entry("b/good"), entry("b/link", kind=LINKS[kind], link=target), entry("b/link/x")]
    with pytest.raises(ValueError, match="'b/link' is no regular file"):
        unpack(archive(tmp_path / "a.tar.gz", *entries), tmp_path / "target")
    assert everything(tmp_path / "target") == ["b", "b/good"]


@pytest.mark.parametrize(
    "kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, b"Z"]
)
def test_devices_pipes_and_unknown_kinds_are_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(ValueError, match="no regular file"):
        unpack(archive(tmp_path / "a.tar.gz", entry("b/odd", kind=kind)), tmp_path / "target")


@pytest.mark.parametrize("name", ["b/" + "x" * 200, "b/é"])
def test_extended_headers_are_refused(tmp_path: Path, name: str) -> None:
    """They can name anything after the header of a plain file was read, and have any length."""
    with pytest.raises(ValueError, match="is refused"):
        unpack(archive(tmp_path / "a.tar.gz", entry(name), format=tarfile.PAX_FORMAT), tmp_path / "target")


def test_a_name_stands_there_once(tmp_path: Path) -> None:
    for second in ("b/a", "b/a/deeper"):
        bundle = archive(tmp_path / "a.tar.gz", entry("b/a"), entry(second))
        with pytest.raises(ValueError, match="stands there twice"):
            unpack(bundle, tmp_path / second.replace("/", "-"))
    bundle = archive(tmp_path / "a.tar.gz", entry("b/a/deeper"), entry("b/a"))
    with pytest.raises(ValueError, match="stands there twice"):
        unpack(bundle, tmp_path / "other")


def test_one_folder_and_at_least_a_file(tmp_path: Path) -> None:
    for entries in ([], [entry("b/x"), entry("c/x")]):
        with pytest.raises(ValueError, match=f"holds {len(entries)} folders"):
            unpack(archive(tmp_path / "a.tar.gz", *entries), tmp_path / f"target{len(entries)}")


def test_folders_may_be_listed(tmp_path: Path) -> None:
    entries = [entry("b/", b"", tarfile.DIRTYPE), entry("b/deep", b"", tarfile.DIRTYPE), entry("b/deep/x", b"held")]
    root = unpack(archive(tmp_path / "a.tar.gz", *entries), tmp_path / "target")
    assert (root / "deep" / "x").read_bytes() == b"held"


def test_room_is_bounded_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MOST_BYTES", 10_000_000)
    info, _ = entry("b/bomb")
    info.size = 3_000_000_000
    with gzip.open(tmp_path / "a.tar.gz", "wb") as packed:
        packed.write(info.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(ValueError, match="more than 10,000,000 bytes"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "target")
    assert not (tmp_path / "target").exists()
    many = [entry(f"b/{number}", bytes(1_000_000)) for number in range(12)]
    with pytest.raises(ValueError, match="more than 10,000,000 bytes"):
        unpack(archive(tmp_path / "b.tar.gz", *many), tmp_path / "many")
    assert sum(path.stat().st_size for path in (tmp_path / "many").rglob("*") if path.is_file()) == 10_000_000


def test_negative_sizes_are_refused(tmp_path: Path) -> None:
    block = bytearray(entry("b/x", b"")[0].tobuf(tarfile.USTAR_FORMAT))
    block[124:136] = b"\xff" * 12
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:512]) + 8 * 32)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(bytes(block)))
    with pytest.raises(ValueError, match="more than"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "target")


def test_files_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MOST_FILES", 3)
    with pytest.raises(ValueError, match="more than 3 files"):
        unpack(archive(tmp_path / "a.tar.gz", *(entry(f"b/{n}") for n in range(4))), tmp_path / "target")


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "text": lambda _: b"no archive",
    "cut": lambda whole: whole[: len(whole) // 2],
    "flipped": lambda whole: whole[:60] + bytes([whole[60] ^ 255]) + whole[61:],
    "no tar": lambda _: gzip.compress(b"x" * 2000),
    "cut tar": lambda whole: gzip.compress(gzip.decompress(whole)[:700]),
    "a header's rest": lambda whole: gzip.compress(gzip.decompress(whole)[:100]),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_archives_end_in_one_sentence(tmp_path: Path, kind: str) -> None:
    whole = archive(tmp_path / "a.tar.gz", entry("b/x", bytes(range(256)) * 20)).read_bytes()
    (tmp_path / "b.tar.gz").write_bytes(DAMAGES[kind](whole))
    with pytest.raises(ValueError, match=r"b\.tar\.gz: (cannot be unpacked|is refused)"):
        unpack(tmp_path / "b.tar.gz", tmp_path / "target")


HASH = "0" * 64
MANIFESTS = {
    "no JSON": b"{",
    "deep": b"[" * 200_000,
    "a list": b"[]",
    "nothing": b"null",
    "no files": b'{"packages": {}}',
    "files are a list": b'{"files": ["a"], "packages": {}}',
    "no hash": b'{"files": {"a": "0"}, "packages": {}}',
    "hash is a number": b'{"files": {"a": 1}, "packages": {}}',
    "a long number": b'{"files": ' + b"9" * 10_000 + b', "packages": {}}',
    "name leads out": json.dumps({"files": {"../a": HASH}, "packages": {}}).encode(),
    "name with a line": json.dumps({"files": {"a\n": HASH}, "packages": {}}).encode(),
    "name with controls": json.dumps({"files": {"\x1b[2Ja": HASH}, "packages": {}}).encode(),
    "version with controls": json.dumps({"files": {}, "packages": {"numpy": "\x1b[2J"}}).encode(),
    "version is a list": b'{"files": {}, "packages": {"numpy": [1]}}',
    "not Unicode": b"\xff\xfe",
}


@pytest.mark.parametrize("kind", MANIFESTS)
def test_odd_manifests_end_in_one_sentence(tmp_path: Path, kind: str) -> None:
    bundle = archive(tmp_path / "a.tar.gz", entry(f"b/{MANIFEST}", MANIFESTS[kind]))
    with pytest.raises(ValueError, match=r"a\.tar\.gz: bundle\.json (cannot be read|names files)"):
        verify_bundle(bundle)


def test_a_large_manifest_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MOST_MANIFEST_BYTES", 10)
    (tmp_path / MANIFEST).write_text(json.dumps({"files": {}, "packages": {}}))
    with pytest.raises(ValueError, match="at most 10 are read"):
        read_manifest(tmp_path / MANIFEST)


def test_an_archive_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="was not made by `mrsearch bundle`"):
        verify_bundle(archive(tmp_path / "a.tar.gz", entry("b/x")))


STUDIES = {"no study": b"{}", "deep": b"[" * 100_000, "yaml": b"a: &a [x]\nb: *a", "null": b"null", "empty": b""}


@pytest.mark.parametrize("kind", STUDIES)
def test_odd_studies_end_in_one_sentence(tmp_path: Path, kind: str) -> None:
    files = {"study.json": hashlib.sha256(STUDIES[kind]).hexdigest()}
    manifest = json.dumps({"files": files, "packages": {}}).encode()
    bundle = archive(tmp_path / "a.tar.gz", entry(f"b/{MANIFEST}", manifest), entry("b/study.json", STUDIES[kind]))
    with pytest.raises(ValueError, match=r"a\.tar\.gz: its tables and figures cannot be made"):
        verify_bundle(bundle)


def test_a_table_that_would_fill_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    parquet.write_table(pa.table({"same": pa.array([7] * 1_000_000)}), tmp_path / "metrics.parquet")
    assert (tmp_path / "metrics.parquet").stat().st_size < 10_000
    check_tables(tmp_path)
    monkeypatch.setattr(unpacking, "MOST_CELLS", 999_999)
    with pytest.raises(ValueError, match=r"metrics.parquet: 1,000,000 rows of 1 columns are too many"):
        check_tables(tmp_path)
    (tmp_path / "metrics.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="is no parquet file"):
        check_tables(tmp_path)
