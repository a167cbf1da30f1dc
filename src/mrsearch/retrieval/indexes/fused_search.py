"""The k largest inner products of every query with all rows, in one pass over the rows; needs Triton.

The N x Q products are never written: a kernel keeps the largest of each block of rows. The k best rows lie in the k
best blocks, since a row outside them has at least one better row in each; the rows of these blocks are scored again.
"""

from __future__ import annotations

import importlib.util
import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

BLOCK_ROWS = 128
BLOCK_NUMBERS = 64
"""Numbers of a vector that are multiplied at once."""
FEWEST_QUERIES, MOST_QUERIES = 16, 128
"""Queries of one program: matrix units take 16 at least, and more than 128 do not fit beside the rows."""
QUERIES_AT_ONCE = 512
"""Queries of one pass: the maxima of their blocks are 4 bytes for each 128 rows and query."""
CANDIDATES_AT_ONCE = 2**24
"""Rows that are scored again at once, over all queries."""
WARPS, STAGES = 8, 3
PAIRS_INTERPRETED = 128
"""Queries and blocks that one program scores again where an interpreter runs it, which pays by the program."""
GROUP = 64
"""Blocks whose maxima are summed up once more: a selection by groups reads its input once, one by one several times."""


def usable(device: str) -> bool:
    """Whether the kernels run on a device as torch names it: on GPUs, or by Triton's interpreter; Triton is needed."""
    if importlib.util.find_spec("triton") is None:
        return False
    return device.startswith("cuda") or os.environ.get("TRITON_INTERPRET") == "1"


def buffer_bytes(rows: int) -> int:
    """Bytes that a search over so many rows takes beside them, at most."""
    maxima = 2 * 4 * QUERIES_AT_ONCE * -(-rows // BLOCK_ROWS)  # and a copy filled up to whole groups
    return maxima + CANDIDATES_AT_ONCE * (4 + 4 * 8)  # products; positions, and integers that order them


def fused_search(rows_RD: Any, queries_QD: Any, k: int) -> tuple[Any, Any]:
    """Products, in float32, and positions [Q, min(k, R)] of the largest, best first, equal ones by position.

    Both are tensors of one device; rows of float16 or bfloat16. Queries are rounded to the rows' type, so a product is
    right to half precision: who needs the order of float64 asks for more rows and scores them again.
    """
    import torch

    k = min(k, len(rows_RD))
    if not k or not len(queries_QD):
        shape = (len(queries_QD), k)
        return torch.empty(shape, device=rows_RD.device), torch.empty(shape, device=rows_RD.device, dtype=torch.long)
    batches = [
        _best_rows(rows_RD, queries_QD[start : start + QUERIES_AT_ONCE].to(rows_RD.dtype).contiguous(), k)
        for start in range(0, len(queries_QD), QUERIES_AT_ONCE)
    ]
    return torch.cat([products for products, _ in batches]), torch.cat([positions for _, positions in batches])


def largest(values_QN: Any, k: int) -> Any:
    """Places [Q, k] of the k largest of each row of float32, best first, equal ones by place."""
    import torch

    width = values_QN.shape[1]
    if width <= k * GROUP:
        return _ordered(values_QN, torch.arange(width, device=values_QN.device).expand_as(values_QN), k)
    groups_QGW = torch.nn.functional.pad(values_QN, (0, -width % GROUP), value=float("-inf")).unflatten(1, (-1, GROUP))
    maxima_QG = groups_QGW.amax(2)
    chosen_Qk = largest(maxima_QG, k)
    members_Qk = (chosen_Qk[:, :, None] * GROUP + torch.arange(GROUP, device=values_QN.device)).flatten(1)
    inside_Qk = groups_QGW.gather(1, chosen_Qk[:, :, None].expand(-1, -1, GROUP)).flatten(1)
    return _ordered(inside_Qk, members_Qk, k)


def _best_rows(rows_RD: Any, queries_QD: Any, k: int) -> tuple[Any, Any]:
    import torch

    from mrsearch.retrieval.indexes.fused_kernels import block_maxima

    count, dim = rows_RD.shape
    blocks, queries = -(-count // BLOCK_ROWS), len(queries_QD)
    together = max(FEWEST_QUERIES, min(MOST_QUERIES, 1 << (queries - 1).bit_length()))
    maxima_QB = torch.empty(queries, blocks, device=rows_RD.device)
    with _on(rows_RD):
        block_maxima[(-(-queries // together) * blocks,)](
            *(rows_RD, queries_QD, maxima_QB, count, queries, dim, BLOCK_ROWS, together, BLOCK_NUMBERS),
            num_warps=WARPS,
            num_stages=STAGES,
        )
    step = max(1, CANDIDATES_AT_ONCE // (k * BLOCK_ROWS))
    batches = []
    for start in range(0, queries, step):
        chosen_QK = largest(maxima_QB[start : start + step], min(k, blocks))
        batches.append(_inside_blocks(rows_RD, queries_QD[start : start + step], chosen_QK, k))
    return torch.cat([products for products, _ in batches]), torch.cat([positions for _, positions in batches])


def _inside_blocks(rows_RD: Any, queries_QD: Any, blocks_QK: Any, k: int) -> tuple[Any, Any]:
    """The k best rows of each query's chosen blocks."""
    import torch

    from mrsearch.retrieval.indexes.fused_kernels import block_products

    (queries, per_query), pairs = blocks_QK.shape, 1 if rows_RD.is_cuda else PAIRS_INTERPRETED
    products_QKB = torch.empty(queries, per_query, BLOCK_ROWS, device=rows_RD.device)
    with _on(rows_RD):
        block_products[(-(-queries * per_query // pairs),)](
            *(rows_RD, queries_QD, blocks_QK.contiguous(), products_QKB, len(rows_RD), queries * per_query, per_query),
            *(rows_RD.shape[1], BLOCK_ROWS, BLOCK_NUMBERS, pairs),
        )
    positions_QC = (blocks_QK[:, :, None] * BLOCK_ROWS + torch.arange(BLOCK_ROWS, device=rows_RD.device)).flatten(1)
    products_QC = products_QKB.flatten(1)
    best_Qk = _ordered(products_QC, positions_QC, k, by_name=False)
    return products_QC.gather(1, best_Qk), positions_QC.gather(1, best_Qk)


def _ordered(values_QN: Any, names_QN: Any, k: int, by_name: bool = True) -> Any:
    """Names (or with by_name=False, columns) of the k largest, equal ones by name, which is below 2**32.

    One integer holds value and name, so no two are equal and the selection has one answer on every device.
    """
    import torch

    bits = (values_QN + 0.0).view(torch.int32)  # adding zero makes one of two zeros
    ascending = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(torch.int64)
    columns_Qk = ((ascending << 32) | (0xFFFFFFFF - names_QN)).topk(k, dim=1).indices
    return names_QN.gather(1, columns_Qk) if by_name else columns_Qk


def _on(tensor: Any) -> AbstractContextManager[Any]:
    """Triton starts kernels on the current GPU, whichever its arguments lie on."""
    import torch

    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
