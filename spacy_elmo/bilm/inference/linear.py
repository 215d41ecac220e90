"""A linear map whose weights are packed once, and whose rows do not depend on one another's number."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

# oneDNN and MKL have kernels of their own for fewer rows, which sum in another order.
FEWEST_ROWS = 4

Linear = Callable[[Tensor], Tensor]


def linear(weight: Tensor, bias: Tensor | None = None) -> Linear:
    """x -> x W^T + b with W (N, K) packed once. x: (M, K), of the weight's type; so is the result (M, N).

    A row's result does not depend on M. oneDNN's packed weights are private to torch: where they are
    missing, F.linear computes the same, more slowly.
    """
    product = _packed(weight, bias) or (lambda x: F.linear(x, weight, bias))

    def apply(x: Tensor) -> Tensor:
        m = x.shape[0]
        return product(x) if m >= FEWEST_ROWS else product(F.pad(x, (0, 0, 0, FEWEST_ROWS - m)))[:m]

    return apply


def _packed(weight: Tensor, bias: Tensor | None) -> Linear | None:
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 64)
        run = torch.ops.mkldnn._linear_pointwise
        run(weight.new_zeros(FEWEST_ROWS, weight.shape[1]), packed, bias, "none", [], "")
    except (AttributeError, RuntimeError):
        return None
    return lambda x: run(x, packed, bias, "none", [], "")
