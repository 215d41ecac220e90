"""Wrap the reader's network as a thinc layer: Batch -> SpanScores, with vectors from other thinc layers."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from thinc.api import Model, get_torch_default_device, torch2xp, xp2torch

from ...kernels.precision import resolve_compute_dtype
from .features import Batch, char_rows_of, fold, match_features, pad_char_ids, pad_vectors
from .network import BiDAF, BiDAFConfig, Sequences, SpanScores
from .shim import NetworkShim

NAME = "bidaf"
INPUT = "tok2vec"  # names of the layers that provide vectors
OUTPUT = "output_tok2vec"
BOTH_ENDS = "both-ends"
SIZES = ("char_dim", "hidden_size", "n_highway", "modeling_layers", "end_layers")


def BothEnds(tok2vec: Model[Any, Any], elmo: Model[Any, Any]) -> Model[Any, Any]:
    """Create a container of the two layers of a BiDAFLayer. The container itself cannot run."""
    return Model(BOTH_ENDS, _refuse, layers=[tok2vec, elmo])


def BiDAFLayer(
    tok2vec: Model[Any, Any] | None, *, max_grad_norm: float = 5.0, **sizes: int
) -> Model[Batch, SpanScores]:
    """Create the layer Batch -> SpanScores of its pairs, as arrays.

    tok2vec: List[Doc] -> List[Floats2d] for passages and questions, at the input; or a BothEnds, whose second
    layer provides vectors of the passages after the modelling layer. None: no vectors. sizes: see
    BiDAFConfig.
    """
    at_input, at_output = tok2vec, None
    if tok2vec is not None and tok2vec.name == BOTH_ENDS:
        at_input, at_output = tok2vec.layers
    return Model(
        NAME,
        forward,
        init=init,
        layers=[] if tok2vec is None else [tok2vec],
        refs={INPUT: at_input, OUTPUT: at_output},
        attrs={"dropout_rate": 0.0, "characters": "", **sizes},
        shims=[NetworkShim(max_grad_norm=max_grad_norm)],
    )


def forward(model: Model[Any, Any], batch: Batch, is_train: bool) -> tuple[SpanScores, Callable[..., Any]]:
    """Return the scores of the pairs, and the backprop function."""
    shim = get_shim(model)
    network = shim.network.train(is_train)
    vectors, backprop_input = _run(model, INPUT, [*batch.passages, *batch.questions], is_train)
    output, backprop_output = _run(model, OUTPUT, batch.passages, is_train)
    inputs = _Inputs(model, batch, vectors, output)
    device = inputs.device
    with (
        torch.set_grad_enabled(is_train),
        torch.autocast("cpu", torch.bfloat16, enabled=is_train and _trains_in_bf16(device)),
    ):
        scores = network(*inputs.args(is_train), dropout=model.attrs["dropout_rate"])
    scores = SpanScores(*(side.float() for side in scores))

    def backprop(d_scores: SpanScores) -> list[Any]:
        torch.autograd.backward(list(scores), [xp2torch(d, device=scores[0].device) for d in d_scores])
        if vectors is not None:
            backprop_input([model.ops.asarray(d) for d in inputs.input_grads()])
        if output is not None:
            backprop_output([model.ops.asarray(d) for d in inputs.output_grads()])
        return []

    return SpanScores(*(torch2xp(s.detach()) for s in scores)), backprop


def init(model: Model[Any, Any], X: Batch | None = None, Y: Any = None) -> None:
    """Initialize the layers that provide vectors, then create a network for their widths.

    Its weights come from torch's generator, which spaCy seeds. A second initialization makes a new network.
    """
    docs = None if X is None else [*X.passages, *X.questions]
    widths = {INPUT: 0, OUTPUT: 0}
    for name in widths:
        layer = model.maybe_get_ref(name)
        if layer is not None:
            layer.initialize(X=docs)
            widths[name] = layer.get_dim("nO")
    config = BiDAFConfig(
        characters=model.attrs["characters"],
        input_dim=widths[INPUT],
        output_dim=widths[OUTPUT],
        **{size: model.attrs[size] for size in SIZES},
    )
    get_shim(model).network = BiDAF(config)


def attention_map(model: Model[Any, Any], batch: Batch) -> np.ndarray:
    """Return the attention (T, U) of the only window and question of a batch, see BiDAF.attention_map."""
    vectors, _ = _run(model, INPUT, [*batch.passages, *batch.questions], False)
    inputs = _Inputs(model, batch, vectors, None)
    network = get_shim(model).network.eval()
    with torch.no_grad():
        return network.attention_map(inputs.windows, inputs.questions).cpu().numpy()


def get_shim(model: Model[Any, Any]) -> NetworkShim:
    """Return the shim of the network. Raises a ValueError for another layer."""
    if len(model.shims) != 1 or not isinstance(model.shims[0], NetworkShim):
        raise ValueError(
            f'"{model.name}" is not a reader\'s model: use @architectures = "spacy-elmo.BiDAF.v1".'
        )
    return model.shims[0]


def _run(
    model: Model[Any, Any], name: str, docs: Sequence[Any], is_train: bool
) -> tuple[list[Any] | None, Callable[..., Any]]:
    """Return the vectors of Docs, (n, D) each, from the layer with that name; None without such a layer."""
    layer = model.maybe_get_ref(name)
    if layer is None:
        return None, list
    vectors, backprop = layer(docs, is_train)
    return [model.ops.to_numpy(v) for v in vectors], backprop


def _refuse(model: Model[Any, Any], X: Any, is_train: bool) -> Any:
    raise ValueError('A "spacy-elmo.BothEnds.v1" is the tok2vec of a "spacy-elmo.BiDAF.v1", nothing else.')


class _Inputs:
    """Arguments of the network for a batch, and the gradients of the Docs' vectors."""

    def __init__(
        self, model: Model[Any, Any], batch: Batch, vectors: list[Any] | None, output: list[Any] | None
    ):
        self._batch = batch
        self._vectors = vectors
        self._output = output
        self.device = get_torch_default_device() if model.ops.device_type != "cpu" else torch.device("cpu")
        rows = char_rows_of(get_shim(model).network.config.characters)
        n = len(batch.passages)
        passages = [fold(text) for text in batch.passage_texts]
        questions = [fold(text) for text in batch.question_texts]
        texts = [passages[i][start:end] for i, start, end in batch.windows]
        self.windows = self._sequences(texts, rows, None if vectors is None else self._slices(vectors))
        self.questions = self._sequences(questions, rows, None if vectors is None else vectors[n:])
        self._output_vectors = None if output is None else self._tensor(pad_vectors(self._slices(output)))
        self._matches = self._tensor(
            pad_vectors([match_features(texts[w], questions[q]) for w, q in batch.pairs])
        )

    def args(self, is_train: bool) -> tuple[Any, ...]:
        """Return the arguments; in training, the vectors collect gradients."""
        for tensor in (self.windows.vectors, self.questions.vectors, self._output_vectors):
            if tensor is not None:
                tensor.requires_grad_(is_train)
        pairs = torch.tensor(self._batch.pairs, dtype=torch.int64, device=self.device)
        return self.windows, self.questions, pairs, self._matches, self._output_vectors

    def input_grads(self) -> list[Any]:
        """Return the gradients of the vectors of passages and questions, (n, D) each."""
        assert self._vectors is not None
        n = len(self._batch.passages)
        grads = self._window_grads(self._vectors[:n], self.windows.vectors)
        question_grads = _grad(self.questions.vectors)
        for vectors, grad in zip(self._vectors[n:], question_grads, strict=True):
            grads.append(grad[: len(vectors)])
        return grads

    def output_grads(self) -> list[Any]:
        """Return the gradients of the passages' vectors after the modelling layer, (n, D) each."""
        assert self._output is not None
        return self._window_grads(self._output, self._output_vectors)

    def _window_grads(self, vectors: Sequence[Any], tensor: torch.Tensor | None) -> list[Any]:
        grads = [np.zeros_like(v) for v in vectors]
        for (i, start, end), grad in zip(self._batch.windows, _grad(tensor), strict=True):
            grads[i][start:end] += grad[: end - start]
        return grads

    def _slices(self, vectors: Sequence[Any]) -> list[Any]:
        return [vectors[i][start:end] for i, start, end in self._batch.windows]

    def _sequences(
        self, texts: Sequence[str], rows: dict[str, int], vectors: Sequence[Any] | None
    ) -> Sequences:
        ids = torch.from_numpy(pad_char_ids(texts, rows)).to(self.device)
        lengths = torch.tensor([len(text) for text in texts])
        return Sequences(ids, lengths, None if vectors is None else self._tensor(pad_vectors(vectors)))

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)


def _trains_in_bf16(device: torch.device) -> bool:
    """Return whether training uses bfloat16 products: on a CPU that supports them.

    Predictions use float32.
    """
    return device.type == "cpu" and resolve_compute_dtype("auto", device) == torch.bfloat16


def _grad(tensor: torch.Tensor | None) -> np.ndarray:
    assert tensor is not None
    assert tensor.grad is not None
    return tensor.grad.cpu().numpy()
