import dataclasses

import pytest
from typer.testing import CliRunner

from mrsearch.agent.records import Question
from mrsearch.cli.index import app
from mrsearch.config import load_run, load_study, write_study
from mrsearch.retrieval.indexes.footprint import describe, needs, problems
from mrsearch.retrieval.indexes.index import build_index
from mrsearch.retrieval.indexes.passages import build_store
from mrsearch.retrieval.indexes.quality import as_csv, as_markdown, report

WIKI_18 = 21_015_324


def study(**retrievers):
    retrievers = retrievers or {"dense": {"kind": "dense", "encoder": {"kind": "bow"}}}
    use = next(iter(retrievers))
    return load_study(
        load_run(
            {
                "study": "demo",
                "overrides": {"retrieval.compared": [], "retrieval.retrievers": retrievers, "retrieval.use": use},
            }
        )
    )


def ask(text, gold):
    return Question(text, text, (gold,))


def test_report_of_hits_and_recall(tmp_path):
    both = study(
        dense={"kind": "dense", "encoder": {"kind": "bow"}},
        cells={"kind": "dense", "encoder": {"kind": "bow"}, "index": "ivf_sq8", "nlist": 2, "nprobe": 1},
        unbuilt={"kind": "lexical"},
    )
    build_store(((str(n), f"N{n}", f"N{n} likes v{n % 7} x{n}") for n in range(200)), tmp_path / "corpus")
    for name in ("dense", "cells"):
        build_index(both, name, tmp_path / "corpus", tmp_path / "indexes" / name)
    asked = {"first": [ask(f"what does N{n} like", f"v{n % 7}") for n in range(20)], "second": [ask("N3", "nowhere")]}
    rows = report(both, tmp_path / "corpus", tmp_path / "indexes", asked, depths=(1, 3))
    table = {(row.retriever, row.measure, row.benchmark): row for row in rows}
    assert table["dense", "answer-hit", "first"].at == {1: 1.0, 3: 1.0}
    assert table["dense", "answer-hit", "second"].at == {1: 0.0, 3: 0.0}
    assert table["dense", "answer-hit", "all"].at[1] == pytest.approx(20 / 21)
    assert 0.3 < table["cells", "recall", "all"].at[1] <= 1.0
    assert ("dense", "recall", "all") not in table and not [row for row in rows if row.retriever == "unbuilt"]
    assert {row.milliseconds for row in rows if row.retriever == "cells"} == {
        table["cells", "recall", "all"].milliseconds
    }
    assert all(row.milliseconds > 0 for row in rows)
    rows = [dataclasses.replace(row, milliseconds=1.25) for row in rows]
    assert as_markdown(rows).splitlines()[2] == "| dense | answer-hit | first | 20 | 100.0 | 100.0 | 1.25 |"
    assert as_csv(rows).splitlines()[:2] == [
        "retriever,measure,benchmark,questions,at_1,at_3,milliseconds",
        "dense,answer-hit,first,20,1.000000,1.000000,1.250",
    ]


def test_exact_rankings_of_the_same_vectors_are_made_once(tmp_path, caplog):
    bow = {"kind": "dense", "encoder": {"kind": "bow"}}
    cells = {**bow, "index": "ivf_sq8", "nlist": 2, "nprobe": 1}
    several = study(flat=bow, first=cells, second=cells, scanned={**bow, "index": "sq_fp16"}, third=cells)
    build_store(((str(n), f"N{n}", f"N{n} likes v{n % 7} x{n}") for n in range(200)), tmp_path / "corpus")
    for name in several.retrieval.retrievers:
        build_index(several, name, tmp_path / "corpus", tmp_path / "indexes" / name)
    asked = {"nq": [ask(f"what does N{n} like", f"v{n % 7}") for n in range(20)]}
    with caplog.at_level("INFO"):
        rows = report(several, tmp_path / "corpus", tmp_path / "indexes", asked, depths=(1, 3))
    searched = {record.message.partition(":")[0] for record in caplog.records if "exact" in record.message}
    assert searched == {"first, exact"}  # flat has float32 vectors, the others share float16 ones
    recalls = {row.retriever: row.at for row in rows if row.measure == "recall" and row.benchmark == "all"}
    assert recalls["first"] == recalls["second"] == recalls["third"] and 0.3 < recalls["first"][1] <= 1.0


def test_a_report_without_questions_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no questions"):
        report(study(), tmp_path, tmp_path, {"nq": []})


def test_a_report_may_name_its_retrievers(tmp_path):
    dense, other = ({"kind": "dense", "encoder": {"kind": "bow"}, "index": index} for index in ("flat", "sq_fp16"))
    named = study(dense=dense, other=other)
    named = named.model_copy(update={"retrieval": named.retrieval.model_copy(update={"compared": ("other",)})})
    build_store(((str(n), f"N{n}", f"N{n} likes v{n % 7}") for n in range(20)), tmp_path / "corpus")
    for name in ("dense", "other"):
        build_index(named, name, tmp_path / "corpus", tmp_path / "indexes" / name)
    rows = report(named, tmp_path / "corpus", tmp_path / "indexes", {"nq": [ask("N3", "v3")]})
    assert {row.retriever for row in rows} == {"other"}
    assert named.compared() == ("other",)


def test_the_commands_write_both_tables_and_name_what_is_lacking(tmp_path):
    build_store(((str(n), f"N{n}", f"N{n} likes v{n % 7}") for n in range(20)), tmp_path / "corpus")
    build_index(study(), "dense", tmp_path / "corpus", tmp_path / "indexes" / "dense")
    (tmp_path / "nq.jsonl").write_text('{"question": "N3", "golden_answers": ["v3"]}\n')
    places = [f"--{name}={tmp_path / folder}" for name, folder in (("corpus", "corpus"), ("indexes", "indexes"))]
    outs = [f"--out={tmp_path / name}" for name in ("quality.csv", "quality.md")]
    write_study(study(), tmp_path / "study.json")
    named = f"--study={tmp_path / 'study.json'}"
    done = CliRunner().invoke(app, ["compare", named, *places, f"--questions={tmp_path / 'nq.jsonl'}", *outs])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "quality.csv").read_text().splitlines()[1].startswith("dense,answer-hit,nq,1,1.000000")
    assert (tmp_path / "quality.md").read_text().startswith("| retriever |")
    enough = CliRunner().invoke(app, ["estimate", named, "--passages=20", "--dim=8", f"--out={tmp_path}"])
    assert enough.exit_code == 0 and enough.output.startswith("dense: disk 0.0 GB")
    lacking = CliRunner().invoke(app, ["estimate", named, "--passages=99000000000", "--dim=768", f"--out={tmp_path}"])
    assert lacking.exit_code == 1 and "of disk" in lacking.output


def dense(index, **options):
    return {"kind": "dense", "encoder": {"kind": "hub", "path": "e5", "revision": "f" * 40}, "index": index, **options}


def test_footprint_of_wiki_18():
    chosen = study(
        flat=dense("flat"),
        torch=dense("torch"),
        cells=dense("ivf_sq8"),
        bm25={"kind": "lexical"},
        both={"kind": "hybrid", "of": ["torch", "bm25"]},
    )
    flat, on_cpu = needs(chosen, "flat", WIKI_18, 768), needs(chosen, "torch", WIKI_18, 768)
    on_gpu, cells = needs(chosen, "torch", WIKI_18, 768, gpus=1), needs(chosen, "cells", WIKI_18, 768)
    assert flat.disk == flat.mapped == pytest.approx(64.6e9, rel=0.01)
    assert on_cpu.serve_memory - on_gpu.serve_memory == on_cpu.disk == pytest.approx(32.3e9, rel=0.01)
    assert 32.3e9 < on_gpu.gpu < 40e9 and flat.build_memory < 2e9
    assert cells.build_memory == pytest.approx(18.4e9, rel=0.02)
    assert needs(chosen, "both", WIKI_18, 768).serve_memory > on_cpu.serve_memory
    assert "disk 64.6 GB" in describe(flat)
    with pytest.raises(ValueError, match="dimension of encoder e5 is unknown"):
        needs(chosen, "flat", WIKI_18)
    assert needs(study(small={"kind": "dense", "encoder": {"kind": "minilm"}}), "small", 1000).disk == 1000 * 384 * 4


def test_problems_name_what_is_short(tmp_path):
    chosen = study(torch=dense("torch"), small=dense("flat"))
    short = problems(needs(chosen, "torch", 10**12, 768), tmp_path / "not" / "yet")
    assert len(short) == 2
    assert short[0].startswith("the index takes 1536000.0 GB of disk") and short[1].startswith("serving needs")
    assert problems(needs(chosen, "small", 1000, 768), tmp_path) == []
