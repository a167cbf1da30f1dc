"""What verl's processes find in their environment."""

from __future__ import annotations

from pathlib import Path

from mrsearch.training.verl.environment import compile_cache, process_environment


def test_what_vllm_compiles_is_kept_in_the_folder_of_ones_choice(tmp_path: Path) -> None:
    assert compile_cache({}) == {"VLLM_DISABLE_COMPILE_CACHE": "0"}
    kept = compile_cache({"VLLM_CACHE_ROOT": str(tmp_path)})
    assert kept == {"VLLM_DISABLE_COMPILE_CACHE": "0", "VLLM_CACHE_ROOT": str(tmp_path)}
    relative = compile_cache({"VLLM_CACHE_ROOT": "cache"})["VLLM_CACHE_ROOT"]
    assert relative == str(Path("cache").absolute()), "Ray's processes start in other folders"
    assert compile_cache({"VLLM_DISABLE_COMPILE_CACHE": "1"})["VLLM_DISABLE_COMPILE_CACHE"] == "1"


def test_only_trainings_on_gpus_have_an_engine_that_compiles(tmp_path: Path) -> None:
    assert "VLLM_DISABLE_COMPILE_CACHE" in process_environment(tmp_path, on_cpu=False)
    assert "VLLM_DISABLE_COMPILE_CACHE" not in process_environment(tmp_path, on_cpu=True)
