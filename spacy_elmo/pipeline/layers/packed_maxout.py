"""Pack the weights of a Maxout for fused layers, and decide when the native kernel predicts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import numpy as np
from thinc.api import Model, NumpyOps, Shim

from ...kernels.token_ops import N_PIECES, LayerNormParams, PackedMaxout, available

CPU_OPS = ("numpy", "onednn")  # names of the backends in whose place the native kernel computes
EPSILON = 1e-8  # thinc's, in its layer normalisation


class _Packed(NamedTuple):
    params: list[Any]
    """W, b, gain, shift: the arrays that were packed"""
    copies: list[np.ndarray] | None
    """their numbers at that time; None where nothing writes into the arrays"""
    dtype: str
    maxout: PackedMaxout


class PackedMaxoutShim(Shim):
    """Packs the weights of a Maxout and of the layer normalisation after it, once for each set of weights.

    thinc replaces the arrays of parameters in set_param, from_bytes, use_params and to_gpu, so other arrays
    are other weights. Optimizers write into the arrays: from the first training step of this layer on, the
    numbers are compared as well. Code that writes into an array without a training step calls set_param with
    another array instead.
    Nothing is saved, copied or pickled.
    """

    def __init__(self) -> None:
        super().__init__(None)
        self._packed: _Packed | None = None
        self._in_training = False

    def expect_updates(self) -> None:
        """Compare numbers from now on: an optimizer may write into the arrays at any time."""
        self._in_training = True

    def get(self, maxout: Model[Any, Any], norm: Model[Any, Any], dtype: str) -> PackedMaxout:
        """Return the packed weights of the two layers as they are now.

        dtype: of products, see PackedMaxout.
        """
        params = [maxout.get_param("W"), maxout.get_param("b"), norm.get_param("G"), norm.get_param("b")]
        packed = self._packed
        if packed is None or packed.dtype != dtype or not self._is_current(packed, params):
            copies = [np.array(param, dtype=np.float32, order="C") for param in params]
            W, b, gain, shift = copies
            weights = PackedMaxout(W, b, LayerNormParams(gain, shift, EPSILON), products=dtype)
            packed = self._packed = _Packed(params, copies if self._in_training else None, dtype, weights)
        return packed.maxout

    def _is_current(self, packed: _Packed, params: list[Any]) -> bool:
        if any(now is not then for now, then in zip(params, packed.params, strict=True)):
            return False
        if not self._in_training:
            return True
        return packed.copies is not None and all(map(_same_bits, params, packed.copies))

    # --- What thinc asks of a shim ---

    def finish_update(self, optimizer: Any) -> None:
        """Do nothing: the parameters belong to the layers."""
        self.expect_updates()

    @contextmanager
    def use_params(self, params: Any) -> Iterator[None]:
        """Do nothing: the parameters belong to the layers.

        The arrays in `params` may be averages that change.
        """
        self.expect_updates()
        yield

    def copy(self) -> "PackedMaxoutShim":
        """Return a shim for a copy of the layer, which has other arrays."""
        return PackedMaxoutShim()

    def __deepcopy__(self, memo: dict[str, Any]) -> "PackedMaxoutShim":
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}

    def to_device(self, device_type: str, device_id: int) -> None:
        """Drop the packed weights of the previous device."""
        self._packed = None

    def to_bytes(self) -> bytes:
        """Return no bytes: the weights are saved with the layers."""
        return b""

    def from_bytes(self, data: bytes) -> "PackedMaxoutShim":
        """Drop the packed weights."""
        self._packed = None
        return self


def get_shim(model: Model[Any, Any]) -> PackedMaxoutShim:
    """Return the shim of a fused layer."""
    (shim,) = model.shims
    return cast(PackedMaxoutShim, shim)


def is_fused(model: Model[Any, Any], maxout: Model[Any, Any]) -> bool:
    """Return whether the native kernel must predict instead of a fused layer's own layers.

    maxout: its Maxout. The kernel does not predict with the backend of a GPU or of a plugin, nor for a number
    of pieces other than three.
    """
    on_cpu = isinstance(model.ops, NumpyOps) and model.ops.name in CPU_OPS
    return model.attrs["fused"] and on_cpu and available() and maxout.get_dim("nP") == N_PIECES


def set_fused(model: Model[Any, Any], fused: bool) -> None:
    """Turn the native kernel on or off in all fused layers of a model."""
    for node in model.walk():
        if any(isinstance(shim, PackedMaxoutShim) for shim in node.shims):
            node.attrs["fused"] = fused


def is_float_matrix(X: Any) -> bool:
    """Return whether X is an array that the kernel can read."""
    return type(X) is np.ndarray and X.dtype == np.float32 and X.ndim == 2


def no_gradient(dY: Any) -> Any:
    """Take the place of backprop after a prediction."""
    raise ValueError("A prediction has no gradient: call begin_update instead.")


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two float32 arrays hold the same bits. NaN equals itself here."""
    return a.shape == b.shape and np.array_equal(
        np.ascontiguousarray(a, "f").view(np.uint32), b.view(np.uint32)
    )
