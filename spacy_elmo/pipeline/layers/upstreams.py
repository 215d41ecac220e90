"""Find the component "elmo" that a listener is connected to.

The component stores the connection, in its links, so that copies of a pipeline are connected among
themselves. A listener cannot store it: thinc copies and saves attrs only, and its models have no weak
references and keep their ids when they are copied.
"""

from typing import Any
from weakref import ref

from thinc.api import Model

from ...locks import ForkSafeLock

# All components that exist. Replaced as a whole, so that other threads can read it at any time.
_components: tuple[ref[Any], ...] = ()
_lock = ForkSafeLock()


def register_upstream(component: Any) -> None:
    """Let upstream_of find a component. It has a method has_listener."""
    global _components
    with _lock:
        _components = (*(known for known in _components if known() is not None), ref(component))


def upstream_of(model: Model[Any, Any]) -> Any:
    """Return the component that a listener is connected to; None if there is none."""
    for known in _components:
        component = known()
        if component is not None and component.has_listener(model):
            return component
    return None
