"""A key-value cache for rows that grow by unequal amounts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


class ReservedLayer(DynamicLayer):
    """One layer's keys and values in a buffer reserved beforehand: appending a token copies that token only."""

    def __init__(self, room: int) -> None:
        """Empty, with room for so many columns once the model shows how wide they are."""
        super().__init__()
        self.length, self._room = 0, room

    @classmethod
    def filled(cls, keys_BHSD: Tensor, values_BHSD: Tensor, length: int) -> ReservedLayer:
        """Takes over buffers [B, H, S, D] whose first `length` columns are filled."""
        layer = cls(keys_BHSD.shape[2])
        layer._adopt(keys_BHSD, values_BHSD)
        layer._show(length)
        return layer

    def of(self, rows_B: Tensor) -> ReservedLayer:
        """The rows where `rows_B` is True, with the room that is left."""
        rows = rows_B.nonzero()[:, 0]
        pair = []
        for buffer in (self._keys, self._values):
            copied = buffer.new_empty(len(rows), *buffer.shape[1:])
            torch.index_select(buffer[:, :, : self.length], 0, rows, out=copied[:, :, : self.length])
            pair.append(copied)
        return ReservedLayer.filled(pair[0], pair[1], self.length)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append [B, H, T, D]; returns everything cached so far."""
        if not self.is_initialized:
            self._adopt(self._reserve(key_states), self._reserve(value_states))
        end = self.length + key_states.shape[-2]
        self._keys[:, :, self.length : end] = key_states
        self._values[:, :, self.length : end] = value_states
        return self._show(end)

    def _reserve(self, states_BHTD: Tensor) -> Tensor:
        """In the precision that attention computes in: under autocast the model rotates keys to float32, and attention
        would round them anew at every token."""
        rows, heads, _, width = states_BHTD.shape
        kind = states_BHTD.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states_BHTD.dtype
        return states_BHTD.new_empty(rows, heads, self._room, width, dtype=dtype)

    def _adopt(self, keys_BHSD: Tensor, values_BHSD: Tensor) -> None:
        self.dtype, self.device = keys_BHSD.dtype, keys_BHSD.device
        self._keys, self._values, self.is_initialized = keys_BHSD, values_BHSD, True

    def _show(self, length: int) -> tuple[Tensor, Tensor]:
        self.length = length
        keys, values = self._keys[:, :, :length], self._values[:, :, :length]
        self.keys, self.values = keys, values
        return keys, values


def repack(layers: list[tuple[Tensor, Tensor]], source_B: Tensor, columns_BP: Tensor, room: int) -> Cache:
    """A cache whose row b holds columns `columns_BP[b]` of the old row `source_B[b]`, with room for `room` tokens.

    `layers` are the old keys and values [B', H, S, D]; `columns_BP` may repeat a column where a row has fewer than P
    tokens: the attention mask hides those.
    """
    same_rows = torch.equal(source_B, torch.arange(len(layers[0][0]), device=source_B.device))
    filled = columns_BP.shape[1]
    packed: list[Any] = []
    for pair in layers:
        buffers = []
        for old in pair:
            _, heads, _, width = old.shape
            index = columns_BP[:, None, :, None].expand(-1, heads, -1, width)
            # Reserved columns are read only after all rows have written them, so they need no first value.
            buffer = old.new_empty(len(source_B), heads, filled + room, width)
            torch.gather(old if same_rows else old[source_B], 2, index, out=buffer[:, :, :filled])
            buffers.append(buffer)
        packed.append(ReservedLayer.filled(buffers[0], buffers[1], filled))
    return Cache(layers=packed)


def take(cache: Cache, rows_B: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
    """Keys and values [B', H, S, D] of every layer: of the rows where `rows_B` is True, or of all of them."""
    rows = slice(None) if rows_B is None else rows_B
    layers: list[Any] = cache.layers
    return [(layer.keys[rows], layer.values[rows]) for layer in layers]


def keep(cache: Cache, rows_B: Tensor) -> Cache:
    """A cache of the rows where `rows_B` is True, with the room that is left."""
    layers: list[Any] = cache.layers
    return Cache(layers=[layer.of(rows_B) for layer in layers])


def gather(pieces: list[tuple[Tensor, list[tuple[Tensor, Tensor]]]], rows: int) -> list[tuple[Tensor, Tensor]]:
    """The layers of `rows` rows from pieces (row numbers, their layers), each as long as the longest; the rest is 0."""
    if len(pieces) == 1:
        return pieces[0][1]
    gathered = []
    for layer in range(len(pieces[0][1])):
        longest = pieces[-1][1][layer][0]
        shape = (rows, longest.shape[1], longest.shape[2], longest.shape[3])
        pair = (longest.new_zeros(shape), longest.new_zeros(shape))
        for numbers, layers in pieces:
            for target, source in zip(pair, layers[layer], strict=True):
                target[numbers.to(target.device), :, : source.shape[2]] = source
        gathered.append(pair)
    return gathered


def empty(layers: int, room: int) -> Cache:
    """A cache of empty rows with room for `room` tokens; rows, heads and widths are those that the model first gives.

    Layers may differ in heads and widths.
    """
    return Cache(layers=[ReservedLayer(room) for _ in range(layers)])
