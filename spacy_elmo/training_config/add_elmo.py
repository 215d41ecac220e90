"""Add ELMo to the components of an existing configuration, and report each change with its reason."""

from dataclasses import dataclass, replace
from typing import Any

from spacy.language import Language

from ..errors import ElmoError
from .config_text import ConfigText
from .tok2vec_sections import (
    SHARED,
    add_at_input,
    add_at_output,
    describe,
    get_section,
    has_listener,
)

Section = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """Result for a component. changed: whether it now learns on ELMo."""

    component: str
    before: str
    after: str
    changed: bool = True


def add_elmo(text: ConfigText, *, model: str | None = None, output: bool = True) -> list[Change]:
    """Add ELMo to all components of a configuration that can learn on it.

    model: a model folder; None: the bundled model. output: also at the output of a component (Peters et al.
    2018, section 5.2), not at its input alone. Raises an ElmoError where no component can learn on it.
    """
    config = text.resolve()
    pipeline = config.get("nlp", {}).get("pipeline")
    if not isinstance(pipeline, list) or not isinstance(config.get("components"), dict):
        raise ElmoError("This configuration lacks [nlp] pipeline or [components]: give that of a pipeline.")
    elmo = _name_of_elmo(config)
    frozen = config.get("training", {}).get("frozen_components", [])
    changes = [
        _change(text, name, elmo, "it is frozen" if name in frozen else None, output=output)
        for name in pipeline
        if name != elmo
    ]
    changes = _follow_references(changes, config["components"], text.resolve()["components"])
    changed = [change.component for change in changes if change.changed]
    if not changed:
        if any(has_listener(config["components"].get(name)) for name in pipeline):
            raise ElmoError("The components learn on ELMo already: there is nothing to add.")
        reasons = "; ".join(f"{change.component}: {change.after}" for change in changes)
        raise ElmoError(f"ELMo cannot be added to any component of this configuration ({reasons}).")
    _put_component(text, elmo, pipeline, changed, model)
    return changes


def notes_of(config: Section) -> list[str]:
    """Return sentences about settings of a configuration with ELMo that were left as they are.

    config: with references replaced by what they refer to.
    """
    notes = []
    training = config.get("training", {})
    decay = training.get("optimizer", {}).get("L2")
    if isinstance(decay, float) and decay > 0:
        notes.append(
            f"[training.optimizer] L2 = {decay} decays the mixes, too: 0.0 leaves them to weight_penalty."
        )
    if config.get("initialize", {}).get("init_tok2vec"):
        notes.append(
            "[initialize] init_tok2vec holds weights of the layers before: set it to null, or pretrain again."
        )
    return notes


def _name_of_elmo(config: Section) -> str:
    """Return the name of the component elmo, which may be there already."""
    for name, section in config["components"].items():
        if section.get("factory") == "elmo":
            return str(name)
    if "elmo" in config["components"]:
        raise ElmoError('A component that is not ELMo has the name "elmo": rename it in the configuration.')
    return "elmo"


def _change(text: ConfigText, name: str, elmo: str, reason: str | None, *, output: bool) -> Change:
    path = ("components", name)
    for part in (path, (*path, "model"), (*path, "model", "tok2vec")):
        if get_section(text, part) is not None and not text.has_section(part):
            return Change(name, "", f"unchanged: {'.'.join(part)} is not a section of its own", False)
    section: Section = get_section(text, path) or {}
    factory = section.get("factory")
    if "source" in section:
        return Change(name, "", f"unchanged: it comes from {section['source']}", False)
    if reason is not None:
        return Change(name, "", f"unchanged: {reason}", False)
    if "model" not in section and factory:
        default = _default_model(factory)
        if default is not None:
            text.put((*path, "model"), default)
    model = get_section(text, (*path, "model"))
    if not isinstance(model, dict):
        return Change(name, "", "unchanged: it has no model", False)
    if factory == "tok2vec":
        return _change_shared(text, name, elmo, model)
    return _change_consumer(text, name, elmo, factory or name, output=output)


def _change_shared(text: ConfigText, name: str, elmo: str, model: Section) -> Change:
    """Add ELMo to a tok2vec that others listen to: only at its input, because its width must not change."""
    if has_listener(model):
        return Change(name, describe(model), "unchanged: it has ELMo", False)
    if not add_at_input(text, ("components", name, "model"), elmo, name):
        return Change(name, describe(model), "unchanged: it has no sections embed and encode", False)
    return Change(name, describe(model), "ELMo at its input, for all that listen to it")


def _change_consumer(text: ConfigText, name: str, elmo: str, factory: str, *, output: bool) -> Change:
    path = ("components", name, "model", "tok2vec")
    tok2vec = get_section(text, path)
    if not isinstance(tok2vec, dict) or "@architectures" not in tok2vec:
        hint = ": spacy.TextCatEnsemble.v2 has one" if factory.startswith("textcat") else ""
        return Change(name, "", f"unchanged: its model has no tok2vec{hint}", False)
    before = describe(tok2vec)
    if has_listener(tok2vec):
        return Change(name, before, "unchanged: it has ELMo", False)
    architecture = tok2vec["@architectures"]
    if "ransformer" in architecture:
        reason = "a transformer is fine-tuned and knows the context; ELMo would add little"
        return Change(name, before, f"unchanged: {reason}", False)
    shared = SHARED in architecture
    at_input = not shared and add_at_input(text, path, elmo, factory)
    if output or not (at_input or shared):
        add_at_output(text, path, elmo, factory)
        return Change(name, before, "ELMo at its input and output" if at_input else "ELMo at its output")
    if at_input:
        return Change(name, before, "ELMo at its input")
    return Change(name, before, "unchanged: it listens to the tok2vec, which has ELMo", False)


def _follow_references(changes: list[Change], before: Section, after: Section) -> list[Change]:
    """Return the changes, with those of components that refer to a section which has ELMo now.

    before, after: [components], references replaced by what they refer to.
    """

    def gains(name: str) -> bool:
        return has_listener(after.get(name)) and not has_listener(before.get(name))

    return [
        replace(change, after="ELMo by its reference", changed=True)
        if not change.changed and gains(change.component)
        else change
        for change in changes
    ]


def _default_model(factory: str) -> Section | None:
    nlp = Language()  # reads the entry points of factories
    if not nlp.has_factory(factory):
        return None
    return (nlp.get_factory_meta(factory).default_config or {}).get("model")


def _put_component(
    text: ConfigText, elmo: str, pipeline: list[str], changed: list[str], model: str | None
) -> None:
    """Write [components.elmo], unless it is there, and put it before all that listen to it."""
    if get_section(text, ("components", elmo)) is None:
        section: Section = {"factory": "elmo"}
        if any(get_section(text, ("components", name, "factory")) == "tok2vec" for name in pipeline):
            section["set_tensor"] = False  # the tensor is the tok2vec's
        section["model"] = {"@architectures": "spacy-elmo.BiLM.v1", "path": model}
        text.put(("components", elmo), section)
    elif model is not None:
        text.put(("components", elmo, "model"), {"@architectures": "spacy-elmo.BiLM.v1", "path": model})
    first = min(pipeline.index(name) for name in changed)
    if elmo not in pipeline[:first]:
        others = [name for name in pipeline if name != elmo]
        first = min(others.index(name) for name in changed)
        text.set_value(("nlp",), "pipeline", [*others[:first], elmo, *others[first:]])
