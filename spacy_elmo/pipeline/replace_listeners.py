"""Replace listeners by private biLMs, for `nlp.replace_listeners`."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from thinc.api import Model

from .layers.bilm import get_bilm_shim
from .layers.elmo_tok2vec import PRIVATE, WITH_TWO, ElmoTok2Vec
from .layers.shared_outputs import SharedOutputs
from .layers.upstreams import upstream_of

LISTENER = "spacy-elmo.ElmoListener.v1"
TAGGER = "spacy-elmo.DistilledTagger.v1"  # a listener, or private if it has a [bilm]
PRIVATE_FORMS = {LISTENER: PRIVATE, TAGGER: TAGGER}
"""By the architecture of a listener: that of the same layer with a private biLM."""


LISTENER_SETTINGS = (
    "mix_dropout",
    "weight_penalty",
    "layer_norm",
    "use_static_vectors",
    "fixed_gamma",
    "fixed_weights",
    "l2",
    "static",
    "path",
)  # settings of a listener that a private biLM has too


Section = dict[str, Any]  # of a configuration


class ListenerReplacer:
    """The two callbacks of `nlp.replace_listeners`, for the attrs of the biLM's layer.

    spaCy calls `config` for each path and stores the result there, then calls `model` for each listener. It
    passes the section [model.tok2vec] to `config` regardless of the path, and does not compare the two.
    Therefore `model`, at the first listener, checks that the right sections were replaced: otherwise the
    pipeline could be saved but not loaded.
    """

    def __init__(self) -> None:
        self._replaced: list[tuple[Section, Section, Section]] = []  # new; [model.tok2vec] now and before
        self._shared: Model[Any, Any] | None = None  # layer for all listeners of this consumer

    def __deepcopy__(self, memo: Section) -> "ListenerReplacer":
        return ListenerReplacer()  # a copy of the layer starts without pending replacements

    def config(self, bilm: Section, tok2vec: Section) -> Section:
        """Return the new section for a listener, to which `model` adds settings.

        bilm: section of the biLM.
        """
        if not any(_listeners(tok2vec)):
            raise ValueError(f"[model.tok2vec] has no {' or '.join(PRIVATE_FORMS)} to replace.")
        new = {"@architectures": PRIVATE, "bilm": deepcopy(bilm)}
        self._replaced.append((new, tok2vec, deepcopy(tok2vec)))
        return new

    def model(self, bilm: Model[Any, Any], listener: Model[Any, Any], elmo: Any) -> Model[Any, Any]:
        """Return the new layer for a listener. bilm: a copy of the component's layer."""
        if self._replaced:
            self._shared = self._check(bilm)
        if upstream_of(listener) is not elmo:
            raise ValueError(
                f'"{listener.attrs["consumer"]}" listens to "{listener.attrs["source"]}", not to '
                f'"{elmo.name}": name the component that it listens to.'
            )
        layer = bilm if self._shared is None else self._shared
        private = ElmoTok2Vec(
            layer, listener.layers[0].copy(), use_static_vectors=listener.attrs["use_static_vectors"]
        )
        if listener.has_dim("nO"):
            private.set_dim("nO", listener.get_dim("nO"))
        return private

    def _check(self, bilm: Model[Any, Any]) -> Model[Any, Any] | None:
        """Complete the new sections of a consumer. Return the layer if all its listeners can share it."""
        replaced, self._replaced = self._replaced, []
        try:
            for new, now, before in replaced:
                old = _listeners_section(new, now, before)
                new["@architectures"] = PRIVATE_FORMS[old["@architectures"]]
                new.update({key: old[key] for key in LISTENER_SETTINGS if key in old})
        except ValueError:
            for new, now, _ in replaced:
                _undo(new, now, replaced[0][2])
            raise
        if len(replaced) != 2 or not _share_bilm_section(replaced[0][0], replaced[1][0], replaced[0][1]):
            return None
        get_bilm_shim(bilm).shared_outputs = SharedOutputs()
        return bilm


def _share_bilm_section(a: Section, b: Section, tok2vec: Section) -> bool:
    """Return whether one new section is the elmo of an outer layer whose tok2vec has only the other one.

    If so, mark in the config that the first has no biLM of its own, see share_bilm_layer.
    """
    for _, section in _sections(tok2vec):
        if section.get("@architectures") in WITH_TWO:
            inner = [each for _, each in _sections(section.get("tok2vec")) if _is(each, PRIVATE)]
            for outer, other in ((a, b), (b, a)):
                if section.get("elmo") is outer and len(inner) == 1 and inner[0] is other:
                    outer["bilm"] = None
                    return True
    return False


def _listeners_section(new: Section, now: Section, before: Section) -> Section:
    """Return the section in [model.tok2vec] that `new` replaces.

    Raises a ValueError if it is not a listener.
    """
    paths = [path for path, _ in _listeners(before)]
    for path in paths:
        if path == () or _get(now, path) is new:
            section: Section = _get(before, path)
            return section
    right = " or ".join(f'"{".".join(("model", "tok2vec", *path))}"' for path in paths)
    raise ValueError(f"This is not the path of a listener to ELMo: use {right}.")


def _undo(new: Section, now: Section, before: Section) -> None:
    """Restore the section that `new` replaced: a section in [model.tok2vec], or all of it."""
    path = next((path for path, section in _sections(now) if section is new), ())
    new.clear()
    new.update(_get(before, path))


def _sections(config: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Section]]:
    if isinstance(config, dict):
        yield path, config
        for key, value in config.items():
            yield from _sections(value, (*path, key))


def _listeners(config: Section) -> Iterator[tuple[tuple[str, ...], Section]]:
    return (
        (path, section)
        for path, section in _sections(config)
        if section.get("@architectures") in PRIVATE_FORMS and section.get("bilm") is None
    )


def _is(section: Section, architecture: str) -> bool:
    return section.get("@architectures") == architecture


def _get(config: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        config = config.get(key) if isinstance(config, dict) else None
    return config
