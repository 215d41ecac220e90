"""One direction of the biLM: LSTM layers with projection, skip connection and optional clips."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ..kernels.cudnn import cudnn_supports_lstm, no_tf32
from ..kernels.fused_ops import LSTMFunction, fused_ops_for
from ..kernels.native_training import NativeLayer, rows_by_step, trains
from .config import BiLMConfig


class Dropout:
    """Inverted dropout with its own random generator (Srivastava et al. 2014).

    Two directions that train in parallel would compete for torch's global generator. With one generator each,
    the masks of a step depend only on its seed.
    """

    def __init__(self, rate: float, generator: torch.Generator):
        self.rate = rate
        self._generator = generator

    def __call__(self, x: Tensor) -> Tensor:
        """Return x with some values set to zero and the others scaled, in x's shape."""
        keep = torch.empty_like(x).bernoulli_(1 - self.rate, generator=self._generator)
        return x * keep.div_(1 - self.rate)


class LSTMStack(nn.Module):
    """A stack of unidirectional LSTM layers (Peters et al. 2018, section 3.1).

    Each layer is an LSTM with projection (Sak et al. 2014):
        i, f, g, o = W_ih x_t + W_hh h_{t-1} + b
        c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)       clipped to +-cell_clip
        h_t = W_hr (sigmoid(o) * tanh(c_t))                     clipped to +-proj_clip
    From the second layer on, the layer's input is added to its output (not to its state).

    Shapes: (B, T, P) -> (B, T, P) for each layer. Stateless: every sentence starts from zero states. Later
    positions cannot influence earlier ones, so padding on the right needs no packing.
    """

    def __init__(self, config: BiLMConfig):
        super().__init__()
        width, hidden = config.projection_dim, config.hidden_size
        self.skip = config.use_skip_connections
        self.cell_clip = config.cell_clip
        self.proj_clip = config.proj_clip
        self.layers = nn.ModuleList(_layer(width, hidden) for _ in range(config.n_layers))

    def forward(
        self,
        x: Tensor,
        *,
        dropout: Dropout | None = None,
        dtype: torch.dtype | None = None,
        use_fused_kernels: bool = False,
        lengths: Tensor | None = None,
    ) -> list[Tensor]:
        """Return the output of each layer, (B, T, P).

        Args:
            x: (B, T, P), embeddings in the order of the direction.
            dropout: Dropout on the input of every layer.
            dtype: Type of the products; None: that of x. The weights keep theirs.
            use_fused_kernels: Use the Triton kernels on a GPU, which are faster than cuDNN in CUDA graphs.
            lengths: (B,), units of each row to compute; the output after them is undefined. None: all.
        """
        outputs = []
        native = self.cell_clip is None and self.proj_clip is None and trains(x, dtype)
        if native:
            sizes = rows_by_step(
                x.new_full((len(x),), x.shape[1]) if lengths is None else lengths, x.shape[1]
            )
        for depth, layer in enumerate(self.layers):
            x_in = x if dropout is None else dropout(x)
            if native:
                y = NativeLayer.apply(
                    x_in, *_cell(dict(layer.named_parameters())), sizes, dtype == torch.bfloat16
                )
            else:
                y = self._lstm_layer(layer, x_in, dtype, use_fused_kernels)
            x = x + y if self.skip and depth else y
            outputs.append(x)
        return outputs

    def _lstm_layer(
        self, layer: nn.Module, x: Tensor, dtype: torch.dtype | None, use_fused_kernels: bool
    ) -> Tensor:
        weights = {name: p if dtype is None else p.to(dtype) for name, p in layer.named_parameters()}
        x = x if dtype is None else x.to(dtype)
        if self.cell_clip is not None or self.proj_clip is not None:
            return lstm_with_clipping(x, weights, self.cell_clip, self.proj_clip)
        by_cudnn = x.is_cuda and not use_fused_kernels and cudnn_supports_lstm(x.dtype)
        by_cudnn = by_cudnn and (layer.training or not torch.is_grad_enabled())  # it has no gradients else
        if fused_ops_for(x) is not None and not by_cudnn:
            y: Tensor = LSTMFunction.apply(x.transpose(0, 1), *_cell(weights))
            return y.transpose(0, 1)
        with no_tf32() if x.is_cuda else nullcontext():
            y = functional_call(layer, weights, (x,))[0]
        return y


def _cell(weights: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return W_ih, W_hh, the sum of both biases, and W_hr of an nn.LSTM of one layer.

    W_hr is None without a projection.
    """
    bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
    return weights["weight_ih_l0"], weights["weight_hh_l0"], bias, weights.get("weight_hr_l0")


def _layer(width: int, hidden: int) -> nn.LSTM:
    layer = nn.LSTM(width, hidden, proj_size=width if width < hidden else 0, batch_first=True)
    biases = dict(layer.named_parameters())
    nn.init.zeros_(biases["bias_ih_l0"])
    nn.init.ones_(biases["bias_ih_l0"][hidden : 2 * hidden])  # the forget gate (Jozefowicz et al. 2015)
    nn.init.zeros_(biases["bias_hh_l0"])
    biases["bias_hh_l0"].requires_grad_(False)  # redundant: cuDNN needs two biases
    return layer


def lstm_with_clipping(
    x: Tensor, weights: dict[str, Tensor], cell_clip: float | None, proj_clip: float | None
) -> Tensor:
    """Compute a layer step by step, with the clips that nn.LSTM lacks.

    x: (B, T, P); weights: the parameters of an nn.LSTM of one layer, by name. Returns (B, T, P).
    """
    gates_x = F.linear(x, weights["weight_ih_l0"], weights["bias_ih_l0"] + weights["bias_hh_l0"])
    w_hh, w_hr = weights["weight_hh_l0"], weights.get("weight_hr_l0")
    h = x.new_zeros(x.shape[0], w_hh.shape[1])  # (B, P)
    c = x.new_zeros(x.shape[0], w_hh.shape[0] // 4)  # (B, H)
    outputs = []
    for step in gates_x.unbind(1):  # (B, 4H); unbind: indexing is several times slower under autograd
        h, c = lstm_cell(step + F.linear(h, w_hh), c, w_hr, cell_clip, proj_clip)
        outputs.append(h)
    return torch.stack(outputs, 1)


def lstm_cell(
    gates: Tensor, c: Tensor, w_hr: Tensor | None, cell_clip: float | None, proj_clip: float | None
) -> tuple[Tensor, Tensor]:
    """Compute one step of a layer; return h (B, P) and c (B, H).

    gates: (B, 4H) before their non-linearities; c: (B, H); w_hr: (P, H), None without a projection.
    """
    i, f, g, o = gates.chunk(4, 1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    if cell_clip is not None:
        c = c.clamp(-cell_clip, cell_clip)
    h = torch.sigmoid(o) * torch.tanh(c)
    if w_hr is not None:
        h = F.linear(h, w_hr)
    if proj_clip is not None:
        h = h.clamp(-proj_clip, proj_clip)
    return h, c


def reverse_padded(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse each sentence within its own length; the padding stays where it is.

    x: (B, T, ...); lengths: (B,). Its own inverse.
    """
    steps = torch.arange(x.shape[1], device=x.device)[None]  # (1, T)
    last = lengths[:, None] - 1
    index = torch.where(steps <= last, last - steps, steps)  # (B, T)
    return x[torch.arange(x.shape[0], device=x.device)[:, None], index]
