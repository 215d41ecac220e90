"""Change the text of a configuration by sections, and keep comments and everything else."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thinc.api import Config

from .writer import format_value, sections_of

Path = tuple[str, ...]

_HEADER = re.compile(r"^\[(.+)\](.*)$")  # as spaCy reads it: text after the bracket is a comment
_SETTING = re.compile(r"^([^\s=:#;\[][^=:]*?)\s*[=:]")


@dataclass
class Block:
    """A section: comments above and next to its header, and settings.

    path: () for the lines before all sections.
    """

    path: Path
    above: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    comment: str = ""


class ConfigText:
    """A configuration as blocks of lines, in order."""

    def __init__(self, text: str) -> None:
        self.blocks = [Block(())]
        for line in text.splitlines():
            header = _HEADER.match(line)
            if header is None:
                self.blocks[-1].lines.append(line)
                continue
            above = _pop_comments(self.blocks[-1].lines)
            self.blocks.append(Block(tuple(header[1].split(".")), above, comment=header[2]))

    def __str__(self) -> str:
        lines: list[str] = []
        for block in self.blocks:
            header = [f"[{'.'.join(block.path)}]{block.comment}"] if block.path else []
            lines += [*block.above, *header, *block.lines]
        return "\n".join(lines).rstrip("\n") + "\n"

    def parse(self) -> Config:
        """Return the configuration, references left as they are."""
        return Config().from_str(str(self), interpolate=False)

    def resolve(self) -> Config:
        """Return the configuration, references replaced by what they refer to."""
        return self.parse().interpolate()

    def has_section(self, path: Path) -> bool:
        """Return whether a section has a header, instead of standing in one line or being a reference."""
        return any(block.path == path for block in self.blocks)

    def move(self, old: Path, new: Path) -> None:
        """Give a section and all below it, or a setting, another place; references to it follow."""
        for block in self.blocks:
            if block.path[: len(old)] == old:
                block.path = new + block.path[len(old) :]
        for block in self.blocks:
            block.lines = [
                re.sub(rf"{_reference(old)}(?=[.:}}])", f"${{{'.'.join(new)}", line) for line in block.lines
            ]

    def replace_references(self, path: Path, value: Any) -> None:
        """Put a value in place of all references to a setting."""
        for block in self.blocks:
            block.lines = [
                re.sub(rf"{_reference(path)}}}", lambda _: format_value(value), line) for line in block.lines
            ]

    def wrap(self, path: Path, key: str, section: Mapping[str, Any]) -> None:
        """Put a new section where one is, which becomes its part `key`."""
        index = next(i for i, block in enumerate(self.blocks) if block.path == path)
        old = self.blocks[index]
        self.move(path, (*path, key))
        new = _new_blocks(path, section)
        new[0].above, new[0].comment = old.above, old.comment
        old.above, old.comment = [], ""
        self.blocks[index:index] = new

    def put(self, path: Path, section: Mapping[str, Any]) -> None:
        """Replace a section, or add it after its parent if it does not exist."""
        old = [block for block in self.blocks if block.path[: len(path)] == path]
        new = _new_blocks(path, section)
        if old:
            new[0].above, new[0].comment = old[0].above, old[0].comment
            index = self.blocks.index(old[0])
            self.blocks = [block for block in self.blocks if block not in old]
        else:
            if not self.has_section(path[:-1]):
                self.put(path[:-1], {})
            index = max(i for i, block in enumerate(self.blocks) if block.path == path[:-1]) + 1
        self.blocks[index:index] = new

    def set_value(self, path: Path, key: str, value: Any) -> None:
        """Set one setting of a section that exists."""
        block = next(block for block in self.blocks if block.path == path)
        lines: list[str] = []
        inside = done = False
        for line in block.lines:
            setting = _SETTING.match(line)
            inside = (setting is not None and setting[1] == key) or (inside and line[:1] in (" ", "\t"))
            if not inside:
                lines.append(line)
            elif not done:
                lines.append(f"{key} = {format_value(value)}")
                done = True
        block.lines = lines if done else [f"{key} = {format_value(value)}", *lines]


def _pop_comments(lines: list[str]) -> list[str]:
    """Take the comments at the end of a section, which belong to the next one."""
    end = len(lines)
    while end and lines[end - 1].lstrip().startswith(("#", ";")):
        end -= 1
    comments = lines[end:]
    del lines[end:]
    return comments


def _new_blocks(path: Path, section: Mapping[str, Any]) -> list[Block]:
    blocks = []
    for inner, settings in ((path, section), *sections_of(section, path)):
        lines = [
            f"{key} = {format_value(value)}"
            for key, value in settings.items()
            if not isinstance(value, Mapping)
        ]
        blocks.append(Block(inner, [], [*lines, ""]))
    return blocks


def _reference(path: Path) -> str:
    """Return a pattern of the beginning of references to a path, with a dot or a colon between its parts."""
    return r"\$\{" + "[.:]".join(map(re.escape, path))
