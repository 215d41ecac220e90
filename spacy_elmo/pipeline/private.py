"""A private biLM with its mix, and how `nlp.replace_listeners` puts one in a listener's place."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from .bilm_layer import shim_of

LISTENER = "spacy-elmo.ElmoListener.v1"
PRIVATE = "spacy-elmo.ElmoTok2Vec.v1"


def ElmoTok2Vec(bilm: Model, mix: Model) -> Model:
    """List[Doc] -> List[Floats2d (n_tokens, D)]: a frozen biLM of its own, and a scalar mix that learns."""
    return Model("elmo-tok2vec", forward, init=init, layers=[bilm, mix], dims={"nO": None})


def forward(model: Model, docs: Sequence[Doc], is_train: bool) -> tuple[list[Floats2d], Callable]:
    bilm, mix = model.layers
    Y, backprop_mix = mix(bilm.predict(docs), is_train)

    def backprop(dY: list[Floats2d]) -> list:
        backprop_mix(dY)
        return []  # frozen below

    return Y, backprop


def init(model: Model, X: Any = None, Y: Any = None) -> None:
    bilm, mix = model.layers
    bilm.initialize()
    model.set_dim("nO", shim_of(bilm).bilm.width, force=True)
    mix.set_dim("nL", shim_of(bilm).bilm.n_layers)
    mix.initialize()


class Replacer:
    """The two callbacks of `nlp.replace_listeners`, for the attrs of the biLM's layer.

    spaCy calls `config` for each path, puts the result there, then calls `model` for each listener; it hands
    `config` the section [model.tok2vec] however deep the path goes, and does not compare the two. So
    `model` looks whether the right sections were replaced: otherwise the pipeline could be saved but not
    loaded again.
    """

    def __init__(self) -> None:
        self._replaced: list[tuple[dict, dict, dict]] = []  # new section; [model.tok2vec] now and before

    def config(self, bilm: dict, tok2vec: dict) -> dict[str, Any]:
        """The new section in place of the listener's. bilm: section of the biLM; tok2vec: [model.tok2vec]."""
        listener = next((section for _, section in _listeners(tok2vec)), None)
        if listener is None:
            raise ValueError(f"There is no {LISTENER} in [model.tok2vec] that could be replaced.")
        settings = {key: listener[key] for key in ("mix_dropout", "l2") if key in listener}
        new = {"@architectures": PRIVATE, "bilm": deepcopy(bilm), **settings}
        self._replaced.append((new, tok2vec, deepcopy(tok2vec)))
        return new

    def model(self, bilm: Model, listener: Model, elmo: Any) -> Model:
        """The new layer in place of the listener. bilm: a copy of the component's layer."""
        replaced, self._replaced = self._replaced, []
        for new, now, before in replaced:
            _check_place(new, now, before)
        if listener.attrs["source"] != elmo.name:
            raise ValueError(
                f'"{listener.attrs["consumer"]}" listens to "{listener.attrs["source"]}", not to '
                f'"{elmo.name}": name the component that it listens to.'
            )
        private = ElmoTok2Vec(bilm, listener.layers[0].copy())
        if listener.has_dim("nO"):
            private.set_dim("nO", listener.get_dim("nO"))
        return private


def _check_place(new: dict, now: dict, before: dict) -> None:
    """Raise a ValueError, and undo, unless `new` stands where a listener's section was in [model.tok2vec]."""
    paths = [path for path, _ in _listeners(before)]
    if () in paths or any(_get(now, path) is new for path in paths):
        return
    wrong = next((path for path, section in _sections(now) if section is new), ())
    new.clear()
    new.update(_get(before, wrong))
    right = " or ".join(f'"{".".join(("model", "tok2vec", *path))}"' for path in paths)
    raise ValueError(f"This path is not that of the listener to ELMo: use {right}.")


def _sections(config: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict]]:
    if isinstance(config, dict):
        yield path, config
        for key, value in config.items():
            yield from _sections(value, (*path, key))


def _listeners(config: dict) -> Iterator[tuple[tuple[str, ...], dict]]:
    return (item for item in _sections(config) if item[1].get("@architectures") == LISTENER)


def _get(config: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        config = config.get(key) if isinstance(config, dict) else None
    return config
