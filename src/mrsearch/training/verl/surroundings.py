"""The environment variables of verl's processes."""

from __future__ import annotations

from mrsearch.training.verl.state import RunFolder

CPU = {
    "VERL_USE_EXTERNAL_MODULES": "mrsearch.training.verl.cpu.plugin",
    "VERL_PLATFORM": "cpu",
    "GLOO_SOCKET_IFNAME": "lo",
    "OMP_NUM_THREADS": "1",
    # As many idle workers as logical cores would start at once, each for nothing.
    "RAY_prestart_worker_first_driver": "0",
}


def surroundings(folder: RunFolder, on_cpu: bool) -> dict[str, str]:
    """What every process of a training with verl gets, with a GPU or without."""
    common = {
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "VERL_FILE_LOGGER_PATH": str(folder.root / "verl.jsonl"),
        "VERL_USE_EXTERNAL_PLUGINS": "none",
    }
    return common | CPU if on_cpu else common
