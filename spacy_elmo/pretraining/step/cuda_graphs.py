"""Steps of training on a GPU, recorded once for each shape of batch and played again (CUDA graphs).

The operations of an LSTM's step are short: to start thousands of them from Python takes longer than they do.
A graph starts all of them at once, on the same tensors each time.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ...kernels.cudnn import no_tf32
from ...kernels.fused_ops import fused_ops_for
from ...modeling.loss import LMLoss, count_targets
from ...modeling.token_encoder import TokenBatch
from .train_step import TrainStep, accumulate

MAX_GRAPHS = 256  # graphs that are kept

T = TypeVar("T")


class StreamParallelMap:
    """map over two directions, with a stream of the GPU for each.

    No method of CUDAGraphTrainStep: its graphs would be part of a cycle, which Python frees when it likes,
    and while another is recorded that is an error.
    """

    def __init__(self, device: torch.device):
        self._streams = [torch.cuda.Stream(device) for _ in range(2)]

    def __call__(self, function: Callable[..., T], *lists: Iterable) -> list[T]:
        here, results = torch.cuda.current_stream(), []
        for stream, *arguments in zip(self._streams, *lists, strict=True):
            stream.wait_stream(here)
            with torch.cuda.stream(stream):
                results.append(function(*arguments))
        for stream in self._streams:
            here.wait_stream(stream)
        return results


class CUDAGraphTrainStep:
    """Does what a TrainStep does, with the directions side by side, on batches that are padded a little.

    The first batch of all is computed operation by operation, which loads and tunes what is needed.
    """

    runs_directions_in_threads = False

    def __init__(self, plain: TrainStep):
        """plain: it computes and is recorded; directions are side by side there too from now on."""
        self.bilm = plain.bilm
        self.plain, self.n_threads = plain, plain.n_threads
        device = plain.bilm.device
        self._stream = torch.cuda.Stream(device)
        plain.use_fused_kernels, plain.map_directions = True, StreamParallelMap(device)
        self._memory = torch.cuda.graph_pool_handle()  # shared: graphs run one after another
        self._graphs: dict[tuple[int, ...], tuple[TokenBatch, torch.cuda.CUDAGraph]] = {}
        self._sums = torch.zeros(2, device=device)
        self._gradients: dict[Tensor, Tensor] = {}  # of parameters, where every graph writes them

    def __call__(self, batch: TokenBatch, seed: int) -> LMLoss:
        """See TrainStep."""
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
        return LMLoss(self._sums.clone(), n)

    def _replay(self, batch: TokenBatch) -> None:
        shape = tuple(batch.input_ids.shape)
        if shape not in self._graphs:
            if len(self._graphs) == MAX_GRAPHS:
                self._graphs.clear()
            self._graphs[shape] = batch, self._capture(batch)
        own, graph = self._graphs[shape]
        for to, source in zip(vars(own).values(), vars(batch).values(), strict=True):
            if to is not source:
                to.copy_(source)
        graph.replay()

    def _capture(self, batch: TokenBatch) -> torch.cuda.CUDAGraph:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # nothing can be given back while a graph is recorded
        graph = torch.cuda.CUDAGraph()
        for generator in self.plain.generators:
            graph.register_generator_state(generator)
        graph.capture_begin(pool=self._memory, capture_error_mode="thread_local")
        try:
            self._compute(batch)
        except BaseException:
            with suppress(RuntimeError):  # it says that there is no graph
                graph.capture_end()
            raise
        graph.capture_end()
        return graph

    def _compute(self, batch: TokenBatch) -> None:
        """Fill the sums and gradients."""
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
    """With sentences and units of padding up to a round number of each, at most a sixteenth more."""
    rows, length = batch.input_ids.shape
    more = (0, _round(length) - length, 0, _round(rows) - rows)
    ngrams = None if batch.ngram_ids is None else F.pad(batch.ngram_ids, (0, 0, *more))
    return TokenBatch(F.pad(batch.input_ids, more), F.pad(batch.lengths, more[2:]), ngram_ids=ngrams)


def _round(n: int) -> int:
    unit = 1 << max(0, n.bit_length() - 5)
    return -(-n // unit) * unit


def with_cuda_graphs(step: TrainStep) -> TrainStep | CUDAGraphTrainStep:
    """The step, recorded where that is possible."""
    bilm = step.bilm
    if bilm.device.type != "cuda" or not step.has_static_shapes:
        return step
    recordable = fused_ops_for(bilm.softmax_bias) is not None and hasattr(
        torch.cuda.CUDAGraph, "register_generator_state"
    )
    return CUDAGraphTrainStep(step) if recordable else step
