"""The component "elmo": runs the frozen biLM and leaves its layers on the Doc, where listeners read them."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import srsly
from spacy import util
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer

from ..bilm import store
from .bilm_layer import shim_of
from .cache import ActivationCache
from .disk_cache import DiskShelf
from .errors import named_in_config
from .listener import link, listens_to
from .output import means_of, register_extension, set_layers, set_static
from .products import hasten
from .static import static_of

DEFAULT_CONFIG = {
    "model": {"@architectures": "spacy-elmo.BiLM.v1", "path": None, "precision": "auto"},
    "set_tensor": True,
    "cache_mb": 512,
    "cache_dir": None,
}


@Language.factory("elmo", assigns=["doc._.elmo", "doc.tensor"], default_config=DEFAULT_CONFIG)
def make_elmo(
    nlp: Language, name: str, model: Model, set_tensor: bool, cache_mb: int, cache_dir: str | None
) -> "Elmo":
    """The factory "elmo".

    model: a spacy-elmo.BiLM.v1. set_tensor: also set `doc.tensor` to the mean of the layers where nothing
    else has set it, so that `token.vector` and `doc.vector` are contextual. cache_mb: megabytes of vectors
    (2 * L * D bytes a unit in bf16, twice that in f32) that are kept from epoch to epoch while consumers are
    trained; 0: none. cache_dir: a folder to keep them in, for later trainings, too; None: in memory.
    """
    return Elmo(
        nlp.vocab,
        model,
        name=name,
        set_tensor=set_tensor,
        cache_mb=cache_mb,
        cache_dir=cache_dir,
        segmenter=segmenter_of(nlp),
    )


def segmenter_of(nlp: Language) -> str:
    """What cuts words in a pipeline: "char", "jieba" or "pkuseg" in Chinese, else the tokenizer's class."""
    segmenter = getattr(nlp.tokenizer, "segmenter", None)
    return str(getattr(segmenter, "value", segmenter) or type(nlp.tokenizer).__name__)


class Elmo(TrainablePipe):
    """Sets `doc._.<name>` (see pipeline.output) and, unless `set_tensor` is False, an empty `doc.tensor`.

    Frozen by itself: it is not trainable, and in training an update only annotates, so that it need be in
    neither `frozen_components` nor `annotating_components`.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        *,
        name: str = "elmo",
        set_tensor: bool = True,
        cache_mb: int = 512,
        cache_dir: str | Path | None = None,
        segmenter: str | None = None,
    ):
        self.vocab = vocab
        self.model = model
        self.name = name
        self.cfg: dict[str, Any] = {}
        self.set_tensor = set_tensor
        self.cache_mb = cache_mb
        self.cache_dir = cache_dir
        self.segmenter = segmenter
        self.listener_map: dict[str, list[Model]] = {}
        self._segmenter_checked = False
        shim_of(model)  # raises for a model of another kind
        register_extension(name)

    # --- Prediction ---

    def predict(self, docs: Iterable[Doc]) -> list[np.ndarray]:
        """The layers of each Doc's tokens, (L, n_tokens, D) float32."""
        self._check_segmenter()
        return self.model.predict(list(docs))

    def set_annotations(self, docs: Iterable[Doc], scores: Sequence[np.ndarray]) -> None:
        """Leave the layers on the docs."""
        register_extension(self.name)  # the component may have been renamed
        bilm = shim_of(self.model).bilm
        docs = list(docs)
        for doc, layers in zip(docs, scores, strict=True):
            set_layers(doc, layers, name=self.name)
            set_static(doc, static_of(bilm, doc), name=self.name)
        # A tensor that is there belongs to another component, whose listeners read it.
        pairs = zip(docs, scores, strict=True)
        free = [(doc, layers) for doc, layers in pairs if self.set_tensor and doc.tensor.size == 0]
        for (doc, _), mean in zip(free, means_of([layers for _, layers in free]), strict=True):
            doc.tensor = self.model.ops.asarray(mean)  # type: ignore[arg-type, assignment]

    def _check_segmenter(self) -> None:
        """Warn once when a biLM of words meets words of another segmenter than its own."""
        if self._segmenter_checked:
            return
        self._segmenter_checked = True
        config = shim_of(self.model).bilm.config
        kind = config.segmenter.partition(":")[0]  # of "pkuseg:MODEL"
        if config.units == "word" and self.segmenter and self.segmenter != kind:
            warnings.warn(
                f'The model of "{self.name}" knows words as "{config.segmenter}" cuts them, but this '
                f'pipeline cuts them with "{self.segmenter}": use that segmenter or a model of characters.',
                stacklevel=2,
            )

    # --- Training ---

    @property
    def is_trainable(self) -> bool:
        """False: no column in the training log, no optimizer steps."""
        return False

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        path: str | Path | None = None,
    ) -> None:
        """Load the weights. path: a model folder in place of the model's own (section [initialize])."""
        if path is not None:
            with named_in_config():
                shim_of(self.model).bilm = store.load(path)
        self.model.initialize()
        if nlp is not None:
            self.segmenter = segmenter_of(nlp)
        self._weights_changed()

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Annotate the predicted docs, for the listeners that are updated next; nothing is learnt here."""
        examples = list(examples)
        validate_examples(examples, "Elmo.update")
        shim = shim_of(self.model)
        if shim.cache is None and self.cache_mb > 0:
            shim.cache = self._make_cache()  # a training begins: its epochs are alike
        docs = [example.predicted for example in examples]
        self.set_annotations(docs, self.predict(docs))
        return {} if losses is None else losses

    def _make_cache(self) -> ActivationCache:
        shim = shim_of(self.model)
        shelf = None
        if self.cache_dir is not None:
            shape = (shim.bilm.n_layers, shim.bilm.width)
            shelf = DiskShelf(Path(self.cache_dir) / shim.fingerprint(), shape, half=shim.half)
        return ActivationCache(self.cache_mb * 2**20, half=shim.half, shelf=shelf)

    def finish_update(self, sgd: Optimizer) -> None:
        """Frozen: nothing to update."""

    # --- Listeners: spaCy's protocol ListenedToComponent, see docs/pipeline.md ---

    @property
    def listeners(self) -> list[Model]:
        """The layers that listen to this component."""
        return [listener for listeners in self.listener_map.values() for listener in listeners]

    @property
    def listening_components(self) -> list[str]:
        """Names of the components that these layers are parts of."""
        return list(self.listener_map)

    def find_listeners(self, component: Any) -> None:
        """Add the listeners in a component further down, whose products are hastened (pipeline.products).

        spaCy calls it whenever the pipeline changes.
        """
        if not isinstance(getattr(component, "model", None), Model):
            return
        listeners = [node for node in component.model.walk() if listens_to(node, self.name)]
        for listener in listeners:
            self.add_listener(listener, component.name)
        if listeners:
            hasten(component.model, shim_of(self.model).precision)

    def add_listener(self, listener: Model, component_name: str) -> None:
        """Add a listener, and tell it who it listens to and how wide the vectors are."""
        listeners = self.listener_map.setdefault(component_name, [])
        if not any(known is listener for known in listeners):
            listeners.append(listener)
        config = shim_of(self.model).config
        sizes = (config.total_layers, config.width, config.static_dim) if config else (None, None, None)
        link(listener, self.name, component_name, *sizes)

    def remove_listener(self, listener: Model, component_name: str) -> bool:
        """Forget a listener. Returns whether it was known."""
        listeners = self.listener_map.get(component_name, [])
        kept = [known for known in listeners if known is not listener]
        if kept:
            self.listener_map[component_name] = kept
        else:
            self.listener_map.pop(component_name, None)
        return len(kept) < len(listeners)

    def _weights_changed(self) -> None:
        self._segmenter_checked = False
        for component_name, listeners in list(self.listener_map.items()):
            for listener in listeners:
                self.add_listener(listener, component_name)

    # --- Serialization: the weights are a model folder of their own ---

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Write the component, its weights as the model folder `path`/model."""
        serialize = {
            "cfg": lambda p: srsly.write_json(p, self.cfg),
            "vocab": lambda p: self.vocab.to_disk(p, exclude=exclude),
            "model": lambda p: shim_of(self.model).bilm.save(p),
        }
        util.to_disk(path, serialize, exclude)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "Elmo":
        """Read what to_disk wrote. Raises a ModelFolderError for a missing or damaged model."""
        deserialize: dict[str, Callable[[Path], Any]] = {
            "cfg": lambda p: self.cfg.update(srsly.read_json(p)),
            "vocab": lambda p: self.vocab.from_disk(p, exclude=exclude),
            "model": lambda p: setattr(shim_of(self.model), "bilm", store.load(p)),
        }
        util.from_disk(path, deserialize, exclude)
        self._weights_changed()
        return self

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> "Elmo":
        """Read what to_bytes wrote."""
        super().from_bytes(bytes_data, exclude=exclude)
        self._weights_changed()
        return self
