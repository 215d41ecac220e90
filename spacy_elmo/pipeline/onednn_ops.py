"""Matrix products of the tasks that listen: by torch's oneDNN; of their Maxouts, in prediction, natively.

thinc multiplies with BLIS, on one thread and on many processors without AVX-512: oneDNN is 5x faster.
"""

from typing import Any

import numpy as np
import torch
from thinc.api import Model, NumpyOps

from ..kernels.packed_linear import packed_linear
from ..kernels.precision import DTYPE_NAMES, Precision, resolve_compute_dtype
from .layers.bilm import BiLMShim
from .layers.fused_maxout import FusedMaxout, fuse_concat_maxout, fuse_maxout
from .layers.with_minibatches import NAME as WITH_MINIBATCHES

MIN_ROWS_TO_PACK = 128  # rows: with fewer, packing the weights takes longer than the product


class OneDnnOps(NumpyOps):
    """thinc's operations on the CPU, with products of float32 matrices by torch, on its threads.

    They differ from thinc's own by rounding only.
    """

    def gemm(self, x: Any, y: Any, *, out: Any = None, trans1: bool = False, trans2: bool = False) -> Any:
        """x @ y, (M, K) and (K, N) float32, each transposed first if so told -> (M, N), in `out` if given."""
        if x.ndim != 2 or y.ndim != 2 or x.dtype != np.float32 or y.dtype != np.float32 or not x.size:
            return super().gemm(x, y, out=out, trans1=trans1, trans2=trans2)  # it has words for what is wrong
        # "W": torch warns of a tensor over an array that is read-only.
        a, b = (torch.from_numpy(np.require(each, requirements=["C", "W"])) for each in (x, y))
        left, right = a.T if trans1 else a, b.T if trans2 else b
        if left.shape[1] != right.shape[0]:
            raise ValueError(f"Rows of {left.shape[1]} numbers do not fit weights for {right.shape[0]}.")
        with torch.inference_mode():
            packed = not trans1 and len(left) >= MIN_ROWS_TO_PACK
            product = (packed_linear(right.T)(left) if packed else left @ right).numpy()
        if out is None:
            return product
        np.copyto(out, product)
        return out


def accelerate(model: Model, precision: Precision | None = None) -> Model:
    """Let a model multiply with OneDnnOps, where thinc's own operations on the CPU would, and let its Maxouts
    predict in one pass (pipeline.layers.fused_maxout). Returns it.

    The component "elmo" does so with all of a model that listens. Where listeners were replaced there is no
    such component, so ConcatEmbed and ConcatOutput do it with what they are made of.
    precision: of the biLM; None: that of the model's own one, if it has one. Maxouts predict with it, too.
    """
    nodes = list(model.walk())
    for node in nodes:
        if type(node.ops) is NumpyOps:  # neither a GPU's nor those of a plugin, such as thinc-apple-ops
            node.ops = OneDnnOps()
        if isinstance(node.ops, OneDnnOps):
            fuse_maxout(node)
    for portioned in (node for node in nodes if node.name == WITH_MINIBATCHES):
        fuse_concat_maxout(portioned.layers[0])
    own = (shim.precision for node in nodes for shim in node.shims if isinstance(shim, BiLMShim))
    precision = precision or next(own, None)
    if precision is not None:
        products = DTYPE_NAMES[resolve_compute_dtype(precision, torch.device("cpu"))]
        for callback in (node._func for node in nodes):
            if isinstance(callback, FusedMaxout):
                callback.products = products
    return model
