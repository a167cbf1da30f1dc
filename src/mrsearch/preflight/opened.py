"""Opening each environment of a study: what its stages import is imported there, and its compilers are looked for."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from mrsearch.cluster.environments import tools_first
from mrsearch.config import Run, Study
from mrsearch.config.site import Site
from mrsearch.preflight.findings import Unchecked
from mrsearch.preflight.gpus import has_driver
from mrsearch.preflight.interpreters import Interpreter, command_of, interpreters

IMPORT_SECONDS = 300
"""How long all imports of one environment may take; a file system that was not asked for long is slow."""
DRIVER_LIBRARIES = ("libcuda.so", "libnvidia-ml.so")
"""They come with the driver of a GPU, which login nodes often lack."""
PROBE = """
import importlib, json, os, re, shutil, subprocess, sys, sysconfig
facts, out = {"failed": {}}, os.dup(1)
os.dup2(2, 1)
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except BaseException as error:
        facts["failed"][name] = f"{type(error).__name__}: {error}".splitlines()[0]
facts["cuda"] = getattr(getattr(sys.modules.get("torch"), "version", None), "cuda", None)
home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
nvcc = shutil.which("nvcc", path=os.path.join(home, "bin") if home else None) or shutil.which("nvcc")
said = subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout if nvcc else ""
release = re.search(r"release (\\d+\\.\\d+)", said)
facts["nvcc"] = release[1] if release else None
facts["ninja"] = shutil.which("ninja")
facts["compiler"] = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
headers = os.path.join(sysconfig.get_path("include"), "Python.h")
facts["headers"] = None if os.path.exists(headers) else headers
os.write(out, json.dumps(facts).encode())
"""


def opened(run: Run, study: Study, site: Site | None) -> Iterator[str]:
    """What is wrong with each environment of the study, and with those that cannot be opened here."""
    for interpreter in interpreters(run, study, site):
        yield from _opened(interpreter, site)


def cuda_of(run: Run, study: Study, site: Site | None) -> str | None:
    """The CUDA that PyTorch of the environment for GPUs was built with; None where that cannot be asked."""
    for interpreter in interpreters(run, study, site):
        command = command_of(interpreter, ["-c", PROBE, *interpreter.users], site) if interpreter.on_gpus else None
        facts = _facts(tuple(command), interpreter.python) if command else None
        if isinstance(facts, dict):
            cuda: str | None = facts["cuda"]
            return cuda
    return None


def _opened(interpreter: Interpreter, site: Site | None) -> Iterator[str]:
    first = next(iter(interpreter.users.values()), "")
    command = command_of(interpreter, ["-c", PROBE, *interpreter.users], site)
    if command is None and interpreter.python is None:
        yield Unchecked(f"{interpreter.title} was not opened: apptainer is not on this machine")
    elif command is None:
        yield (
            f"{first} runs in {interpreter.title}, which is no virtual environment: make it with "
            f"`make {interpreter.make}` (docs/training.md)"
        )
    else:
        facts = _facts(tuple(command), interpreter.python)
        if isinstance(facts, str):
            yield (
                facts
                if not facts.startswith("within")
                else Unchecked(f"{interpreter.title} was not checked: its imports did not end {facts}")
            )
        else:
            yield from _failures(interpreter, facts["failed"])
            yield from _compilers(interpreter, facts, site)


def _failures(interpreter: Interpreter, failed: dict[str, str]) -> Iterator[str]:
    again = f": make it anew with `make {interpreter.make}`" if interpreter.make else ""
    for module, reason in failed.items():
        if any(library in reason for library in DRIVER_LIBRARIES) and not has_driver():
            yield Unchecked(f"{interpreter.title}: {module} cannot be imported without a GPU's driver ({reason})")
        else:
            yield f"{interpreter.users[module]} imports {module}, which {interpreter.title} cannot ({reason}){again}"


def _compilers(interpreter: Interpreter, facts: dict[str, Any], site: Site | None) -> Iterator[str]:
    """What compiles needs its tools: Triton, of both generation and attention, a C compiler and Python's headers;
    sglang also CUDA's compiler and ninja."""
    if not interpreter.on_gpus:
        return
    missing = []
    if facts["compiler"] is None:
        missing.append("a C compiler (gcc), which Triton starts")
    if facts["headers"] is not None:
        missing.append(f"Python's headers ({facts['headers']}; on Debian the package python3-dev), which Triton reads")
    if interpreter.compiles:
        missing += _cuda_tools(facts)
    for tool in missing:
        sentence = f"{interpreter.title} lacks {tool}"
        if site is not None and (site.modules or site.setup) and interpreter.python is not None:
            yield Unchecked(f"{sentence}; whether the site's modules and setup bring it was not checked")
        else:
            yield sentence


def _cuda_tools(facts: dict[str, Any]) -> Iterator[str]:
    if facts["ninja"] is None:
        yield "ninja, which sglang compiles with"
    major = str(facts["cuda"] or "").split(".")[0]
    if facts["nvcc"] is None:
        yield f"CUDA's compiler (nvcc{f' {major}' if major else ''}), which sglang compiles with: set CUDA_HOME"
    elif major and facts["nvcc"].split(".")[0] != major:
        yield f"nvcc of CUDA {major}: the one that is found is of {facts['nvcc']}, so set CUDA_HOME"


@lru_cache(maxsize=16)
def _facts(command: Sequence[str], python: Path | None) -> dict[str, Any] | str:
    """What the probe saw; a sentence where it did not start, "within ..." where it did not end."""
    variables = dict(os.environ) if python is None else tools_first(os.environ, str(python))
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=IMPORT_SECONDS,
            env=variables | {"VERL_USE_EXTERNAL_PLUGINS": "none", "HF_HUB_OFFLINE": "1"},
        )
        facts: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return f"within {IMPORT_SECONDS} s"
    except OSError as error:
        return f"{command[0]} cannot be started: {error.strerror}"
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return f"`{command[0]} {' '.join(command[1:-1])[:40]}...` ended with status {done.returncode}: {last}"
    return facts
