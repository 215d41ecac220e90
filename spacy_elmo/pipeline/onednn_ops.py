"""The thinc backend "onednn": NumpyOps whose matrix products are computed by torch's oneDNN.

thinc multiplies with BLIS, on one thread and on many processors without AVX-512. The entry point `thinc_ops`
registers the backend (setup.cfg), so that `thinc.api.use_ops("onednn")` makes it the backend of models that
are built then. Registration alone changes nothing.
"""

from typing import Any

import numpy as np
import torch
from thinc.api import Model, NumpyOps

from ..kernels.packed_linear import onednn_matmul


class OneDnnOps(NumpyOps):
    """thinc's operations on the CPU, with products of float32 matrices by oneDNN, on torch's threads.

    They differ from thinc's own by rounding only.
    """

    name = "onednn"
    replaced: NumpyOps | None = None
    """The backend before use_onednn, where that has set this one."""

    def gemm(self, x: Any, y: Any, *, out: Any = None, trans1: bool = False, trans2: bool = False) -> Any:
        """Return the product of x (M, K) and y (K, N) float32, each transposed first if requested: (M, N).

        out: array for the result.
        """
        if x.ndim != 2 or y.ndim != 2 or x.dtype != np.float32 or y.dtype != np.float32 or not x.size:
            return super().gemm(x, y, out=out, trans1=trans1, trans2=trans2)  # it raises the errors
        # "W": torch warns of a tensor over an array that is read-only.
        a, b = (torch.from_numpy(np.require(each, requirements=["C", "W"])) for each in (x, y))
        left, right = a.T if trans1 else a, b.T if trans2 else b
        if left.shape[1] != right.shape[0]:
            raise ValueError(f"Rows of {left.shape[1]} numbers do not fit weights for {right.shape[0]}.")
        with torch.inference_mode():
            product = (left @ right if trans1 else onednn_matmul(left, right.T)).numpy()
        if out is None:
            return product
        np.copyto(out, product)
        return out


def use_onednn(model: Model[Any, Any]) -> int:
    """Set the backend of all layers that have thinc's NumpyOps. Returns how many they were.

    The backends of a GPU and of plugins, such as thinc-apple-ops, stay.
    """
    nodes = [node for node in model.walk() if type(node.ops) is NumpyOps]
    for node in nodes:
        ops = OneDnnOps()
        ops.replaced = node.ops
        node.ops = ops
    return len(nodes)


def restore_ops(model: Model[Any, Any]) -> None:
    """Undo use_onednn."""
    for node in model.walk():
        if isinstance(node.ops, OneDnnOps) and node.ops.replaced is not None:
            node.ops = node.ops.replaced
