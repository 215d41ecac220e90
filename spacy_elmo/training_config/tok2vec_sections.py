"""Add ELMo to the section [model.tok2vec] of a component, according to its content."""

from dataclasses import asdict
from typing import Any

from .config_text import ConfigText, Path
from .settings import DEFAULT_ENCODER, ENCODERS, OUTPUT_WIDTH

Section = dict[str, Any]

LISTENER = "spacy-elmo.ElmoListener.v1"
SHARED = "Tok2VecListener"
EMBED_AND_ENCODE = ("spacy.Tok2Vec.v1", "spacy.Tok2Vec.v2")
HASH_EMBED_CNN = ("spacy.HashEmbedCNN.v1", "spacy.HashEmbedCNN.v2")


def describe(section: Section) -> str:
    """Return the architectures of a tok2vec in a few words."""
    parts = [section.get("@architectures", "?")]
    parts += [_short(section[key]) for key in ("embed", "encode") if isinstance(section.get(key), dict)]
    return f"{parts[0]} ({', '.join(parts[1:])})" if parts[1:] else parts[0]


def has_listener(section: Any) -> bool:
    """Return whether a section, or one below it, is a listener to ELMo."""
    if not isinstance(section, dict):
        return False
    return section.get("@architectures") == LISTENER or any(map(has_listener, section.values()))


def add_at_input(text: ConfigText, path: Path, elmo: str, factory: str) -> bool:
    """Concatenate ELMo to the embedding of a tok2vec at `path`. Returns whether it has a section of one."""
    if get_section(text, path)["@architectures"] in HASH_EMBED_CNN:
        _put_embed_and_encode(text, path)
    width = get_section(text, (*path, "encode", "width"))
    has_embed = text.has_section((*path, "embed"))
    if get_section(text, path)["@architectures"] not in EMBED_AND_ENCODE or width is None or not has_embed:
        return False
    joint = {
        "@architectures": "spacy-elmo.ConcatEmbed.v1",
        "width": width,
        "elmo": _listener(elmo, factory),
    }
    text.wrap((*path, "embed"), "embed", joint)
    return True


def add_at_output(text: ConfigText, path: Path, elmo: str, factory: str) -> None:
    """Concatenate ELMo to the output of a tok2vec at `path`."""
    joint = {
        "@architectures": "spacy-elmo.ConcatOutput.v1",
        "width": OUTPUT_WIDTH,
        "elmo": _listener(elmo, factory),
    }
    text.wrap(path, "tok2vec", joint)


def get_section(text: ConfigText, path: Path) -> Any:
    """Return the section or value at a path, references left as they are; None if there is none."""
    return _at(text.parse(), path)


def _at(section: Any, path: Path) -> Any:
    for key in path:
        section = section.get(key) if isinstance(section, dict) else None
    return section


def _listener(elmo: str, factory: str) -> Section:
    settings = ENCODERS.get(factory, DEFAULT_ENCODER).listener
    return {"@architectures": LISTENER, "upstream": elmo, **asdict(settings)}


def _put_embed_and_encode(text: ConfigText, path: Path) -> None:
    """Replace a spacy.HashEmbedCNN by the spacy.Tok2Vec.v2 that it is short for."""
    resolved = _at(text.resolve(), path)
    for key in ("width", "depth", "window_size", "maxout_pieces"):
        text.move((*path, key), (*path, "encode", key))
    for key in ("embed_size", "subword_features", "pretrained_vectors"):
        text.replace_references((*path, key), get_section(text, (*path, key)))
    text.put(path, _embed_and_encode(get_section(text, path), resolved))


def _embed_and_encode(cnn: Section, resolved: Section) -> Section:
    """Return the spacy.Tok2Vec.v2 of a spacy.HashEmbedCNN. resolved: the same, without references."""
    width, size = cnn["width"], resolved["embed_size"]
    subwords = resolved.get("subword_features", True)
    return {
        "@architectures": "spacy.Tok2Vec.v2",
        "embed": {
            "@architectures": "spacy.MultiHashEmbed.v2",
            "width": width,
            "attrs": ["NORM", "PREFIX", "SUFFIX", "SHAPE"] if subwords else ["NORM"],
            "rows": [size] + [size // 2] * 3 if subwords else [size],
            "include_static_vectors": bool(resolved.get("pretrained_vectors")),
        },
        "encode": {
            "@architectures": "spacy.MaxoutWindowEncoder.v2",
            "width": width,
            "depth": cnn["depth"],
            "window_size": cnn["window_size"],
            "maxout_pieces": cnn["maxout_pieces"],
        },
    }


def _short(section: Section) -> str:
    name = next((value for key, value in section.items() if key.startswith("@")), "?")
    return str(name).partition(".")[2].rpartition(".")[0] or str(name)
