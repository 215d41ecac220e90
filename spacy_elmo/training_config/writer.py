"""Write nested sections as the text of a configuration, with comments."""

import json
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from thinc.api import Config


def write_config(
    config: Mapping[str, Any], header: Sequence[str], comments: Mapping[str, Sequence[str]]
) -> str:
    """Return the text of a configuration that spaCy reads as `config`.

    header: lines of the comment at its top. comments: lines of a comment by a pattern of dotted paths, of a
    section or a setting; each stands once, before the first path that its pattern fits.
    """
    unused = dict(comments)
    blocks = ["\n".join(f"# {line}".rstrip() for line in header)]
    for path, section in sections_of(config):
        lines = [*_comment(path, unused), f"[{'.'.join(path)}]"]
        for key, value in section.items():
            if not isinstance(value, Mapping):
                lines += [*_comment((*path, key), unused), f"{key} = {format_value(value)}"]
        blocks.append("\n".join(lines))
    text = "\n\n".join(blocks) + "\n"
    assert _rounded(Config().from_str(text, interpolate=False)) == _rounded(config)
    return text


def _rounded(value: Any) -> Any:
    """Return nested settings with rounded numbers: spaCy can read 0.3 as 0.30000000000000004."""
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return round(value, 12) if isinstance(value, float) else value


def format_value(value: Any) -> str:
    """Return a value as spaCy's configurations write it; a reference to another one, ${...}, stays bare."""
    if isinstance(value, str) and value.startswith("${") and value.endswith("}"):
        return value
    return json.dumps(value, ensure_ascii=False)


def sections_of(
    config: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Return all sections in order, except [...*], which spaCy infers."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            inner = (*path, key)
            if key != "*":
                yield inner, value
            yield from sections_of(value, inner)


def _comment(path: tuple[str, ...], unused: dict[str, Sequence[str]]) -> list[str]:
    name = ".".join(path)
    pattern = next((each for each in unused if fnmatchcase(name, each)), None)
    return [f"# {line}" for line in unused.pop(pattern)] if pattern else []
