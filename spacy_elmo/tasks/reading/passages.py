"""Texts as Docs of characters, with the vectors of the components that the reader listens to."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import Model

from ...pipeline.annotations.doc_vectors import find_vectors
from ...pipeline.layers.bilm import get_bilm_shim
from ...pipeline.layers.listener import NAME as LISTENER
from ...pipeline.layers.listener import upstream_of
from .features import character_doc, is_character_doc

RECENT_PASSAGES = 8  # with their vectors: 6 kB a character


class CharacterDocs:
    """Makes the Docs that a reader's model reads.

    The last passages are kept with their vectors, so that several questions to a passage cost its biLM once.
    """

    def __init__(self) -> None:
        self._upstream: dict[str, Any] = {}  # the components that are listened to, by name
        self._recent: OrderedDict[str, tuple[Doc, list[Any]]] = OrderedDict()

    def connect(self, model: Model) -> None:
        """Find the components that a model listens to now.

        In a process of nlp.pipe that was spawned, listeners are not linked: those that were known before
        stay.
        """
        listeners = [node for node in model.walk() if node.name == LISTENER and node.attrs["source"]]
        found = {node.attrs["source"]: upstream_of(node) for node in listeners}
        known = {name: self._upstream.get(name) if c is None else c for name, c in found.items()}
        self._upstream = {name: component for name, component in known.items() if component is not None}

    def make(
        self, vocab: Vocab, texts: Sequence[str], *, keep: bool = False, is_train: bool = False
    ) -> list[Doc]:
        """A Doc for each text, annotated together where that has not been done.

        keep: among the last passages. is_train: the vectors are kept for the next epoch.
        """
        known = {text: self._get_recent(text) for text in texts} if keep else {}
        docs = [known.get(text) or character_doc(vocab, text) for text in texts]
        missing = [doc for doc, text in zip(docs, texts, strict=True) if not known.get(text)]
        for component in self._upstream.values() if missing else ():
            if is_train:
                component.annotate(missing)
            else:
                component.set_annotations(missing, component.predict(missing))
        if keep:
            for text, doc in list(zip(texts, docs, strict=True))[-RECENT_PASSAGES:]:
                self._recent.pop(text, None)
                self._recent[text] = doc, self._weights()
            while len(self._recent) > RECENT_PASSAGES:
                self._recent.popitem(last=False)
        return docs

    def is_ready(self, doc: Doc) -> bool:
        """Whether a Doc is one of characters that all components listened to have annotated."""
        return is_character_doc(doc) and all(find_vectors(doc, name) is not None for name in self._upstream)

    def clear(self) -> None:
        """Drop the last passages."""
        self._recent.clear()

    def _get_recent(self, text: str) -> Doc | None:
        doc, weights = self._recent.get(text, (None, None))
        same = weights is not None and list(map(id, weights)) == list(map(id, self._weights()))
        return doc if same else None

    def _weights(self) -> list[Any]:
        """The biLMs that the vectors come from: a component that is loaded again has another one."""
        return [get_bilm_shim(component.model).bilm for component in self._upstream.values()]

    def __getstate__(self) -> dict[str, Any]:
        return {"_upstream": self._upstream, "_recent": OrderedDict()}
