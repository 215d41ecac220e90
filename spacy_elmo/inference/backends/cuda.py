"""The CUDA backend: packed batches as on the CPU, through cuDNN, or step by step for clipped cells.

It needs Triton (see kernels.fused_ops); without Triton, a GPU runs the network itself.
"""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from ...batching import minibatch_by_size
from ...kernels.cudnn import cudnn_supports_lstm, no_tf32
from ...kernels.precision import round_to_fp16
from ...kernels.triton_ops import TritonFusedOps
from ..inputs.input_vectors import EncodedInputs
from .lstm_weights import LSTMOptions, LSTMWeights
from .packing import pack_sequences
from .torch_cpu import TorchBackend

SUMS = 2**28  # values of the input product at a time: half a gigabyte in bf16


class CudnnLSTMLayer:
    """One LSTM layer of one direction in cuDNN, which has no clips; see torch_cpu.TorchLSTMLayer."""

    def __init__(self, cell: LSTMWeights, dtype: torch.dtype):
        size = 0 if cell.w_hr is None else cell.projection
        self.layer = nn.LSTM(cell.w_ih.shape[1], cell.hidden, proj_size=size, device="meta")
        found = {"weight_ih_l0": cell.w_ih, "weight_hh_l0": cell.w_hh, "bias_ih_l0": cell.bias}
        found |= {"bias_hh_l0": torch.zeros_like(cell.bias)}
        found |= {} if cell.w_hr is None else {"weight_hr_l0": cell.w_hr}
        self.layer.to_empty(device=cell.bias.device).load_state_dict(found)
        self.layer.to(dtype).flatten_parameters()
        self.dtype = dtype

    def __call__(self, x: Tensor, batch_sizes: Sequence[int]) -> Tensor:
        """Return h (N, P) float32 from x (N, P) float32, both in the order of the steps."""
        packed = PackedSequence(x.to(self.dtype), torch.tensor(batch_sizes))
        h: Tensor = self.layer(packed)[0].data.float()
        return h


class TritonLSTMLayer:
    """One LSTM layer of one direction, step by step: products in cuBLAS, the rest in one kernel."""

    def __init__(self, cell: LSTMWeights, options: LSTMOptions, dtype: torch.dtype):
        self.hidden, self.options, self.dtype = cell.hidden, options, dtype
        self.w_ih, self.bias, w_hh = (w.to(dtype) for w in (cell.w_ih, cell.bias, cell.w_hh))
        self.down = w_hh.t()
        self.up = None if cell.w_hr is None else cell.w_hr.to(dtype).t()
        self.clip = float("inf") if options.cell_clip is None else options.cell_clip
        self.kernels = TritonFusedOps()

    def __call__(self, x: Tensor, batch_sizes: Sequence[int]) -> Tensor:
        """Return h (N, P) float32 from x (N, P) float32, both in the order of the steps."""
        x = x.to(self.dtype)
        out = torch.empty_like(x)
        c = x.new_zeros(batch_sizes[0], self.hidden, dtype=torch.float32)
        m = x.new_empty(batch_sizes[0], self.hidden)
        recurrent = x.new_zeros(batch_sizes[0], 4 * self.hidden)
        h_prev: Tensor | None = None
        begin = 0
        for window in minibatch_by_size(batch_sizes, SUMS // (4 * self.hidden), int):
            rows = slice(begin, begin + sum(window))
            sums = F.linear(x[rows], self.w_ih, self.bias)  # (rows of the window, 4H)
            for gates, h in zip(sums.split(window), out[rows].split(window), strict=True):
                h_prev = self._step(gates, h_prev, c[: len(h)], m[: len(h)], recurrent[: len(h)], h)
            begin = rows.stop
        return out.float()

    def _step(
        self, gates: Tensor, h_prev: Tensor | None, c: Tensor, m: Tensor, recurrent: Tensor, h: Tensor
    ) -> Tensor:
        """Compute one step: update c, and fill and return h (b, P).

        gates: (b, 4H) of the input; h_prev: h of the previous step.
        """
        if h_prev is not None:
            torch.mm(h_prev[: len(h)], self.down, out=recurrent)
        self.kernels.lstm_cell_forward(gates, recurrent, c, gates, c, m, self.clip)
        if self.up is None:
            h.copy_(m)
        else:
            torch.mm(m, self.up, out=h)
        if self.options.proj_clip is not None:
            h.clamp_(-self.options.proj_clip, self.options.proj_clip)
        return h


def make_layer(
    cell: LSTMWeights, options: LSTMOptions, dtype: torch.dtype
) -> CudnnLSTMLayer | TritonLSTMLayer:
    """Create the layer that fits the options and the type."""
    clipped = options.cell_clip is not None or options.proj_clip is not None
    return (
        CudnnLSTMLayer(cell, dtype)
        if not clipped and cudnn_supports_lstm(dtype)
        else TritonLSTMLayer(cell, options, dtype)
    )


class CudaBackend(TorchBackend):
    """Both directions of a biLM on the GPU that holds its weights."""

    cell = staticmethod(make_layer)

    def run(self, inputs: EncodedInputs, out: Sequence[np.ndarray]) -> None:
        """Fill `out` with the layers of a batch, see TorchBackend.run."""
        lengths = [len(sentence) for sentence in inputs.ids]
        forward_inputs, backward_inputs = inputs.for_directions(self.device)
        with no_tf32():
            found = _fetch(
                self._layers((forward_inputs, backward_inputs), pack_sequences(lengths)), half=self.half
            )
        for begin, n, target in zip(accumulate([0, *lengths]), lengths, out, strict=False):
            torch.from_numpy(target).copy_(found[:, begin + 1 : begin + n - 1])


def _fetch(layers: Tensor, *, half: bool) -> Tensor:
    """Copy layers to the CPU. Layers rounded to half precision are sent as such, in half the time."""
    if half:
        small = layers.half()
        layers = round_to_fp16(layers) if bool(small.isinf().any()) else small
    pinned = torch.empty(layers.shape, dtype=layers.dtype, pin_memory=True)
    return pinned.copy_(layers)
