import gzip
import io
import json
import tarfile

import pytest

from mrsearch.data.corpus import format_contents, parse_contents, read_corpus
from mrsearch.retrieval.indexes.passages import PassageStore, build_store

ROWS = [("0", "Malmö", "A city."), ("1", "Kafka (band)", 'They say ""hi"".\nSecond line.'), ("2", "", "untitled")]


def lines(rows=ROWS):
    return "".join(json.dumps({"id": i, "contents": format_contents(t, x)}) + "\n" for i, t, x in rows).encode()


def test_titles_keep_the_quotes_that_they_have():
    assert parse_contents('"Kafka (band)"\nText') == ('"Kafka (band)"', "Text")
    assert parse_contents("Citibank\nText\nmore") == ("Citibank", "Text\nmore")
    assert parse_contents('""Heroes""\nText') == ('""Heroes""', "Text")
    assert parse_contents("alone") == ("alone", "")
    assert parse_contents('"\nText') == ('"', "Text")
    for _, title, text in ROWS:
        assert parse_contents(format_contents(title, text)) == (title, text)


@pytest.mark.parametrize("kind", ["plain", "gzip", "tar"])
def test_reads_every_published_form(tmp_path, kind):
    path = tmp_path / "corpus"
    if kind == "plain":
        path.write_bytes(lines())
    elif kind == "gzip":
        path.write_bytes(gzip.compress(lines()))
    else:
        with tarfile.open(path, "w:gz") as archive:
            for name, content in (("readme.txt", b"no"), ("data/wiki.jsonl", lines())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    assert list(read_corpus(path)) == ROWS


def test_rows_with_title_and_text(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"id": 7, "title": "T", "text": "x"}\n\n')
    assert list(read_corpus(path)) == [("7", "T", "x")]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"id": "1", "contents": ', "unexpected end"),
        (b'{"id": "1"}', "'title' is missing"),
        (b'{"contents": "x"}', "'id' is missing"),
        (b'{"id": "1", "contents": 3}', "must be a string"),
        (b'{"id": null, "contents": "x"}', "id"),
        (b"[1]", "not an object"),
        (b'{"id": "1", "contents": "\xff"}', "not a passage"),
        (b'{"id": "1", "contents": "\\ud800"}', "not a passage"),
    ],
)
def test_malformed_line_names_file_and_line(tmp_path, bad, reason):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(lines() + bad + b"\n")
    with pytest.raises(ValueError, match=r"bad\.jsonl, line 4: .*") as error:
        list(read_corpus(path))
    assert reason in str(error.value)


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.95])
def test_cut_off_archive_is_an_error(tmp_path, keep):
    whole = gzip.compress(lines([(str(n), f"T{n}", "x" * (n % 50)) for n in range(3000)]))
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(ValueError, match=r"cut\.jsonl\.gz.*(damaged|cut off)"):
        list(read_corpus(path))


def test_store_gives_back_what_was_put_in(tmp_path):
    assert build_store(iter(ROWS), tmp_path / "store") == 3
    store = PassageStore(tmp_path / "store")
    assert len(store) == 3
    assert [(p.id, p.title, p.text) for p in store] == ROWS
    for position in (-1, 3):
        with pytest.raises(IndexError):
            store[position]


def test_equal_rows_give_equal_stores_and_other_rows_another_hash(tmp_path):
    hashes = []
    for name, rows in (("a", ROWS), ("b", ROWS), ("c", ROWS[:2]), ("d", [("0", "Malmö", "A city"), *ROWS[1:]])):
        build_store(rows, tmp_path / name)
        hashes.append(PassageStore(tmp_path / name).sha256)
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3
    for file in ("passages.bin", "offsets.u64", "store.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_more_passages_than_one_buffer(tmp_path):
    rows = ((str(n), "t", str(n)) for n in range(70_000))
    assert build_store(rows, tmp_path / "store") == 70_000
    store = PassageStore(tmp_path / "store")
    assert [store[n].text for n in (0, 65_534, 65_535, 65_536, 69_999)] == ["0", "65534", "65535", "65536", "69999"]


def test_blocks_agree_with_single_passages(tmp_path):
    build_store(((str(n), f"t{n}", "x" * (n % 3000)) for n in range(9000)), tmp_path / "store")
    store = PassageStore(tmp_path / "store")
    assert store.read(4000, 4100) == [store[n] for n in range(4000, 4100)]
    assert [passage.id for passage in store] == [str(n) for n in range(9000)]
    assert store.read(8999, 9000) == [store[8999]] and store.read(5, 5) == []


def test_failed_build_leaves_nothing(tmp_path):
    def rows():
        yield ROWS[0]
        raise ValueError("the source broke")

    with pytest.raises(ValueError, match="the source broke"):
        build_store(rows(), tmp_path / "store")
    with pytest.raises(ValueError, match="no passage"):
        build_store([], tmp_path / "store")
    with pytest.raises(ValueError, match=r"passage 0 .*line break"):
        build_store([("0", "two\nlines", "x")], tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", ["passages.bin", "offsets.u64", "store.json"])
def test_incomplete_store_is_refused(tmp_path, file):
    build_store(ROWS, tmp_path / "store")
    damaged = tmp_path / "store" / file
    if file == "store.json":
        damaged.unlink()
    else:
        damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"store"):
        PassageStore(tmp_path / "store")
