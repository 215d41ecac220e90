"""Gates and cells of LSTM weights: orders and widths that differ between systems."""

import torch
from torch import Tensor


def swap_middle_gates(t: Tensor) -> Tensor:
    """(4H, ...) in the order i, candidate, f, o to torch's i, f, candidate, o. Its own inverse."""
    i, second, third, o = t.chunk(4)
    return torch.cat([i, third, second, o])


def forget_bias_ones(hidden: int) -> Tensor:
    """(4H,) in torch's order: 1 at the forget gate, 0 elsewhere."""
    ones = torch.zeros(4, hidden)
    ones[1] = 1
    return ones.flatten()


def pad_gates(t: Tensor, hidden: int) -> Tensor:
    """(4H, ...) to (4 * hidden, ...): more cells, of zero weights, which stay at zero."""
    old = t.view(4, len(t) // 4, *t.shape[1:])
    new = t.new_zeros(4, hidden, *t.shape[1:])
    new[:, : old.shape[1]] = old
    return new.flatten(0, 1)


def pad_columns(t: Tensor, hidden: int) -> Tensor:
    """(P, H) to (P, hidden): nothing of the added cells is projected."""
    return torch.nn.functional.pad(t, (0, hidden - t.shape[1]))


def padded_hidden_size(hidden: int, projection: int, *, projected: bool) -> int:
    """Cells that a layer of others gets here: torch projects only to a smaller width, others to any."""
    return max(hidden, projection + 1) if projected else hidden
