"""Linear maps with packed weights, whose rows do not depend on the number of rows."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from .precision import cpu_supports

# oneDNN and MKL have special kernels for fewer rows, which sum in another order.
FEWEST_ROWS = 4
# With AMX tiles, oneDNN splits bfloat16 inputs differently for each number of rows and threads, unless there
# are at most MOST_INPUTS of them, a multiple of what a tile holds.
MOST_INPUTS, TILE_INPUTS = 256, 32

Linear = Callable[[Tensor], Tensor]


def packed_linear(weight: Tensor, bias: Tensor | None = None) -> Linear:
    """Return a function x -> x W^T + b with packed weights.

    W: (N, K). x: (M, K), of the type of the weights, as is the result (M, N). The result of a row does not
    depend on M. oneDNN's packed weights are private to torch: without them, F.linear computes the same, more
    slowly.
    """
    cut = weight.dtype == torch.bfloat16 and cpu_supports("_is_amx_tile_supported")
    product = _split_k_linear(weight, bias) if cut else _linear(weight, bias)

    def apply(x: Tensor) -> Tensor:
        m = x.shape[0]
        return product(x) if m >= FEWEST_ROWS else product(F.pad(x, (0, 0, 0, FEWEST_ROWS - m)))[:m]

    return apply


def _split_k_linear(weight: Tensor, bias: Tensor | None) -> Linear:
    """Split K into products of at most MOST_INPUTS inputs, summed in float32."""
    missing = -weight.shape[1] % TILE_INPUTS
    weights = F.pad(weight, (0, missing)).split(MOST_INPUTS, dim=1)
    first, *rest = (_linear(piece, None if i else bias) for i, piece in enumerate(weights))

    def apply(x: Tensor) -> Tensor:
        if missing:
            x = F.pad(x, (0, missing))
        if not rest:
            return first(x)
        x, *others = x.split(MOST_INPUTS, dim=1)
        total = first(x).float()
        for product, other in zip(rest, others, strict=True):
            total += product(other)
        return total.to(weight.dtype)

    return apply


def _linear(weight: Tensor, bias: Tensor | None) -> Linear:
    return onednn_linear(weight, bias) or (lambda x: F.linear(x, weight, bias))


def onednn_linear(weight: Tensor, bias: Tensor | None) -> Linear | None:
    """Return oneDNN's product with packed weights, or None if torch lacks it."""
    try:
        weights = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 64)
        run = torch.ops.mkldnn._linear_pointwise
        run(weight.new_zeros(FEWEST_ROWS, weight.shape[1]), weights, bias, "none", [], "")
    except (AttributeError, RuntimeError):
        return None
    return lambda x: run(x, weights, bias, "none", [], "")


def onednn_matmul(x: Tensor, weight: Tensor) -> Tensor:
    """Return x W^T, computed by oneDNN if possible, for weights that are used once.

    x: (M, K), weight: (N, K), float32 -> (M, N).
    """
    if _has_onednn_linear():
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight.contiguous(), None, "none", [], "")
        return y
    return x @ weight.T


@cache
def _has_onednn_linear() -> bool:
    return onednn_linear(torch.ones(1, 1), None) is not None
