"""Single operations of the native kernel, for tests and benchmarks: products, LSTM cells, peak rates."""

import math

import numpy as np

from .binding import Packed, as_floats, call, check_shape, target_number
from .native_interface import COMPUTE_TYPES


class PackedMatrix:
    """A matrix W (N, K), packed for products x W^T.

    products: their type, one of COMPUTE_TYPES; sums are float32. target: one of supported_targets(); None:
    the best.
    """

    def __init__(self, W: np.ndarray, *, products: str = COMPUTE_TYPES[0], target: str | None = None):
        self.n_outputs, self.n_inputs = W.shape
        self._packed = Packed(
            "elmo_matrix_new",
            "elmo_matrix_free",
            "a matrix",
            target=target_number(target),
            compute_type=COMPUTE_TYPES.index(products),
            n_inputs=self.n_inputs,
            n_outputs=self.n_outputs,
            weights=as_floats(W),
        )

    def __call__(self, x: np.ndarray, repeats: int = 1) -> np.ndarray:
        """Multiply on one thread: x (M, K) -> (M, N) float32.

        repeats: how often to compute the product, for benchmarks; rows are converted once.
        """
        x = as_floats(x)
        check_shape("The rows of a product", x, (len(x), self.n_inputs))
        out = np.empty((len(x), self.n_outputs), dtype=np.float32)
        call("elmo_matmul", self._packed, n_rows=len(x), x=x, out=out, repeats=repeats)
        return out


def lstm_cell(
    gates: np.ndarray,
    c: np.ndarray,
    *,
    cell_clip: float = math.inf,
    products: str = COMPUTE_TYPES[0],
    target: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute one step of LSTM cells: new states c and o * tanh(c), (M, H) each.

    gates: (M, 4H), sums of i, f, g and o; c: (M, H), previous states. products: type of the products, which
    sets the exactness of the exponential function.
    """
    n, hidden = c.shape
    check_shape("The gates of LSTM cells", gates, (n, 4 * hidden))
    state, out = as_floats(c).copy(), np.empty((n, hidden), dtype=np.float32)
    call(
        "elmo_lstm_cell",
        target=target_number(target),
        compute_type=COMPUTE_TYPES.index(products),
        n_rows=n,
        hidden_size=hidden,
        gates=as_floats(gates),
        cell_clip=cell_clip,
        c=state,
        out=out,
    )
    return state, out


def peak_products(repeats: int, *, products: str = COMPUTE_TYPES[0], target: str | None = None) -> float:
    """Multiply operands in the first-level cache, on one thread; return the number of operations."""
    return float(call("elmo_peak_products", target_number(target), COMPUTE_TYPES.index(products), repeats))


def read_memory(x: np.ndarray, repeats: int = 1, *, target: str | None = None) -> float:
    """Read float32 numbers as fast as one thread can, `repeats` times. Return about their sum."""
    return float(call("elmo_read_memory", target_number(target), as_floats(x), x.size, repeats))
