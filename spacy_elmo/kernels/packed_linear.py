"""A linear map whose weights are packed once, and whose rows do not depend on one another's number."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .precision import cpu_supports

# oneDNN and MKL have kernels of their own for fewer rows, which sum in another order.
FEWEST_ROWS = 4
# Where the processor has tiles (AMX), oneDNN cuts the inputs of bfloat16 differently for each number of rows
# and threads, unless they are so few, and a multiple of what a tile holds.
MOST_INPUTS, TILE_INPUTS = 256, 32

Linear = Callable[[Tensor], Tensor]


def packed_linear(weight: Tensor, bias: Tensor | None = None) -> Linear:
    """x -> x W^T + b with W (N, K) packed once. x: (M, K), of the weight's type; so is the result (M, N).

    A row's result does not depend on M. oneDNN's packed weights are private to torch: where they are
    missing, F.linear computes the same, more slowly.
    """
    cut = weight.dtype == torch.bfloat16 and cpu_supports("_is_amx_tile_supported")
    product = _split_k_linear(weight, bias) if cut else _linear(weight, bias)

    def apply(x: Tensor) -> Tensor:
        m = x.shape[0]
        return product(x) if m >= FEWEST_ROWS else product(F.pad(x, (0, 0, 0, FEWEST_ROWS - m)))[:m]

    return apply


def _split_k_linear(weight: Tensor, bias: Tensor | None) -> Linear:
    """Products of MOST_INPUTS at most, summed in float32."""
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
    """oneDNN's product as it is; None where torch lacks it."""
    try:
        weights = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 64)
        run = torch.ops.mkldnn._linear_pointwise
        run(weight.new_zeros(FEWEST_ROWS, weight.shape[1]), weights, bias, "none", [], "")
    except (AttributeError, RuntimeError):
        return None
    return lambda x: run(x, weights, bias, "none", [], "")
