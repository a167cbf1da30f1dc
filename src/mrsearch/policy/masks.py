"""Attention masks of rows that hold their tokens in unequal columns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mrsearch.policy.architectures import additive, layer_windows


class Masks:
    """Makes the masks in the shape that one model takes: by type of layer or one for all, boolean or added to the
    scores."""

    def __init__(self, config: Any, dtype: torch.dtype) -> None:
        self._windows = layer_windows(config)
        self._additive, self._dtype = additive(config), dtype

    def of(self, seen_BS: Tensor, count: int, device: torch.device) -> Tensor | dict[str, Tensor]:
        """Masks [B, 1, T, S] of the last `count` columns: each looks at the columns up to its own that hold a token,
        and in layers with a window at that many of them."""
        open_BTS = _causal(seen_BS, count)
        if not isinstance(self._windows, dict):
            return self._finish(_within(open_BTS, seen_BS, self._windows), device)
        by_window = {window: _within(open_BTS, seen_BS, window) for window in set(self._windows.values())}
        finished = {window: self._finish(mask, device) for window, mask in by_window.items()}
        return {kind: finished[window] for kind, window in self._windows.items()}

    def _finish(self, open_BTS: Tensor, device: torch.device) -> Tensor:
        mask = open_BTS[:, None].to(device)
        if not self._additive:
            return mask
        closed = torch.finfo(self._dtype).min
        return torch.zeros(mask.shape, dtype=self._dtype, device=device).masked_fill(~mask, closed)


def _causal(seen_BS: Tensor, count: int) -> Tensor:
    """[B, T, S]: the seen columns up to one's own, which is always open: a row of a softmax may not be empty."""
    width = seen_BS.shape[1]
    if count == 1:
        return seen_BS[:, None]
    columns = torch.arange(width)
    queries = columns[width - count :, None]
    return seen_BS[:, None] & (columns <= queries) | (columns == queries)


def _within(open_BTS: Tensor, seen_BS: Tensor, window: int | None) -> Tensor:
    """The open columns whose tokens are less than `window` tokens back: empty columns do not count."""
    if window is None or window >= seen_BS.shape[1]:
        return open_BTS
    count, width = open_BTS.shape[1:]
    order_BS = seen_BS.cumsum(-1)
    back_BTS = order_BS[:, width - count :, None] - order_BS[:, None]
    columns = torch.arange(width)
    itself = columns == columns[width - count :, None]
    return open_BTS & (back_BTS < window) | itself
