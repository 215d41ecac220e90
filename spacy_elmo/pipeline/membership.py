"""Remember the pipeline of a component, without keeping it in memory."""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary, ref

from spacy.language import Language

# The pipeline that a component was made for, or initialized with. Copies of the component have none.
_pipelines: WeakKeyDictionary[Any, ref[Language]] = WeakKeyDictionary()


def set_pipeline(component: Any, nlp: Language) -> None:
    """Remember the pipeline of a component."""
    _pipelines[component] = ref(nlp)


def pipeline_of(component: Any) -> Language | None:
    """Return the pipeline of a component; None if it is not known or is gone."""
    known = _pipelines.get(component)
    return known() if known else None


def free_names(component: Any, names: Sequence[str]) -> list[str]:
    """Return the names that no other component of the pipeline has, not even a disabled one."""
    nlp = pipeline_of(component)
    others = set() if nlp is None else {name for name, pipe in nlp.components if pipe is not component}
    return [name for name in names if name not in others]
