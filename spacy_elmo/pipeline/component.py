"""The component "elmo": runs the frozen biLM and sets its layers on the Doc, where listeners read them."""

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

from ..inference import loading
from .annotations.doc_tensor import may_set_tensor, set_tensor
from .annotations.doc_vectors import write_vectors
from .annotations.output import mean_layers, register_extension
from .annotations.static_vectors import compute_static_vectors
from .layers.activation_cache import PATIENCE, ActivationCache
from .layers.bilm import get_bilm_shim
from .layers.disk_store import DiskStore
from .layers.errors import as_config_error
from .layers.upstreams import register_upstream
from .listening import ListenedTo
from .membership import free_names, pipeline_of, set_pipeline

ANY_LANGUAGE = {"xx", "mul"}  # spaCy's codes for several languages; converted models have "xx"

DEFAULT_CONFIG = {
    "model": {"@architectures": "spacy-elmo.BiLM.v1", "path": None, "precision": "auto"},
    "set_tensor": True,
    "cache_mb": 512,
    "cache_dir": None,
    "accelerate_listeners": True,
}


@Language.factory("elmo", assigns=["doc._.elmo", "doc.tensor"], default_config=DEFAULT_CONFIG)
def make_elmo(
    nlp: Language,
    name: str,
    model: Model[Any, Any],
    set_tensor: bool,
    cache_mb: int,
    cache_dir: str | None,
    accelerate_listeners: bool,
) -> "Elmo":
    """Create the component "elmo".

    Args:
        nlp: The pipeline.
        name: Name of the component, and of the extension `doc._.<name>`.
        model: A spacy-elmo.BiLM.v1.
        set_tensor: Also set `doc.tensor` to the mean of the layers if no other component has set it, so that
            `token.vector` and `doc.vector` are contextual.
        cache_mb: Megabytes of vectors to cache between epochs while consumers are trained; 0: none. A unit
            takes 2 * L * D bytes in bf16 or int16, twice that in f32.
        cache_dir: Folder for the cache, which later trainings reuse; None: cache in memory.
        accelerate_listeners: Set the thinc backend "onednn" in components that listen, and let the Maxouts of
            their ConcatEmbed, ConcatOutput and MaxoutWindowEncoder predict in the native kernel. Results
            differ by rounding. False: these components compute as thinc does, to the bit.

    Raises:
        ValueError: cache_mb is negative, or another extension has the name.
    """
    elmo = Elmo(
        nlp.vocab,
        model,
        name=name,
        set_tensor=set_tensor,
        cache_mb=cache_mb,
        cache_dir=cache_dir,
        accelerate_listeners=accelerate_listeners,
        segmenter=segmenter_of(nlp),
        lang=nlp.lang,
    )
    set_pipeline(elmo, nlp)
    return elmo


def segmenter_of(nlp: Language) -> str:
    """Return the segmenter of a pipeline: "char", "jieba" or "pkuseg", or the class of the tokenizer."""
    segmenter = getattr(nlp.tokenizer, "segmenter", None)
    return str(getattr(segmenter, "value", segmenter) or type(nlp.tokenizer).__name__)


class Elmo(ListenedTo, TrainablePipe):
    """Component that sets `doc._.<name>` (see annotations.output) and, by default, an empty `doc.tensor`.

    It is frozen: it is not trainable, and an update in training only annotates. Therefore it belongs in
    neither `frozen_components` nor `annotating_components`.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[Any, Any],
        *,
        name: str = "elmo",
        set_tensor: bool = True,
        cache_mb: int = 512,
        cache_dir: str | Path | None = None,
        accelerate_listeners: bool = True,
        segmenter: str | None = None,
        lang: str | None = None,
    ):
        self.vocab = vocab
        self.model = model
        self.name = name
        self.cfg: dict[str, Any] = {}
        self.set_tensor = set_tensor
        self.cache_mb = cache_mb
        self.cache_dir = cache_dir
        self.accelerate_listeners = accelerate_listeners
        self.segmenter = segmenter
        self.lang = lang
        self._pipeline_checked = False
        self._patience = PATIENCE
        ListenedTo.__init__(self)
        if cache_mb < 0:
            raise ValueError(f"cache_mb = {cache_mb} is not a size: give megabytes, or 0 for no cache.")
        if not get_bilm_shim(model).frozen:  # raises for a model of another kind
            raise ValueError(
                f'The biLM of "{name}" serves all components, so it stays frozen: set frozen = true, or '
                "fine-tune a biLM of the task's own, the bilm of spacy-elmo.ElmoTok2Vec.v1."
            )
        register_extension(name)

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        register_upstream(self)  # of the listeners that were copied with it

    # --- Prediction ---

    def predict(self, docs: Iterable[Doc]) -> list[np.ndarray]:
        """Return the layers of each Doc's tokens, (L, n_tokens, D) float32."""
        docs = list(docs)
        self._check_pipeline()
        layers: list[np.ndarray] = self.model.predict(docs)
        return layers

    def set_annotations(self, docs: Iterable[Doc], scores: Sequence[np.ndarray]) -> None:
        """Set the layers on the docs, in place of all that the component set on them before."""
        former_names = free_names(self, self.former_names)
        register_extension(self.name)  # the component may have been renamed
        bilm = get_bilm_shim(self.model).bilm
        pairs = list(zip(docs, scores, strict=True))
        # Any other tensor belongs to another component, whose listeners read it.
        own_names = (self.name, *former_names)
        free = [pair for pair in pairs if self.set_tensor and may_set_tensor(pair[0], own_names)]
        for doc, layers in pairs:
            orths = doc.to_array("ORTH")
            static = compute_static_vectors(bilm, doc, orths)
            write_vectors(doc, self.name, layers, static, orths=orths, former_names=former_names)
        for (doc, _), mean in zip(free, mean_layers([layers for _, layers in free]), strict=True):
            set_tensor(doc, mean, self.model.ops, self.name)

    def annotate(self, docs: Iterable[Doc]) -> None:
        """Run on docs of the training data, whose vectors are cached for the next epoch."""
        docs = list(docs)
        self._check_pipeline()
        shim = get_bilm_shim(self.model)
        if shim.cache is None and self.cache_mb > 0:
            shim.cache = self._make_cache()  # a training begins, whose epochs repeat the same sentences
            self._patience *= 4  # for the next cache, in case a large evaluation ends this one
        self.set_annotations(docs, self.model(docs, is_train=True)[0])

    def _check_pipeline(self) -> None:
        """Warn once if the pipeline has another language or, for a model of words, another segmenter."""
        if self._pipeline_checked:
            return
        self._pipeline_checked = True
        config = get_bilm_shim(self.model).bilm.config
        if self.lang and self.lang != config.lang and not {self.lang, config.lang} & ANY_LANGUAGE:
            warnings.warn(
                f'The model of "{self.name}" was trained on text in the language "{config.lang}", but this '
                f'pipeline is for "{self.lang}": give the folder of a model for that language as '
                f"[components.{self.name}.model] path.",
                stacklevel=2,
            )
        kind = config.segmenter.partition(":")[0]  # of "pkuseg:MODEL"
        if config.units == "word" and self.segmenter and self.segmenter != kind:
            warnings.warn(
                f'The model of "{self.name}" was trained on words of the segmenter "{config.segmenter}", but '
                f'this pipeline uses "{self.segmenter}": use that segmenter, or a model of characters.',
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
        """Load the weights. path: a model folder to use instead of the model's own (section [initialize])."""
        if path is not None:
            with as_config_error():
                get_bilm_shim(self.model).bilm = loading.load(path)
        self.model.initialize()
        get_bilm_shim(self.model).end_cache()  # the cache of an earlier training
        self._patience = PATIENCE
        if nlp is not None:
            self.segmenter, self.lang = segmenter_of(nlp), nlp.lang
            set_pipeline(self, nlp)
        self._weights_changed()

    def runs_before(self, consumer: str) -> bool:
        """Return whether the component's pipeline runs it before the component `consumer`.

        A copy, as of deepcopy or pickle, does not know its pipeline, but the components that listened to it;
        it runs before them even if it is disabled.
        """
        nlp = pipeline_of(self)
        if nlp is None:
            return consumer in self.listener_map
        running = nlp.pipeline
        position = next((i for i, (_, pipe) in enumerate(running) if pipe is self), None)
        return position is not None and consumer in [name for name, _ in running[position:]]

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Annotate the predicted docs, for the listeners that are updated next. Nothing is learned here."""
        examples = list(examples)
        validate_examples(examples, "Elmo.update")
        self._check_training()
        self.annotate([example.predicted for example in examples])
        return {} if losses is None else losses

    def _make_cache(self) -> ActivationCache:
        shim = get_bilm_shim(self.model)
        vector_store = None
        if self.cache_dir is not None:
            shape = (shim.bilm.n_layers, shim.bilm.width)
            vector_store = DiskStore(
                Path(self.cache_dir).expanduser() / shim.fingerprint(), shape, half=shim.rounds_to_fp16
            )
        return ActivationCache(
            self.cache_mb * 2**20, half=shim.rounds_to_fp16, store=vector_store, patience=self._patience
        )

    def finish_update(self, sgd: Optimizer) -> None:
        """Do nothing, because the component is frozen."""

    def _weights_changed(self) -> None:
        self._pipeline_checked = False
        self._relink()

    # --- Serialization: the weights are a model folder ---

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Write the component, with its weights as the model folder `path`/model."""
        serialize = {
            "cfg": lambda p: srsly.write_json(p, self.cfg),
            "vocab": lambda p: self.vocab.to_disk(p, exclude=exclude),
            "model": lambda p: get_bilm_shim(self.model).bilm.save(p, dtype="smallest"),
        }
        util.to_disk(path, serialize, exclude)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "Elmo":
        """Read the result of to_disk. Raises a ModelFolderError for a missing or damaged model."""
        deserialize: dict[str, Callable[[Path], Any]] = {
            "cfg": lambda p: self.cfg.update(srsly.read_json(p)),
            "vocab": lambda p: self.vocab.from_disk(p, exclude=exclude),
            "model": lambda p: setattr(get_bilm_shim(self.model), "bilm", loading.load(p)),
        }
        util.from_disk(path, deserialize, exclude)
        self._weights_changed()
        return self

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> "Elmo":
        """Read the result of to_bytes."""
        super().from_bytes(bytes_data, exclude=exclude)
        self._weights_changed()
        return self
