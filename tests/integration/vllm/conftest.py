"""Tests with a real vLLM on a CPU. They run in the environment of `make vllm-cpu-env`; `make test` sees to that."""

from __future__ import annotations

import importlib.util
import os

INSTALLED = importlib.util.find_spec("vllm") is not None
collect_ignore_glob = [] if INSTALLED else ["test_*.py"]
if INSTALLED:  # the tests of the other environments run without all this
    os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "VLLM_LOGGING_LEVEL": "INFO"}
