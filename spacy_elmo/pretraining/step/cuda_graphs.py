"""Record training steps on a GPU as CUDA graphs, one for each batch shape, and replay them.

The operations of an LSTM step are so short that launching thousands of them from Python takes longer than
running them. A graph launches all of them together, on the same tensors each time.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...kernels.cudnn import no_tf32
from ...kernels.fused_ops import fused_ops_for
from ...modeling.loss import count_targets
from ...modeling.token_encoder import TokenBatch
from .train_step import StepLoss, TrainStep, accumulate

MAX_GRAPHS = 256  # graphs to keep

T = TypeVar("T")


class StreamParallelMap:
    """`map` over two directions, with one CUDA stream for each.

    A separate class, not a method of CUDAGraphTrainStep: a bound method would create a reference cycle, and
    CUDA graphs that the garbage collector frees during another capture raise an error.
    """

    def __init__(self, device: torch.device):
        self._streams = [torch.cuda.Stream(device) for _ in range(2)]

    def __call__(self, function: Callable[..., T], *lists: Iterable[Any]) -> list[T]:
        """Return the results of `function` for both directions."""
        here, results = torch.cuda.current_stream(), []
        for stream, *arguments in zip(self._streams, *lists, strict=True):
            stream.wait_stream(here)
            with torch.cuda.stream(stream):
                results.append(function(*arguments))
        for stream in self._streams:
            here.wait_stream(stream)
        return results


class CUDAGraphTrainStep:
    """TrainStep with parallel directions, on batches that are padded to few shapes.

    The first batch is computed without a graph, which loads and tunes the kernels.

    Args:
        plain: The step to record. From now on it computes the directions in parallel, too.
    """

    runs_directions_in_threads = False
    label_head = None  # a graph has buffers for the losses of both directions alone

    def __init__(self, plain: TrainStep):
        """Set up the streams and the shared memory of the graphs."""
        self.bilm = plain.bilm
        self.plain, self.n_threads = plain, plain.n_threads
        device = plain.bilm.device
        self._stream = torch.cuda.Stream(device)
        plain.use_fused_kernels, plain.map_directions = True, StreamParallelMap(device)
        self._memory = torch.cuda.graph_pool_handle()  # shared, because graphs run one after another
        self._graphs: dict[tuple[int, ...], tuple[TokenBatch, torch.cuda.CUDAGraph]] = {}
        self._sums = torch.zeros(2, device=device)
        self._gradients: dict[Tensor, Tensor] = {}  # parameter -> buffer into which every graph writes

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Parameters of the biLM."""
        return self.plain.parameters

    def __call__(self, batch: TokenBatch, seed: int) -> StepLoss:
        """Add the gradients of a batch to the parameters, see TrainStep."""
        n = count_targets(batch)
        batch = pad_to_bucket(batch).to(self.bilm.device)
        here = torch.cuda.current_stream()
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream), no_tf32():
            self.plain.seed(seed)
            if self._gradients:
                self._replay(batch)
            else:
                self._compute(batch)
        here.wait_stream(self._stream)
        accumulate(self._gradients.items())
        return StepLoss(self._sums.clone(), n)

    def _replay(self, batch: TokenBatch) -> None:
        shape = tuple(batch.input_ids.shape)
        if shape not in self._graphs:
            if len(self._graphs) == MAX_GRAPHS:
                self._graphs.clear()
            self._graphs[shape] = batch, self._capture(batch)
        inputs, graph = self._graphs[shape]
        for to, source in zip(vars(inputs).values(), vars(batch).values(), strict=True):
            if to is not source:
                to.copy_(source)
        graph.replay()

    def _capture(self, batch: TokenBatch) -> torch.cuda.CUDAGraph:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # memory cannot be freed during a capture
        graph = torch.cuda.CUDAGraph()
        for generator in self.plain.generators:
            graph.register_generator_state(generator)
        graph.capture_begin(pool=self._memory, capture_error_mode="thread_local")
        try:
            self._compute(batch)
        except BaseException:
            with suppress(RuntimeError):  # raised because there is no graph
                graph.capture_end()
            raise
        graph.capture_end()
        return graph

    def _compute(self, batch: TokenBatch) -> None:
        """Fill the buffers of sums and gradients."""
        sums, gradients = self.plain.loss_and_grads(batch, 0)
        with torch.no_grad():
            self._sums.copy_(sums)
            filled = set()
            for parameter, gradient in gradients:
                if parameter not in self._gradients:
                    self._gradients[parameter] = torch.empty_like(parameter)
                if parameter in filled:
                    self._gradients[parameter].add_(gradient)
                else:
                    self._gradients[parameter].copy_(gradient)
                    filled.add(parameter)


def pad_to_bucket(batch: TokenBatch) -> TokenBatch:
    """Pad the number of sentences and of units to rounded values, at most a sixteenth more."""
    rows, length = batch.input_ids.shape
    more = (0, _round(length) - length, 0, _round(rows) - rows)
    ngrams = None if batch.ngram_ids is None else F.pad(batch.ngram_ids, (0, 0, *more))
    return TokenBatch(F.pad(batch.input_ids, more), F.pad(batch.lengths, more[2:]), ngram_ids=ngrams)


def _round(n: int) -> int:
    unit = 1 << max(0, n.bit_length() - 5)
    return -(-n // unit) * unit


def with_cuda_graphs(step: TrainStep) -> TrainStep | CUDAGraphTrainStep:
    """Return the step, recorded as CUDA graphs if possible."""
    bilm = step.bilm
    if bilm.device.type != "cuda" or not step.has_static_shapes or step.label_head is not None:
        return step
    recordable = fused_ops_for(bilm.softmax_bias) is not None and hasattr(
        torch.cuda.CUDAGraph, "register_generator_state"
    )
    return CUDAGraphTrainStep(step) if recordable else step
