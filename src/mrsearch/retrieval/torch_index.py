"""Exact search by matrix products: a scan, in half precision by default, then float64 scores for the best.

Rows lie in memory as bfloat16 on a CPU (its fast matrix type) or as float16 on GPUs, split evenly between them; float32
rows on a CPU stay in the memory-mapped file.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

CHUNK_ROWS = 262_144
"""Rows scored at once: the score matrix stays small, and top-k reads it once."""


class TorchIndex:
    """Inner products with every row of an array [N, D] of float16 or float32."""

    exact = True

    def __init__(self, rows_ND: np.ndarray, half: bool = True, devices: list[str] | None = None) -> None:
        """half: scan in half precision; devices: as torch names them, None takes all GPUs, or the CPU."""
        import torch

        self._torch = torch
        self._rows = rows_ND
        self.count = len(rows_ND)
        devices = devices or [f"cuda:{n}" for n in range(torch.cuda.device_count())] or ["cpu"]
        half_type = torch.bfloat16 if devices == ["cpu"] else torch.float16
        self._dtype = half_type if half else torch.float32
        self.margin = 24 if half else 8  # coarse scores need more candidates to be sure
        bounds = np.linspace(0, self.count, len(devices) + 1).astype(int).tolist()
        self._parts = [
            (start, self._load(rows_ND[start:end], device))
            for start, end, device in zip(bounds[:-1], bounds[1:], devices, strict=True)
            if end > start
        ]

    def search(self, queries_QD: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k largest products of every query, by chunks of rows and devices."""
        torch = self._torch
        queries = torch.from_numpy(np.ascontiguousarray(queries_QD)).to(self._dtype)
        found = [
            self._best(
                start + offset, rows[offset : offset + CHUNK_ROWS], queries.to(rows.device, non_blocking=True), k
            )
            for start, rows in self._parts
            for offset in range(0, len(rows), CHUNK_ROWS)
        ]
        scores = torch.cat([scores.cpu() for scores, _ in found], dim=1)
        positions = torch.cat([positions.cpu() for _, positions in found], dim=1)
        best, order = scores.topk(k, dim=1)
        return best.numpy(), positions.gather(1, order).numpy()

    def vectors(self, positions: np.ndarray) -> np.ndarray:
        """float32 rows, from the file."""
        return self._rows[positions].astype(np.float32)

    def _best(self, first: int, rows: Any, queries: Any, k: int) -> tuple[Any, Any]:
        scores, positions = (queries @ rows.T).topk(min(k, len(rows)), dim=1)
        return scores.float(), positions + first

    def _load(self, rows: np.ndarray, device: str) -> Any:
        """Chunk by chunk, so that no float32 or second copy of everything is ever made."""
        torch = self._torch
        if device == "cpu" and rows.dtype == np.float32 and self._dtype == torch.float32:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # it is only read
                return torch.from_numpy(rows)
        loaded = torch.empty(rows.shape, dtype=self._dtype, device=device)
        for start in range(0, len(rows), CHUNK_ROWS):
            chunk = np.array(rows[start : start + CHUNK_ROWS])
            loaded[start : start + len(chunk)] = torch.from_numpy(chunk).to(device).to(self._dtype)
        return loaded
