"""Two processes with one job: what a killed one left goes, and two builds give one whole index."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mrsearch.files import ABANDONED_SECONDS, atomic_folder

pytestmark = pytest.mark.integration


def test_what_a_killed_writer_left_goes_and_what_another_writes_stays(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from mrsearch.files import atomic_folder\n"
        "with atomic_folder(Path(sys.argv[1])) as part:\n"
        "    (part / 'half').write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    out = tmp_path / "corpus"
    subprocess.run([sys.executable, "-c", code, str(out)], check=False)
    (left,) = tmp_path.iterdir()
    elsewhere = [tmp_path / f"corpus.another-node-{number}-0a1b2c3d.part" for number in (1, 2)]
    for path in elsewhere:
        path.mkdir()
    long_ago = time.time() - ABANDONED_SECONDS - 60
    os.utime(elsewhere[0], (long_ago, long_ago))
    with atomic_folder(out) as part:
        assert not left.exists() and part.exists()
    assert sorted(tmp_path.iterdir()) == sorted([out, elsewhere[1]])


@pytest.mark.parametrize("head_start", [0.0, 0.5])
def test_two_builds_of_one_index_give_one_whole_index(tmp_path: Path, head_start: float) -> None:
    from mrsearch.retrieval.indexes.passages import build_store

    build_store(((f"{n}", f"T{n}", f"about {n}") for n in range(200)), tmp_path / "corpus")
    code = (
        "import sys; from pathlib import Path; from mrsearch.config import Run, load_study\n"
        "from mrsearch.retrieval.indexes.index import build_index\n"
        "study = load_study(Run(study='config/studies/demo.yaml', overrides={'retrieval': "
        "{'use': 'dense', 'topk': 1, 'retrievers': {'dense': {'kind': 'dense', 'encoder': {'kind': 'bow'}}}}}))\n"
        "root = Path(sys.argv[1]); print(flush=True)\n"
        "build_index(study, 'dense', root / 'corpus', root / 'index' / 'dense')"
    )
    builds = []
    for _ in range(2):
        builds.append(subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE))
        time.sleep(head_start)
    assert [build.wait(240) for build in builds] == [0, 0]
    for build in builds:
        build.communicate()
    index = tmp_path / "index"
    assert sorted(path.name for path in index.iterdir() if not path.name.startswith(".")) == ["dense"]
    assert (index / "dense" / "index.json").is_file() and (index / "dense" / "vectors.faiss").is_file()
