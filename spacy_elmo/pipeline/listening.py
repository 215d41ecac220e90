"""Connect the component "elmo" to its listeners: spaCy's protocol ListenedToComponent (docs/usage.md)."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spacy.pipeline import EntityLinker
from spacy.util import logger
from thinc.api import Model

from .busy import warn_when_busy
from .layers.bilm import get_bilm_shim
from .layers.listener import connect, listens_to, whole_tok2vec_width
from .layers.packed_maxout import set_fused
from .layers.residual_widths import set_residual_widths
from .layers.upstreams import register_upstream, upstream_of
from .layers.weights_digest import weights_digest
from .onednn_ops import restore_ops, use_onednn


@dataclass
class Link:
    """The connection of a listener to a component "elmo"."""

    listener: Model[Any, Any]
    name: str
    """Name of the component that the listener knows."""
    checked: bool = False
    """True once check_listener has compared the biLM with that of the training."""


class ListenedTo:
    """Mix-in of the component "elmo" that finds its listeners and tells them its name and sizes."""

    listener_map: dict[str, list[Model[Any, Any]]]
    """Listener layers by the name of their component, also those that a nearer "elmo" has taken over."""
    links: list[Link]
    """Connections, one for each listener; spaCy empties listener_map before linking, but not this.

    Listeners are compared by identity, because copies have equal ids.
    """

    if TYPE_CHECKING:
        accelerate_listeners: bool
        model: Model[Any, Any]
        name: str

    def __init__(self) -> None:
        self.listener_map = {}
        self.links = []
        self._former_names: list[str] = []
        self._last_name = self.name
        self._training_checked = False
        register_upstream(self)

    @property
    def listeners(self) -> list[Model[Any, Any]]:
        """Layers that listen to this component."""
        found = [listener for listeners in self.listener_map.values() for listener in listeners]
        return list(filter(self.has_listener, found))

    @property
    def weights_digest(self) -> str | None:
        """Digest of the biLM's weights, see layers.weights_digest; None while they cannot be found."""
        shim = get_bilm_shim(self.model)
        return None if shim.config is None else weights_digest(shim.bilm)

    @property
    def listening_components(self) -> list[str]:
        """Names of the components with listener layers."""
        return [name for name, found in self.listener_map.items() if any(map(self.has_listener, found))]

    @property
    def former_names(self) -> list[str]:
        """Earlier names of the component, which it still has in a pipeline from which it was sourced."""
        if self.name != self._last_name:
            names = [*self._former_names, self._last_name]
            self._former_names = [name for name in names if name != self.name]
            self._last_name = self.name
        return self._former_names

    def find_listeners(self, component: Any) -> None:
        """Add the listeners in a later component, and accelerate that component if the setting says so.

        spaCy calls this method whenever the pipeline changes. A component that makes new Docs of other tokens
        has a method add_upstream, which gets this one.
        """
        if hasattr(component, "add_upstream"):
            component.add_upstream(self)
        if not isinstance(getattr(component, "model", None), Model):
            return
        listeners = []
        for node in component.model.walk():
            if listens_to(node, self):
                listeners.append(node)
            else:
                self.disconnect(node)  # if it was a listener before other attributes were loaded
        for listener in listeners:
            self.add_listener(listener, component.name)
            # It scores itself by the sentences of copies of docs, see its use_gold_ents.
            listener.attrs["reads_parts"] = isinstance(component, EntityLinker)
        if listeners:
            width = whole_tok2vec_width(component.model)
            if width is not None:
                set_residual_widths(component.model, width)
            self._accelerate(component.model, component.name)

    def _accelerate(self, model: Model[Any, Any], component_name: str) -> None:
        """Apply the setting accelerate_listeners, see `make_elmo`."""
        set_fused(model, self.accelerate_listeners)
        if not self.accelerate_listeners:
            restore_ops(model)  # another "elmo" before the component may have set them
        elif use_onednn(model):
            logger.info(
                f'"{self.name}" has set the backend of the component "{component_name}" to oneDNN, which is '
                f"faster and rounds differently: [components.{self.name}] accelerate_listeners = false turns "
                "that off."
            )

    def add_listener(self, listener: Model[Any, Any], component_name: str) -> None:
        """Add a listener, and set the name and the sizes of its source. It leaves any other component."""
        previous = upstream_of(listener)
        if previous is not None:
            previous.disconnect(listener)
        listeners = self.listener_map.setdefault(component_name, [])
        if not any(known is listener for known in listeners):
            listeners.append(listener)
        self.links.append(Link(listener, self.name))
        config = get_bilm_shim(self.model).config
        sizes = (config.total_layers, config.width, config.static_width) if config else (None, None, None)
        connect(listener, self, component_name, *sizes)

    def has_listener(self, model: Model[Any, Any]) -> bool:
        """Return whether a layer is connected to this component."""
        return self.link_of(model) is not None

    def link_of(self, model: Model[Any, Any]) -> Link | None:
        """Return the link of a listener; None if it is not connected to this component."""
        return next((link for link in self.links if link.listener is model), None)

    def disconnect(self, listener: Model[Any, Any]) -> None:
        """Remove the link of a listener. It stays in listener_map, which is spaCy's."""
        self.links = [link for link in self.links if link.listener is not listener]

    def check_listener(self, listener: Model[Any, Any]) -> None:
        """Warn once if the component of a listener was trained on another biLM."""
        link = self.link_of(listener)
        if link is None or link.checked or not get_bilm_shim(self.model).loaded:
            return
        link.checked = True
        trained_on = listener.attrs["trained_on"]
        if trained_on is not None and trained_on != self.weights_digest:
            warnings.warn(
                f'"{listener.attrs["consumer"]}" was trained on another model than that of "{self.name}", so '
                "its predictions are wrong: use the model that it was trained on, or train it again.",
                stacklevel=2,
            )

    def remove_listener(self, listener: Model[Any, Any], component_name: str) -> bool:
        """Remove a listener. Return whether it was known."""
        self.disconnect(listener)
        listeners = self.listener_map.get(component_name, [])
        kept = [known for known in listeners if known is not listener]
        if kept:
            self.listener_map[component_name] = kept
        else:
            self.listener_map.pop(component_name, None)
        return len(kept) < len(listeners)

    def _relink(self) -> None:
        """Set the sizes of new weights on all listeners."""
        for component_name, listeners in list(self.listener_map.items()):
            for listener in filter(self.has_listener, listeners):
                self.add_listener(listener, component_name)

    def _check_training(self) -> None:
        """Warn, when a training begins, if no component uses the vectors, or if it will be slow."""
        if self._training_checked:
            return
        self._training_checked = True
        warn_when_busy()
        if not self.listening_components:
            warnings.warn(
                f'No component after "{self.name}" uses its vectors: put a spacy-elmo.ElmoListener.v1 into '
                'the "tok2vec" of each component that should be trained on them (docs/usage.md).',
                stacklevel=3,
            )
