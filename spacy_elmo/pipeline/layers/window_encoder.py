"""spaCy's MaxoutWindowEncoder with Maxouts that the native kernel computes in prediction."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from thinc.api import Maxout, Model, chain, clone, expand_window, residual, with_array
from thinc.layers.chain import forward as chain_forward
from thinc.types import Floats2d

from ...kernels.precision import DTYPE_NAMES, Precision, check_precision, resolve_compute_dtype
from .packed_maxout import PackedMaxoutShim, get_shim, is_float_matrix, is_fused, no_gradient


def MaxoutWindowEncoder(
    width: int, window_size: int, maxout_pieces: int, depth: int, precision: Precision = "auto"
) -> Model[list[Floats2d], list[Floats2d]]:
    """List[Floats2d (n, width)] -> List[Floats2d (n, width)]: residual convolutions of Maxouts.

    Layers, parameters and training are those of spaCy's spacy.MaxoutWindowEncoder.v2. precision: of the
    products in prediction on the CPU, as that of the biLM. Maxouts of other than three pieces are thinc's.
    """
    check_precision(precision)
    model: Model[Any, Any] = clone(
        residual(_WindowMaxout(width, window_size, maxout_pieces, precision)), depth
    )
    model.set_dim("nO", width)
    return cast(Model[list[Floats2d], list[Floats2d]], with_array(model, pad=window_size * depth))


def _WindowMaxout(width: int, window_size: int, n_pieces: int, precision: Precision) -> Model[Any, Any]:
    """Y_i = LayerNorm(Maxout([X_i-w; ...; X_i+w])), (n, width) -> (n, width), zeros beyond the ends."""
    n_inputs = width * (2 * window_size + 1)
    # 0.0: [training] dropout sets it
    maxout = Maxout(width, n_inputs, n_pieces, dropout=0.0, normalize=True)
    plain: Model[Any, Any] = chain(expand_window(window_size), maxout)
    return Model(
        "elmo-window-maxout",
        forward,
        init=plain.init,
        layers=plain.layers,
        dims={name: plain.maybe_get_dim(name) for name in plain.dim_names},
        attrs={"fused": True, "precision": precision},
        shims=[PackedMaxoutShim()],
    )


def forward(model: Model[Any, Any], X: Any, is_train: bool) -> tuple[Any, Callable[..., Any]]:
    """Return Y (n, width): in one pass in prediction if possible, otherwise through thinc's layers."""
    if is_train:
        get_shim(model).expect_updates()
    expand, layer = model.layers
    maxout, norm = layer.layers[0].layers  # before dropout
    window_size = expand.attrs["window_size"]
    width = maxout.get_dim("nI") // (2 * window_size + 1)
    if is_train or not is_fused(model, maxout) or not is_float_matrix(X) or X.shape[1] != width:
        return chain_forward(model, X, is_train)
    dtype = DTYPE_NAMES[resolve_compute_dtype(model.attrs["precision"], torch.device("cpu"))]
    packed = get_shim(model).get(maxout, norm, dtype)
    padded = np.zeros((len(X) + 2 * window_size, width), dtype=np.float32)
    padded[window_size : window_size + len(X)] = X
    windows = [padded[offset : offset + len(X)] for offset in range(2 * window_size + 1)]
    return packed(*([window] for window in windows)), no_gradient
