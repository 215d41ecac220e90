"""Connect the component "elmo" to its listeners: spaCy's protocol ListenedToComponent (docs/usage.md)."""

import warnings
from typing import TYPE_CHECKING, Any

from spacy.pipeline import EntityLinker
from spacy.util import logger
from thinc.api import Model

from .busy import warn_when_busy
from .layers.bilm import get_bilm_shim
from .layers.listener import connect, listens_to, whole_tok2vec_width
from .layers.packed_maxout import set_fused
from .layers.residual_widths import set_residual_widths
from .onednn_ops import use_onednn


class ListenedTo:
    """Mix-in of the component "elmo" that finds its listeners and tells them its name and sizes."""

    listener_map: dict[str, list[Model[Any, Any]]]
    """Listener layers by the name of their component."""
    linked_names: dict[int, str]
    """The name of this component that each listener knows, by the listener's model id."""

    if TYPE_CHECKING:
        accelerate_listeners: bool
        model: Model[Any, Any]
        name: str

    def __init__(self) -> None:
        self.listener_map = {}
        self.linked_names = {}
        self._former_names: list[str] = []
        self._last_name = self.name
        self._training_checked = False

    @property
    def listeners(self) -> list[Model[Any, Any]]:
        """Layers that listen to this component."""
        return [listener for listeners in self.listener_map.values() for listener in listeners]

    @property
    def listening_components(self) -> list[str]:
        """Names of the components with listener layers."""
        return list(self.listener_map)

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
        listeners = [node for node in component.model.walk() if listens_to(node, self)]
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
        if self.accelerate_listeners and use_onednn(model):
            logger.info(
                f'"{self.name}" has set the backend of the component "{component_name}" to oneDNN, which is '
                f"faster and rounds differently: [components.{self.name}] accelerate_listeners = false turns "
                "that off."
            )

    def add_listener(self, listener: Model[Any, Any], component_name: str) -> None:
        """Add a listener, and set the name and the sizes of its source."""
        listeners = self.listener_map.setdefault(component_name, [])
        if not any(known is listener for known in listeners):
            listeners.append(listener)
        config = get_bilm_shim(self.model).config
        sizes = (config.total_layers, config.width, config.static_width) if config else (None, None, None)
        connect(listener, self, component_name, *sizes)

    def remove_listener(self, listener: Model[Any, Any], component_name: str) -> bool:
        """Remove a listener. Return whether it was known."""
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
            for listener in listeners:
                self.add_listener(listener, component_name)

    def _check_training(self) -> None:
        """Warn, when a training begins, if no component uses the vectors, or if it will be slow."""
        if self._training_checked:
            return
        self._training_checked = True
        warn_when_busy()
        if not self.listener_map:
            warnings.warn(
                f'No component after "{self.name}" uses its vectors: put a spacy-elmo.ElmoListener.v1 into '
                'the "tok2vec" of each component that should be trained on them (docs/usage.md).',
                stacklevel=3,
            )
