"""Triton's kernels of the exact search, which only runs where Triton is; TRITON_INTERPRET=1, set before, needs no GPU.

R rows, Q queries, D numbers per vector; a block is BR rows that follow each other, B their number.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def block_maxima(  # type: ignore[no-untyped-def]
    rows, queries, maxima, R, Q, D: tl.constexpr, BR: tl.constexpr, BQ: tl.constexpr, BD: tl.constexpr
):
    """maxima [Q, B]: each query's largest product with the rows of each block; the products themselves stay on chip.

    A grid of one dimension, since others are limited to 65,535 programs; those of one block of rows follow each other,
    so that all but the first find it in the cache.
    """
    query_blocks = tl.cdiv(Q, BQ)
    block = tl.program_id(0) // query_blocks
    r = block * BR + tl.arange(0, BR)
    q = (tl.program_id(0) % query_blocks) * BQ + tl.arange(0, BQ)
    d = tl.arange(0, BD)
    row_at = rows + r[:, None].to(tl.int64) * D + d[None, :]
    query_at = queries + q[None, :].to(tl.int64) * D + d[:, None]
    products = tl.zeros((BR, BQ), tl.float32)
    for start in range(0, D, BD):
        row_mask, query_mask = r[:, None] < R, q[None, :] < Q
        if D % BD != 0:
            row_mask = row_mask & (start + d[None, :] < D)
            query_mask = query_mask & (start + d[:, None] < D)
        part_of_rows = tl.load(row_at + start, mask=row_mask, other=0.0)
        part_of_queries = tl.load(query_at + start, mask=query_mask, other=0.0)
        products = tl.dot(part_of_rows, part_of_queries, products)
    products = tl.where(r[:, None] < R, products, float("-inf"))
    tl.store(maxima + q.to(tl.int64) * tl.cdiv(R, BR) + block, tl.max(products, 0), mask=q < Q)


@triton.jit
def block_products(  # type: ignore[no-untyped-def]
    rows, queries, blocks, products, R, P, K, D: tl.constexpr, BR: tl.constexpr, BD: tl.constexpr, BP: tl.constexpr
):
    """products [Q, K, BR]: every query's products with the rows of its K chosen blocks [Q, K], in float32.

    Each is summed in an order that does not depend on the other queries. Rows past the last have -inf. A program takes
    BP of the P = Q x K pairs of query and block.
    """
    lane = tl.program_id(0).to(tl.int64) * (BP * BR) + tl.arange(0, BP * BR)
    pair = lane // BR
    r = tl.load(blocks + pair, mask=pair < P, other=0) * BR + lane % BR
    d = tl.arange(0, BD)
    row_at = rows + r[:, None] * D + d[None, :]
    query_at = queries + (pair // K)[:, None] * D + d[None, :]
    totals = tl.zeros((BP * BR,), tl.float32)
    for start in range(0, D, BD):
        mask = (pair[:, None] < P) & (start + d[None, :] < D)
        part_of_rows = tl.load(row_at + start, mask=mask & (r[:, None] < R), other=0.0).to(tl.float32)
        part_of_queries = tl.load(query_at + start, mask=mask, other=0.0).to(tl.float32)
        totals += tl.sum(part_of_rows * part_of_queries, 1)
    tl.store(products + lane, tl.where(r < R, totals, float("-inf")), mask=pair < P)
