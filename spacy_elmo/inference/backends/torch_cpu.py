"""The backend that runs wherever torch runs: a loop over the steps of a packed batch."""

from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from ...batching import minibatch_by_size
from ...kernels.activations import SigmoidBuffer
from ...kernels.packed_linear import FEWEST_ROWS, packed_linear
from ...kernels.precision import DTYPE_NAMES, round_to_fp16
from ..inputs.input_vectors import EncodedInputs
from .lstm_weights import LSTMOptions, LSTMWeights
from .packing import PackedBatch, pack_sequences

TWO, HALF = torch.tensor(2.0), torch.tensor(0.5)  # converting a Python number takes as long as the operation
INPUT_ROWS = 512  # rows of an input product: enough for full speed, and the result stays in the cache


Layer = Callable[[Tensor, Sequence[int]], Tensor]  # see TorchLSTMLayer.__call__


class TorchLSTMLayer:
    """One LSTM layer of one direction.

    The gates are in the order i, f, o, g and all go through one sigmoid: tanh(x) is 2 sigmoid(2x) - 1. The
    inner factor 2 is folded into the weights, which is exact.
    """

    def __init__(self, cell: LSTMWeights, options: LSTMOptions, dtype: torch.dtype):
        hidden = cell.hidden
        i, f, g, o = torch.arange(4 * hidden).chunk(4)
        order = torch.cat([i, f, o, g])
        scale = torch.ones(4 * hidden, 1)
        scale[3 * hidden :] = 2.0
        self.hidden = hidden
        self.options = options
        self.dtype = dtype
        bias = (cell.bias[order] * scale[:, 0]).to(dtype)
        self.input = packed_linear((cell.w_ih[order] * scale).to(dtype), bias)
        self.recurrent = packed_linear((cell.w_hh[order] * scale).to(dtype))
        # The projected value is half of o * tanh(c), hence the factor 2.
        self.project = None if cell.w_hr is None else packed_linear((cell.w_hr * 2).to(dtype))

    def __call__(self, x: Tensor, batch_sizes: Sequence[int]) -> Tensor:
        """Return h (N, P) float32 from x (N, P) float32, both in the order of the steps."""
        out = x.new_empty(x.shape)
        x = x.to(self.dtype)
        c = torch.zeros(batch_sizes[0], self.hidden)
        h: Tensor | None = None
        workspace = _Workspace(c, batch_sizes[0], self.dtype)
        begin = 0
        h_of_steps = iter(out.split(batch_sizes))
        # Steps whose input products are computed at once.
        for window in minibatch_by_size(batch_sizes, INPUT_ROWS, int):
            gates = self.input(x[begin : begin + sum(window)])  # (rows of the window, 4H)
            begin += sum(window)
            for b, x_gates, h_rows in zip(window, gates.split(window), h_of_steps, strict=False):
                if b < workspace.rows:
                    workspace = _Workspace(c, b, self.dtype)
                h = self._step(x_gates, h, workspace)
                h_rows.copy_(h[:b])
        return out

    def _step(self, x_gates: Tensor, h: Tensor | None, workspace: "_Workspace") -> Tensor:
        """Compute one step. x_gates: (b, 4H) of the input; h: (b, P) or more rows.

        Returns h, with at least FEWEST_ROWS rows.
        """
        b, c, half = workspace.rows, workspace.c, workspace.half
        if h is None:
            workspace.gates.array.copy_(x_gates)
        else:
            torch.add(x_gates.float(), self.recurrent(h[: len(workspace.m)])[:b], out=workspace.gates.array)
        workspace.gates.sigmoid_()
        workspace.g.sub_(HALF)
        c.mul_(workspace.f).add_(torch.mul(workspace.i, workspace.g, out=half.array), alpha=2)
        if self.options.cell_clip is not None:
            c.clamp_(-self.options.cell_clip, self.options.cell_clip)
        torch.mul(c, TWO, out=half.array)
        half.sigmoid_()
        torch.mul(half.array.sub_(HALF), workspace.o, out=workspace.m_rows)
        h = workspace.m * 2 if self.project is None else self.project(workspace.m)
        if self.options.proj_clip is not None:
            h.clamp_(-self.options.proj_clip, self.options.proj_clip)
        return h


class _Workspace:
    """Buffers for a step of b rows. Without them, small batches spend half of their time on allocation."""

    def __init__(self, c: Tensor, b: int, dtype: torch.dtype):
        hidden = c.shape[1]
        self.rows = b
        self.c = c[:b]
        self.gates = SigmoidBuffer(b, 4 * hidden)
        self.i, self.f, self.o, self.g = self.gates.array.chunk(4, 1)
        self.half = SigmoidBuffer(b, hidden)
        self.m = torch.zeros(max(b, FEWEST_ROWS), hidden, dtype=dtype)
        self.m_rows = self.m[:b]


class TorchBackend:
    """Both directions of a biLM in torch. dtype: type of the products; cell states are float32."""

    cell: Callable[[LSTMWeights, LSTMOptions, torch.dtype], Layer] = TorchLSTMLayer

    def __init__(self, directions: Sequence[Sequence[LSTMWeights]], options: LSTMOptions, dtype: torch.dtype):
        self.name = f"torch, {DTYPE_NAMES[dtype]}"
        self.options = options
        self.half = dtype == torch.bfloat16
        self.directions = [[self.cell(cell, options, dtype) for cell in cells] for cells in directions]
        self.device = directions[0][0].bias.device

    def run(self, inputs: EncodedInputs, out: Sequence[np.ndarray]) -> None:
        """Fill `out`, a float32 array (L, n, 2P) for each sentence, with contiguous layers.

        The sentences are in descending order of n. With bf16 products, the layers are rounded to half
        precision.
        """
        lengths = [len(sentence) for sentence in inputs.ids]
        steps = pack_sequences(lengths)
        forward_inputs, backward_inputs = inputs.for_directions(self.device)
        found = self._layers((forward_inputs, backward_inputs), steps)
        layers = (round_to_fp16(found) if self.half else found).numpy()
        for begin, n, target in zip(accumulate([0, *lengths]), lengths, out, strict=False):
            target[:] = layers[:, begin + 1 : begin + n - 1]

    def _layers(self, inputs: Sequence[Tensor], steps: PackedBatch) -> Tensor:
        """Return the layers (L, N, 2P) from inputs (N, P) of each direction, both sentence by sentence."""
        rows, width = inputs[0].shape
        layers = inputs[0].new_empty(len(self.directions[0]) + 1, rows, 2 * width)
        torch.cat(tuple(inputs), 1, out=layers[0])
        orders = (steps.forward.to(self.device), steps.backward.to(self.device))
        for side, (cells, order) in enumerate(zip(self.directions, orders, strict=True)):
            y = inputs[side][order]
            for depth, cell in enumerate(cells):
                h = cell(y, steps.batch_sizes)
                y = y + h if self.options.skip and depth else h
                layers[depth + 1, order, side * width : (side + 1) * width] = y
        return layers
