"""Published questions and passages, prepared from downloads of their real shapes."""

from __future__ import annotations

import io
import json
import tarfile

import pyarrow
import pyarrow.parquet as parquet
import pytest

from mrsearch.agent.questions import read_questions
from mrsearch.config import load_study
from mrsearch.config.run import Run
from mrsearch.data import registry
from mrsearch.data.hub import hub_passages, hub_questions, split_rows
from mrsearch.data.overlap import plain, write_overlap
from mrsearch.data.questions import read_passages, write_questions
from mrsearch.data.registry import HeldOut, RegistryEntry, row

SMALL = {"nq": 3, "bamboogle": 2, "asearcher": 2, "asearcher_train": 8, "nq_hotpotqa": 4, "wiki-18": 3}
SOURCES = [("nq", "train_0"), ("nq", "train_1"), ("hotpotqa", "train_0"), ("hotpotqa", "train_1")]


@pytest.fixture
def downloads(tmp_path, monkeypatch):
    """Small files under the real rows' names and shapes; only the counts of the rows are smaller."""
    rows = {}
    for name, count in SMALL.items():
        values = row(name).model_dump() | {"rows": count}
        if values["held_out"]:
            values["held_out"]["of"], values["held_out"]["fraction"] = 10, 0.2
        rows[name] = RegistryEntry.model_validate(values)
    monkeypatch.setattr(registry, "registry", lambda: rows)

    def put(name, content):
        path = tmp_path / rows[name].folder / rows[name].files[0].path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    golds = ["Jane Austen", "Austen"]
    nq = [{"id": f"test_{n}", "question": text, "golden_answers": golds} for n, text in enumerate(QUESTIONS["nq"])]
    put("nq", lines(nq))
    bamboogle = [{"id": f"t{n}", "question": q, "golden_answers": ["1"]} for n, q in enumerate(QUESTIONS["bamboogle"])]
    put("bamboogle", lines(bamboogle))
    put("asearcher", json.dumps([asearcher(number) for number in range(10)]).encode())
    train = [
        {
            "id": identifier,
            "question": question,
            "golden_answers": ["x"],
            "data_source": source,
            "prompt": [],
            "ability": "a",
        }
        for (source, identifier), question in zip(SOURCES, QUESTIONS["train"], strict=True)
    ]
    target = tmp_path / rows["nq_hotpotqa"].folder / "train.parquet"
    target.parent.mkdir()
    parquet.write_table(pyarrow.Table.from_pylist(train), target)
    put("wiki-18", tarball([{"id": str(n), "contents": f'"Title {n}"\nText {n}'} for n in range(3)]))
    return tmp_path


QUESTIONS = {
    "nq": ["who wrote emma ", "Where is Bath?", "who says hi"],
    "bamboogle": ["When was Bath founded?", "Who wrote  'Emma'?"],
    "train": ["who wrote emma", "what is tea", "where is bath", "What is 3.14?"],
}


def lines(rows):
    return "".join(json.dumps(entry) + "\n" for entry in rows).encode()


def asearcher(number):
    extra = {"question": f"question {number}", "ground_truth": 100 + number, "query_id": "q", "id": "i"}
    return {"prompt": "p", "extra_info": extra}


def tarball(rows):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        body = lines(rows)
        member = tarfile.TarInfo("data00/wiki_dpr_100w/wiki_dump.jsonl")
        member.size = len(body)
        archive.addfile(member, io.BytesIO(body))
    return packed.getvalue()


def study(root, **overrides):
    benchmarks = {name: {} for name in ("nq", "bamboogle", "asearcher")}
    return load_study(Run(study="paper", overrides={"benchmarks": benchmarks, **overrides}), root)


def test_a_benchmark_is_its_whole_split_normalised_as_the_protocol_says(root, downloads, tmp_path):
    out = tmp_path / "nq.parquet"
    write_questions(study(root), "nq", out, downloads)
    found = read_questions(out)
    assert [question.question for question in found] == ["who wrote emma?", "Where is Bath?", "who says hi?"]
    assert [question.id for question in found] == ["test_0", "test_1", "test_2"]
    assert found[0].golden_answers == ("Jane Austen", "Austen")
    first = parquet.read_table(out).to_pylist()[0]
    assert first["data_source"] == "nq"
    assert first["reward_model"] == {"style": "rule", "ground_truth": {"target": ["Jane Austen", "Austen"]}}
    assert first["prompt"][-1]["content"].count("who wrote emma?") == 1
    plain_mark = study(root, **{"protocol.append_question_mark": False})
    write_questions(plain_mark, "nq", out, downloads)
    assert read_questions(out)[0].question == "who wrote emma"


def test_ids_that_two_sources_count_alike_are_told_apart(root, downloads, tmp_path):
    write_questions(study(root), "train", tmp_path / "train.parquet", downloads)
    found = read_questions(tmp_path / "train.parquet")
    assert [question.id for question in found] == [f"{source}/{name}" for source, name in SOURCES]


def test_an_id_given_twice_is_refused(root, downloads, tmp_path):
    path = downloads / registry.registry()["bamboogle"].folder / "bamboogle" / "test.jsonl"
    twice = {"id": "t", "question": "a", "golden_answers": ["1"]}
    path.write_bytes(lines([twice, twice]))
    with pytest.raises(ValueError, match=r"1 ids appear more than once, 't' among them \(question 1 and question 2\)"):
        write_questions(study(root), "bamboogle", tmp_path / "b.parquet", downloads)
    assert not (tmp_path / "b.parquet").exists()


def test_fewer_rows_than_registered_are_refused(root, downloads):
    path = downloads / registry.registry()["nq"].folder / "nq" / "test.jsonl"
    path.write_bytes(path.read_bytes().split(b"\n", 1)[1])
    with pytest.raises(ValueError, match="nq: 2 rows, the registry says 3"):
        hub_questions(study(root), "nq", downloads)
    path.unlink()
    with pytest.raises(ValueError, match="is missing: run `mrsearch data download --row nq`"):
        hub_questions(study(root), "nq", downloads)


def test_asearchers_halves_share_nothing_and_lack_nothing(root, downloads):
    test = hub_questions(study(root), "asearcher", downloads)
    train = hub_questions(study(root, **{"data.train": "asearcher_train"}), "train", downloads)
    assert ([raw["id"] for raw in test], len(train)) == (["test_0", "test_1"], 8)
    everything = sorted([raw["question"] for raw in [*test, *train]])
    assert everything == [f"question {number}" for number in range(10)]
    assert {raw["golden_answers"][0] for raw in test} <= {str(100 + number) for number in range(10)}
    rows = [{"question": str(number)} for number in range(13985)]
    again = split_rows(rows, HeldOut(fraction=0.1, seed=42, of=13985), "test")
    assert (len(again), again[844]["question"], again[1112]["question"]) == (1399, "9444", "4793")


def test_overlap_is_reported_and_can_be_left_out(root, downloads, tmp_path):
    whole = study(root)
    for name in ("train", *whole.benchmarks):
        write_questions(whole, name, tmp_path / "data" / f"{name}.parquet", downloads)
    write_overlap(whole, tmp_path / "data", tmp_path / "overlap.json")
    report = json.loads((tmp_path / "overlap.json").read_text())
    assert report["nq"] == {"questions": 3, "shared": 2, "ids": ["test_0", "test_1"]}
    assert report["bamboogle"]["ids"] == ["t1"]
    assert report["asearcher"]["shared"] == 0
    write_questions(study(root, **{"data.drop_overlap": True}), "train", tmp_path / "kept.parquet", downloads)
    kept = read_questions(tmp_path / "kept.parquet")
    assert [question.question for question in kept] == ["what is tea?", "What is 3.14?"]
    assert plain("  A  b?") == plain("a B")


def test_a_share_of_the_training_questions_is_held_out_and_read_by_a_benchmark(root, downloads):
    held = study(root, **{"data.validation_share": 0.5, "benchmarks.own": {"source": "validation", "average": False}})
    whole = hub_questions(study(root), "train", downloads)
    asked, trained = hub_questions(held, "own", downloads), hub_questions(held, "train", downloads)
    assert (len(asked), len(trained)) == (2, 2)
    assert sorted(raw["id"] for raw in [*asked, *trained]) == sorted(raw["id"] for raw in whole)
    assert len(hub_questions(held, "nq", downloads)) == 3
    with pytest.raises(ValueError, match="'validation' is no questions of the registry"):
        hub_questions(study(root, **{"benchmarks.own": {"source": "validation"}}), "own", downloads)


def test_the_gzipped_tar_is_streamed_and_counted(root, downloads):
    assert list(read_passages(study(root), downloads))[2] == ("2", '"Title 2"', "Text 2")
    entry = registry.registry()["wiki-18"]
    (downloads / entry.folder / "wiki-18.jsonl.gz").write_bytes(tarball([{"id": "0", "contents": "a\nb"}]))
    stream = hub_passages(study(root), downloads)
    assert next(stream)[0] == "0"
    with pytest.raises(ValueError, match="wiki-18: 1 passages, the registry says 3"):
        list(stream)


def test_a_row_of_another_shape_is_named(root, downloads):
    path = downloads / registry.registry()["nq"].folder / "nq" / "test.jsonl"
    path.write_text('{"id": "a", "query": "b"}\n')
    with pytest.raises(ValueError, match=r"test.jsonl, row 1: a question needs id, question and golden_answers"):
        hub_questions(study(root), "nq", downloads)
