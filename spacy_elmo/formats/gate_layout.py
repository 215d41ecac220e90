"""Reorder gates and pad cells of LSTM weights, where systems differ."""

import torch
from torch import Tensor


def swap_middle_gates(t: Tensor) -> Tensor:
    """Reorder (4H, ...) from i, candidate, f, o to torch's i, f, candidate, o. Its own inverse."""
    i, second, third, o = t.chunk(4)
    return torch.cat([i, third, second, o])


def forget_bias_ones(hidden: int) -> Tensor:
    """Return (4H,) in torch's order: 1 at the forget gate, 0 elsewhere."""
    ones = torch.zeros(4, hidden)
    ones[1] = 1
    return ones.flatten()


def pad_gates(t: Tensor, hidden: int) -> Tensor:
    """Pad (4H, ...) to (4 * hidden, ...). The added cells have zero weights and stay at zero."""
    old = t.view(4, len(t) // 4, *t.shape[1:])
    new = t.new_zeros(4, hidden, *t.shape[1:])
    new[:, : old.shape[1]] = old
    return new.flatten(0, 1)


def pad_columns(t: Tensor, hidden: int) -> Tensor:
    """Pad (P, H) to (P, hidden): the added cells contribute nothing to the projection."""
    return torch.nn.functional.pad(t, (0, hidden - t.shape[1]))


def padded_hidden_size(hidden: int, projection: int, *, projected: bool) -> int:
    """Return H for a foreign layer: torch can only project to a smaller width, other systems to any."""
    return max(hidden, projection + 1) if projected else hidden
