"""The C interface of the native kernel: its functions, and the structs that they take.

native/args.h declares the same structs with the same fields in the same order, and says what they mean. A
change of either is a change of both, and of ABI_VERSION (`elmo_abi_version` in native/elmo_api.cc).
"""

from enum import Enum
from typing import NamedTuple

import numpy as np
import torch

ABI_VERSION = 8
COMPUTE_TYPES = ("f32", "bf16", "int16")
"""Types of the products, in the order of native/compute_types.h"""


class Scalar(Enum):
    """A number, a text, an object that the kernel has made (`Packed`), or nothing."""

    INT = "int64_t"
    DOUBLE = "double"
    TEXT = "const char*"
    HANDLE = "void*"
    NOTHING = "void"


class Pointer(NamedTuple):
    """A pointer to numbers: an array, None (null), or, where `many`, a list of arrays.

    array: its type in numpy. tensor: its type in torch. written: whether the function writes there. strided:
    the function is told the distances between the array's blocks, and the caller has checked them. optional:
    a list may have None in it.
    """

    array: np.dtype
    tensor: torch.dtype
    written: bool = False
    many: bool = False
    strided: bool = False
    optional: bool = False


Kind = Scalar | Pointer


class Struct(NamedTuple):
    """A struct of native/args.h. Each of its fields has 8 bytes. Nested structs are written out."""

    name: str
    fields: dict[str, Kind]


class Function(NamedTuple):
    """Result and parameters. out_of_memory: the message of a MemoryError, if the result is a Status."""

    result: Scalar
    parameters: tuple[Kind | Struct, ...]
    out_of_memory: str | None = None


INT, DOUBLE, HANDLE = Scalar.INT, Scalar.DOUBLE, Scalar.HANDLE
FLOATS = Pointer(np.dtype("f4"), torch.float32)
FLOATS_OUT = FLOATS._replace(written=True)
MANY_FLOATS = FLOATS._replace(many=True)
MANY_FLOATS_OUT = MANY_FLOATS._replace(written=True)
INTS = Pointer(np.dtype("i8"), torch.int64)
MANY_INTS = INTS._replace(many=True)
BYTES_OUT = Pointer(np.dtype("u1"), torch.uint8, written=True)
DOUBLES_OUT = Pointer(np.dtype("f8"), torch.float64, written=True)

MODEL = Struct(
    "ModelArgs",
    {
        "target": INT,
        "compute_type": INT,
        "n_layers": INT,
        "projection_dim": INT,
        "hidden_size": INT,
        "use_skip_connections": INT,
        "cell_clip": DOUBLE,
        "proj_clip": DOUBLE,
        "weights": MANY_FLOATS._replace(optional=True),
    },
)
ENCODE = Struct(
    "EncodeArgs",
    {
        "n_sentences": INT,
        "lengths": INTS,
        "ids": INTS,
        "vectors": FLOATS,
        "scale": DOUBLE,
        "n_ngram_orders": INT,
        "ngram_dim": INT,
        "ngram_vectors": FLOATS,
        "ngram_rows": INTS,
        "out": MANY_FLOATS_OUT._replace(strided=True),
        "layer_strides": INTS,
        "n_threads": INT,
    },
)
POOL_TOKENS = Struct(
    "PoolTokensArgs",
    {
        "target": INT,
        "n_docs": INT,
        "sizes": INTS,
        "states": MANY_FLOATS,
        "lengths": INTS,
        "n_layers": INT,
        "dim": INT,
        "indices": MANY_INTS,
        "out": MANY_FLOATS_OUT,
        "n_threads": INT,
    },
)
SCALAR_MIX = Struct(
    "ScalarMixArgs",
    {
        "target": INT,
        "n_docs": INT,
        "n_tokens": INTS,
        "layers": MANY_FLOATS,
        "n_layers": INT,
        "dim": INT,
        "weights": FLOATS,
        "epsilon": DOUBLE,
        "static_vectors": MANY_FLOATS,
        "static_dim": INT,
        "out": MANY_FLOATS_OUT,
        "moments": FLOATS_OUT,
        "n_threads": INT,
    },
)
MAXOUT = Struct(
    "MaxoutArgs",
    {
        "target": INT,
        "compute_type": INT,
        "n_inputs": INT,
        "n_outputs": INT,
        "weights": FLOATS,
        "bias": FLOATS,
        "gain": FLOATS,
        "shift": FLOATS,
        "epsilon": DOUBLE,
    },
)
MAXOUT_INPUTS = Struct(
    "MaxoutInputs",
    {
        "n_docs": INT,
        "n_tokens": INTS,
        "n_parts": INT,
        "widths": INTS,
        "x": MANY_FLOATS,
        "out": FLOATS_OUT,
        "n_threads": INT,
    },
)
LSTM_SHAPE = Struct(
    "LSTMShape",
    {
        "target": INT,
        "use_bf16": INT,
        "n_sentences": INT,
        "n_steps": INT,
        "projection_dim": INT,
        "hidden_size": INT,
        "has_projection": INT,
        "batch_sizes": INTS,
        "n_threads": INT,
    },
)
LSTM_FORWARD = Struct(
    "LSTMForwardArgs",
    {
        **LSTM_SHAPE.fields,
        "w_ih": FLOATS,
        "w_hh": FLOATS,
        "bias": FLOATS,
        "w_hr": FLOATS,
        "x": FLOATS,
        "y": FLOATS_OUT,
        "saved": BYTES_OUT,
    },
)
LSTM_BACKWARD = Struct(
    "LSTMBackwardArgs",
    {
        **LSTM_SHAPE.fields,
        "w_ih": FLOATS,
        "w_hh": FLOATS,
        "w_hr": FLOATS,
        "saved": BYTES_OUT,
        "d_y": FLOATS,
        "workspace": BYTES_OUT,
        "d_x": FLOATS_OUT,
        "d_w_ih": FLOATS_OUT,
        "d_w_hh": FLOATS_OUT,
        "d_bias": FLOATS_OUT,
        "d_w_hr": FLOATS_OUT,
    },
)
LSTM_RECURRENCE = Struct(
    "LSTMRecurrenceArgs",
    {
        "target": INT,
        "n_steps": INT,
        "hidden_size": INT,
        "batch_sizes": INTS,
        "w_hh": FLOATS,
        "gates": FLOATS_OUT,
        "c": FLOATS_OUT,
        "m": FLOATS_OUT,
        "n_threads": INT,
    },
)
CROSS_ENTROPY_SHAPE = Struct(
    "CrossEntropyShape",
    {
        "target": INT,
        "use_bf16": INT,
        "n_targets": INT,
        "n_inputs": INT,
        "n_classes": INT,
        "with_gradients": INT,
        "n_threads": INT,
    },
)
CROSS_ENTROPY = Struct(
    "CrossEntropyArgs",
    {
        **CROSS_ENTROPY_SHAPE.fields,
        "x": FLOATS,
        "weight": FLOATS,
        "bias": FLOATS,
        "targets": INTS,
        "workspace": BYTES_OUT,
        "loss": DOUBLES_OUT,
        "d_x": FLOATS_OUT,
        "d_weight": FLOATS_OUT,
        "d_bias": FLOATS_OUT,
    },
)
MATRIX = Struct(
    "MatrixArgs", {"target": INT, "compute_type": INT, "n_inputs": INT, "n_outputs": INT, "weights": FLOATS}
)
MATMUL_INPUTS = Struct("MatmulInputs", {"n_rows": INT, "x": FLOATS, "out": FLOATS_OUT, "repeats": INT})
LSTM_CELL = Struct(
    "LSTMCellArgs",
    {
        "target": INT,
        "compute_type": INT,
        "n_rows": INT,
        "hidden_size": INT,
        "gates": FLOATS,
        "cell_clip": DOUBLE,
        "c": FLOATS_OUT,
        "out": FLOATS_OUT,
    },
)

_STEP_TOO_LARGE = "There is no memory for this step: give a smaller batch_tokens."
_BATCH_TOO_LARGE = "There is no memory for this batch: give a smaller batch_size."

FUNCTIONS = {
    "elmo_target_name": Function(Scalar.TEXT, (INT,)),
    "elmo_target_supported": Function(INT, (INT,)),
    "elmo_fastest_compute_type": Function(INT, (INT,)),
    "elmo_model_new": Function(HANDLE, (MODEL,)),
    "elmo_model_free": Function(Scalar.NOTHING, (HANDLE,)),
    "elmo_encode": Function(
        INT, (HANDLE, ENCODE), "There is no memory for this batch: give a smaller batch_tokens."
    ),
    "elmo_pool_tokens": Function(INT, (POOL_TOKENS,), "There is no memory for the layers of these tokens."),
    "elmo_scalar_mix": Function(INT, (SCALAR_MIX,), "There is no memory for the mix of this batch."),
    "elmo_maxout_new": Function(HANDLE, (MAXOUT,)),
    "elmo_maxout_free": Function(Scalar.NOTHING, (HANDLE,)),
    "elmo_maxout": Function(INT, (HANDLE, MAXOUT_INPUTS), _BATCH_TOO_LARGE),
    "elmo_lstm_workspace": Function(INT, (LSTM_SHAPE, INTS._replace(written=True)), _STEP_TOO_LARGE),
    "elmo_lstm_forward": Function(INT, (LSTM_FORWARD,), _STEP_TOO_LARGE),
    "elmo_lstm_backward": Function(INT, (LSTM_BACKWARD,), _STEP_TOO_LARGE),
    "elmo_lstm_recurrence_forward": Function(INT, (LSTM_RECURRENCE,), _BATCH_TOO_LARGE),
    "elmo_lstm_recurrence_backward": Function(INT, (LSTM_RECURRENCE,), _BATCH_TOO_LARGE),
    "elmo_cross_entropy_workspace": Function(INT, (CROSS_ENTROPY_SHAPE,)),
    "elmo_cross_entropy": Function(INT, (CROSS_ENTROPY,), _STEP_TOO_LARGE),
    "elmo_matrix_new": Function(HANDLE, (MATRIX,)),
    "elmo_matrix_free": Function(Scalar.NOTHING, (HANDLE,)),
    "elmo_matmul": Function(INT, (HANDLE, MATMUL_INPUTS), "There is no memory for these rows."),
    "elmo_lstm_cell": Function(INT, (LSTM_CELL,), "There is no memory for these cells."),
    "elmo_peak_products": Function(DOUBLE, (INT, INT, INT)),
    "elmo_read_memory": Function(DOUBLE, (INT, FLOATS, INT, INT)),
}
