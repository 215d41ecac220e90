"""Matrix products of the tasks that listen, by torch's oneDNN.

thinc multiplies with BLIS, on one thread and on many processors without AVX-512: oneDNN is 5x faster.
"""

from typing import Any

import numpy as np
import torch
from thinc.api import Model, NumpyOps

from ..bilm.inference.linear import linear

WORTH_PACKING = 128  # rows: with fewer, packing the weights takes longer than the product


class OneDnnOps(NumpyOps):
    """thinc's operations on the CPU, with products of float32 matrices by torch, on its threads.

    They differ from thinc's own by rounding only.
    """

    def gemm(self, x: Any, y: Any, *, out: Any = None, trans1: bool = False, trans2: bool = False) -> Any:
        """x @ y, (M, K) and (K, N) float32, each transposed first if so told -> (M, N), in `out` if given."""
        if x.ndim != 2 or y.ndim != 2 or x.dtype != np.float32 or y.dtype != np.float32 or not x.size:
            return super().gemm(x, y, out=out, trans1=trans1, trans2=trans2)  # it has words for what is wrong
        a, b = (torch.from_numpy(np.ascontiguousarray(each)) for each in (x, y))
        left, right = a.T if trans1 else a, b.T if trans2 else b
        with torch.inference_mode():
            packed = not trans1 and len(left) >= WORTH_PACKING
            product = (linear(right.T)(left) if packed else left @ right).numpy()
        if out is None:
            return product
        np.copyto(out, product)
        return out


def hasten(model: Model) -> Model:
    """Let a model multiply with OneDnnOps, where thinc's own operations on the CPU would. Returns it.

    The component "elmo" does so with all of a model that listens. Where listeners were replaced there is no
    such component, so ConcatEmbed and ConcatOutput do it with what they are made of.
    """
    for node in model.walk():
        if type(node.ops) is NumpyOps:  # neither a GPU's nor those of a plugin, such as thinc-apple-ops
            node.ops = OneDnnOps()
    return model
