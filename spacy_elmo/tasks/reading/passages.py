"""Convert texts to Docs of characters, with the vectors of the components that the reader listens to."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import Model

from ...pipeline.annotations.doc_vectors import find_vectors
from ...pipeline.layers.bilm import get_bilm_shim
from ...pipeline.layers.listener import NAME as LISTENER
from ...pipeline.layers.upstreams import upstream_of
from .features import character_doc, is_character_doc

RECENT_PASSAGES = 8  # passages to keep with their vectors, which take 6 kB per character


class CharacterDocs:
    """Factory of the Docs that a reader's model reads.

    It keeps the last passages with their vectors, so that the biLM runs once for several questions about a
    passage.
    """

    def __init__(self) -> None:
        self._upstream: dict[str, Any] = {}  # the components that the model listens to, by name
        self._recent: OrderedDict[str, tuple[Doc, list[tuple[str, Any]]]] = OrderedDict()

    def connect(self, model: Model[Any, Any]) -> None:
        """Find the components that a model currently listens to.

        In a spawned process of nlp.pipe, listeners are not connected: the components known before are kept.
        """
        listeners = [node for node in model.walk() if node.name == LISTENER and node.attrs["source"]]
        found = {node.attrs["source"]: upstream_of(node) for node in listeners}
        known = {name: self._upstream.get(name) if c is None else c for name, c in found.items()}
        self._upstream = {name: component for name, component in known.items() if component is not None}

    def make(
        self, vocab: Vocab, texts: Sequence[str], *, keep: bool = False, is_train: bool = False
    ) -> list[Doc]:
        """Return a Doc for each text; Docs that are not annotated yet are annotated together.

        keep: keep them among the last passages. is_train: cache their vectors for the next epoch.
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
                self._recent[text] = doc, self._sources()
            while len(self._recent) > RECENT_PASSAGES:
                self._recent.popitem(last=False)
        return docs

    def is_ready(self, doc: Doc) -> bool:
        """Return whether a Doc consists of characters and is annotated by all upstream components."""
        return is_character_doc(doc) and all(find_vectors(doc, name) is not None for name in self._upstream)

    def clear(self) -> None:
        """Drop the last passages."""
        self._recent.clear()

    @contextmanager
    def memory_zone(self, mem: Any = None) -> Iterator[Any]:
        """Drop the last passages at the end of a memory zone, which frees the strings of their Docs."""
        try:
            yield mem
        finally:
            self.clear()

    def _get_recent(self, text: str) -> Doc | None:
        doc, sources = self._recent.get(text, (None, []))
        # The biLMs are compared by identity: a component that is loaded again has a new one.
        same = [(name, id(bilm)) for name, bilm in sources] == [(n, id(bilm)) for n, bilm in self._sources()]
        return doc if same else None

    def _sources(self) -> list[tuple[str, Any]]:
        """Return the names under which the vectors are stored, and the biLMs that compute them."""
        return [(name, get_bilm_shim(c.model).bilm) for name, c in self._upstream.items()]

    def __getstate__(self) -> dict[str, Any]:
        return {"_upstream": self._upstream, "_recent": OrderedDict()}
