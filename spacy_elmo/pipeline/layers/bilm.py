"""Wrap the torch biLM as a thinc layer: frozen by default, loaded at first use, saved as safetensors."""

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from spacy.attrs import IDX, LENGTH
from spacy.tokens import Doc
from thinc.api import Model, Shim, get_torch_default_device

from ...about import __version__
from ...atomic_io import PathLike
from ...batching import minibatch_by_size
from ...inference import loading
from ...inference.backends import available_backends
from ...inference.bilm import BiLM
from ...inference.encode import compute_dtype_of
from ...kernels.binding import library_digest
from ...kernels.precision import Precision, check_precision
from ...locks import ForkSafeLock, run_in_children
from ...modeling.config import BiLMConfig
from ...syscalls import release_freed_memory
from ..annotations.alignment import Alignment, align_characters, align_words, token_layers
from .activation_cache import ActivationCache
from .errors import as_config_error
from .fine_tuning import averaged_weights, layers_with_gradient, update_weights
from .shared_outputs import SharedOutputs

MAX_UNITS_IN_FLIGHT = (
    8192  # units of texts whose states are in memory together: 50 MB, which the next texts reuse
)


class BiLMShim(Shim):
    """Shim that holds the biLM, so that thinc's to_bytes, from_bytes, copy and pickle work on it.

    The weights are read at first use: a pipeline that brings its own weights must not read others first,
    since the path belongs to the machine where the pipeline was saved. A wrong path raises an error at first
    use, including `nlp.initialize()`.

    Args:
        path: A model folder; None: the bundled model.
        bilm: A loaded biLM, instead of a path.
        precision: See BiLM.encode.
        learn_rate_factor: Factor of the learning rate for the weights; 0: the biLM is frozen.
    """

    _model: BiLM | None

    def __init__(
        self,
        path: PathLike | None = None,
        bilm: BiLM | None = None,
        precision: Precision = "auto",
        learn_rate_factor: float = 0.0,
    ):
        super().__init__(bilm)
        check_precision(precision)
        self.path = path
        self.precision = precision
        self.learn_rate_factor = learn_rate_factor
        self._loading = ForkSafeLock()
        self.cache: ActivationCache | None = None  # set by the component when a training begins
        # Set by pipeline.replace_listeners where two readers share the biLM.
        self.shared_outputs: SharedOutputs | None = None

    @property
    def frozen(self) -> bool:
        """Whether training leaves the weights unchanged."""
        return self.learn_rate_factor == 0.0

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory."""
        return self._model is not None

    @property
    def bilm(self) -> BiLM:
        """The biLM, loaded at first access. Raises a ModelFolderError."""
        if self._model is None:
            with self._loading:
                if self._model is None:  # another thread may have loaded it meanwhile
                    with as_config_error():
                        self.bilm = loading.load(self.path)
        return cast(BiLM, self._model)

    @bilm.setter
    def bilm(self, bilm: BiLM) -> None:
        run_in_children(_use_one_thread)
        self.end_cache()
        self.shared_outputs = None if self.shared_outputs is None else SharedOutputs()
        self._model = bilm.to(get_torch_default_device()).eval().requires_grad_(not self.frozen)

    def end_cache(self) -> None:
        """End the cache of a training and close its files."""
        cache, self.cache = self.cache, None
        if cache is not None:
            cache.close()
            release_freed_memory()  # up to `cache_mb`, in small blocks

    @property
    def rounds_to_fp16(self) -> bool:
        """Whether the layers are rounded to half precision, see BiLM.encode."""
        return compute_dtype_of(self.bilm, self.precision) != torch.float32

    def fingerprint(self) -> str:
        """Return 32 hex digits of all that the vectors depend on, to the last bit.

        These are the weights, the vocabulary, the precision, the backend and its processor, and the versions
        of this package, of torch and of the native kernel.
        """
        device = self.bilm.device
        if device.type == "cpu":
            backend, processor = available_backends()[0], torch.backends.cpu.get_cpu_capability()
        else:
            backend, processor = device.type, torch.cuda.get_device_name(device)
        dtype = str(compute_dtype_of(self.bilm, self.precision))
        versions = __version__, torch.__version__, library_digest()
        digest = hashlib.blake2b(repr((dtype, backend, processor, *versions)).encode(), digest_size=16)
        digest.update(self.to_bytes())
        return digest.hexdigest()

    @property
    def config(self) -> BiLMConfig | None:
        """Sizes of the biLM, without loading the weights; None if its folder cannot be read."""
        if self._model is not None:
            return self._model.config
        try:
            return loading.read_config(self.path)
        except loading.ModelFolderError:
            return None

    def finish_update(self, optimizer: Any) -> None:
        """Update the weights, unless the biLM is frozen."""
        if not self.frozen:
            update_weights(self.bilm, self.id, optimizer, self.learn_rate_factor)

    @contextmanager
    def use_params(self, params: dict[Any, Any]) -> Iterator[None]:
        """Use the averaged weights of an optimizer inside of the block, unless the biLM is frozen."""
        if self.frozen:
            yield
        else:
            with averaged_weights(self.bilm, self.id, params):
                yield

    def to_device(self, device_type: str, device_id: int) -> None:
        """Move the biLM, for thinc's model.to_gpu() and to_cpu()."""
        if self._model is not None:
            self._model.to("cpu" if device_type == "cpu" else f"cuda:{device_id}")

    def to_bytes(self) -> bytes:
        """Return the model folder as bytes, see inference.loading.to_bytes."""
        return loading.to_bytes(self.bilm)

    def from_bytes(self, data: bytes) -> "BiLMShim":
        """Load the biLM from the result of to_bytes."""
        self.bilm = loading.from_bytes(data)
        return self

    def copy(self) -> "BiLMShim":
        """Return a new shim with the same weights, shared if they are frozen; from_bytes replaces them."""
        bilm = self._model if self.frozen else deepcopy(self._model)
        copied = BiLMShim(bilm=bilm, precision=self.precision, learn_rate_factor=self.learn_rate_factor)
        copied.path = self.path
        copied.shared_outputs = None if self.shared_outputs is None else SharedOutputs()
        return copied

    def __deepcopy__(self, memo: dict[str, Any]) -> "BiLMShim":
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        data = None if self._model is None else self.to_bytes()
        return {**self.__dict__, "_model": data, "cache": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        data = state.pop("_model")
        self.__dict__.update(state, _model=None)
        if data is not None:
            self.from_bytes(data)


def BiLMLayer(
    path: PathLike | None = None, precision: Precision = "auto", learn_rate_factor: float = 0.0
) -> Model[Any, Any]:
    """Create the layer List[Doc] -> List[Floats3d (L, n_tokens, D)], on the CPU.

    Its backprop function has a gradient only if the biLM is not frozen. path, precision, learn_rate_factor:
    see BiLMShim.
    """
    shim = BiLMShim(path, precision=precision, learn_rate_factor=learn_rate_factor)
    return Model("elmo-bilm", forward, init=init, shims=[shim])


def forward(
    model: Model[Any, Any], docs: Sequence[Doc], is_train: bool
) -> tuple[list[np.ndarray], Callable[..., Any]]:
    """Return the layers of the docs, and the backprop function, which raises if the biLM is frozen."""
    shim = get_bilm_shim(model)
    bilm = shim.bilm
    alignments = [align_doc(doc, bilm.config) for doc in docs]
    if is_train and not shim.frozen:
        return layers_with_gradient(bilm, alignments)
    encode = partial(bilm.encode, precision=shim.precision)
    cache = shim.cache
    if cache is not None:  # its states are for several calls, so Docs get copies
        read = partial(cache.encode, encode, is_train=is_train)
        layers = _encode_docs(bilm, lambda sentences, out: read(sentences), alignments, False)
        if cache.is_over and not is_train and shim.cache is cache:
            shim.end_cache()  # the training has ended; the pipeline predicts
    else:
        most = MAX_UNITS_IN_FLIGHT if bilm.device.type == "cpu" else sys.maxsize
        some_each = minibatch_by_size(alignments, most, lambda each: 0 if each.is_identity else each.n_units)
        layers = [doc_layers for some in some_each for doc_layers in _encode_docs(bilm, encode, some, True)]

    def backprop(dY: Any) -> list[Doc]:
        raise NotImplementedError("The biLM is frozen and has no gradient: backpropagate only to the mix.")

    return layers, backprop


def _encode_docs(
    bilm: BiLM, encode: Callable[..., Any], alignments: Sequence[Alignment], in_place: bool
) -> list[np.ndarray]:
    """Return the layers of the tokens of each text, (L, n_tokens, D).

    encode: function of sentences and output arrays, called once so that sentences of similar length share a
    batch across texts. in_place: where units are tokens, let the biLM write directly into the Doc's array.
    """
    outputs = [
        np.empty((bilm.n_layers, each.n_tokens, bilm.width), dtype=np.float32)
        if in_place and each.is_identity
        else None
        for each in alignments
    ]
    sentences = [sentence for each in alignments for sentence in each.sentences]
    places: list[np.ndarray | None] = []
    for each, output in zip(alignments, outputs, strict=True):
        places += [None] * len(each.sentences) if output is None else each.output_slices(output)
    states = iter(encode(sentences, out=places))
    by_text = [[next(states) for _ in each.sentences] for each in alignments]
    others = [i for i, output in enumerate(outputs) if output is None]
    pooled = token_layers(
        [alignments[i] for i in others], [by_text[i] for i in others], bilm.n_layers, bilm.width
    )
    rest = iter(pooled)
    return [next(rest) if output is None else output for output in outputs]


def init(model: Model[Any, Any], X: Any = None, Y: Any = None) -> None:
    """Load the biLM."""
    _ = get_bilm_shim(model).bilm


def align_doc(doc: Doc, config: BiLMConfig) -> Alignment:
    """Align the tokens of a Doc with the units of a biLM with this configuration."""
    places = doc.to_array([IDX, LENGTH]).view(np.int64)
    offsets, lengths = places.reshape(-1, 2).T  # the array of an empty Doc is (0,)
    if config.units == "char":
        ends, fold = offsets + lengths, config.fold_fullwidth
        return align_characters(doc.text, offsets, ends, config.max_sentence_length, fold_fullwidth=fold)
    return align_words(doc.text, [token.text for token in doc], offsets, config.max_sentence_length)


def get_bilm_shim(model: Model[Any, Any]) -> BiLMShim:
    """Return the shim of a biLM layer. Raises a ValueError for another layer."""
    if len(model.shims) != 1 or not isinstance(model.shims[0], BiLMShim):
        raise ValueError(f'"{model.name}" is not a biLM: use @architectures = "spacy-elmo.BiLM.v1".')
    return model.shims[0]


def _use_one_thread() -> None:
    """Set torch to one thread in a forked child (`nlp.pipe(n_process=2)`).

    torch's threads do not exist in a forked child, and waiting for them would never end (cf. spaCy issues
    4667 and 6662). The hook is registered with the first biLM of a process, not at import, so that other
    users of torch are not affected.
    """
    torch.set_num_threads(1)
