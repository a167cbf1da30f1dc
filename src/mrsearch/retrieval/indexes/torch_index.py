"""Exact search by matrix products: a scan, in half precision by default, then float64 scores for the best.

Rows lie in memory as bfloat16 on a CPU (its fast matrix type) or as float16 on GPUs, split evenly between them; float32
rows on a CPU stay in the memory-mapped file. Where Triton runs, half-precision rows are scanned by the fused search.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from mrsearch.retrieval.indexes import fused_search, shards
from mrsearch.retrieval.indexes.ranking import rescored_from

CHUNK_ROWS = 262_144
"""Rows scored at once: the score matrix stays small, and top-k reads it once."""
RESCORED_NUMBERS = 2**24
"""Numbers of candidates' vectors that are scored in float64 at once on a device."""


def search_buffers(rows: int) -> int:
    """Bytes that a search over so many rows takes on their GPU, at most."""
    rescored = 3 * 8 * RESCORED_NUMBERS  # products and a step of their sums
    return fused_search.buffer_bytes(rows) + rescored


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
        self.fused = half and all(fused_search.usable(device) for device in devices)
        on_gpus = all(device.startswith("cuda") for device in devices)
        half_type = torch.float16 if on_gpus or self.fused else torch.bfloat16
        self._dtype = half_type if half else torch.float32
        self.margin = 24 if half else 8  # coarse scores need more candidates to be sure
        stored_type = torch.float16 if rows_ND.dtype == np.float16 else torch.float32
        self.rescores_on_device = self._dtype == stored_type and (on_gpus or self.fused)
        bounds = shards.bounds(self.count, len(devices))
        self._shards = [
            (start, self._load(rows_ND[start:end], device))
            for (start, end), device in zip(bounds, devices, strict=False)  # fewer rows than devices need fewer devices
        ]

    @classmethod
    def over(cls, rows_ND: Any, fused: bool | None = None) -> TorchIndex:
        """Over float16 rows that lie in a device's memory already, without a file; fused: None takes it where it
        runs."""
        index = cls(np.empty((0, rows_ND.shape[1]), np.float16), devices=[str(rows_ND.device)])
        index.count, index._shards = len(rows_ND), [(0, rows_ND)]
        index._dtype, index.rescores_on_device = rows_ND.dtype, True
        index.fused = index.fused if fused is None else fused
        return index

    def search(self, queries_QD: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k largest products of every query [Q, k] and their positions; -1 where there are fewer rows than k.

        Every device gets its work before the first answer is waited for. Equal products of a fused search stand in the
        order of their positions.
        """
        queries = self._torch.from_numpy(np.ascontiguousarray(queries_QD))
        candidates = [
            self._candidates(start, rows, queries.to(rows.device, non_blocking=True), k) for start, rows in self._shards
        ]
        return shards.merged([(scores.cpu().numpy(), positions.cpu().numpy()) for scores, positions in candidates], k)

    def rescored(self, queries_QD: np.ndarray, positions_QK: np.ndarray) -> np.ndarray:
        """float64 products of every query with the stored rows at its positions [Q, K]; -inf where one is -1.

        From device memory where the rows there are the stored ones, else from the file.
        """
        if not self.rescores_on_device:
            return rescored_from(self._rows, queries_QD, positions_QK)
        step = max(1, RESCORED_NUMBERS // max(1, positions_QK.shape[1] * self._rows.shape[1]))
        batches = [
            self._rescored(queries_QD[start : start + step], positions_QK[start : start + step])
            for start in range(0, len(queries_QD), step)
        ]
        return np.concatenate(batches) if batches else np.empty(positions_QK.shape)

    def _rescored(self, queries_QD: np.ndarray, positions_QK: np.ndarray) -> np.ndarray:
        torch, scores_QK = self._torch, np.full(positions_QK.shape, -np.inf)
        queries, positions = torch.from_numpy(np.ascontiguousarray(queries_QD)), torch.from_numpy(positions_QK)
        sums_by_shard = []
        for start, rows in self._shards:
            inside = (positions.to(rows.device, non_blocking=True) - start).clamp(0, len(rows) - 1)
            products = rows[inside].double() * queries.to(rows.device, non_blocking=True).double()[:, None]
            sums_by_shard.append((start, start + len(rows), _pairwise_sums(torch, products)))
        for start, end, sums in sums_by_shard:
            inside_QK = (positions_QK >= start) & (positions_QK < end)
            scores_QK[inside_QK] = sums.cpu().numpy()[inside_QK]
        return scores_QK

    def _candidates(self, start: int, rows: Any, queries: Any, k: int) -> tuple[Any, Any]:
        """Of one device's rows; positions count all rows."""
        if self.fused:
            scores, positions = fused_search.fused_search(rows, queries, k)
            return scores, positions + start
        torch = self._torch
        queries, candidates = queries.to(self._dtype), []
        for offset in range(0, len(rows), CHUNK_ROWS):
            chunk = rows[offset : offset + CHUNK_ROWS]
            scores, positions = (queries @ chunk.T).topk(min(k, len(chunk)), dim=1)
            candidates.append((scores.float(), positions + (start + offset)))
        scores, order = torch.cat([scores for scores, _ in candidates], dim=1).topk(min(k, len(rows)), dim=1)
        return scores, torch.cat([positions for _, positions in candidates], dim=1).gather(1, order)

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


def _pairwise_sums(torch: Any, terms: Any) -> Any:
    """Sums over the last dimension, halves added to each other: one order of additions for every batch and device."""
    while (width := terms.shape[-1]) > 1:
        half = -(-width // 2)
        first, second = terms[..., :half], terms[..., half:]
        terms = first + torch.nn.functional.pad(second, (0, 2 * half - width))
    return terms[..., 0]
