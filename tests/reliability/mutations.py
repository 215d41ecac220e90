"""Damage to files: bytes, JSON, lists of lines, and checksums that are mended afterwards."""

import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Any

Files = dict[str, bytes]

NUMBERS = [0, 1, -1, 2, 7, 255, 2**31 - 1, 2**31, 2**32, 2**53, 2**63, -(2**63), 2**64, 10**30, 0.5, 1e308]
STRINGS = ["", " ", "x" * 3000, "../../secret", "/etc/hostname", "\0", "\ud800", "\u2028", "😀", "a\tb"]
OTHERS: list[Any] = [None, True, False, [], {}, [[]], {"": None}, float("nan"), float("inf"), -float("inf")]
LINES = [b"", b"\xff", b"\xed\xa0\x80", b"\0", b"\t", b"a\t1", b"\xe2\x80\xa8", b"x" * 5000, b"a\t-1"]


def change_bytes(rng: random.Random, data: bytes) -> bytes:
    """Change, insert, remove, repeat or cut a few bytes, most often among the first, where headers are."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        place = rng.randrange(min(len(out), rng.choice([16, 256, 2**40])) or 1)
        length = rng.choice([1, 1, 2, 4, 8, 40])
        kind = rng.randrange(7)
        if kind == 0:
            out[place : place + 1] = bytes([rng.randrange(256)])
        elif kind == 1 and place < len(out):
            out[place] ^= 1 << rng.randrange(8)
        elif kind == 2:
            out[place:place] = rng.randbytes(length)
        elif kind == 3:
            del out[place : place + length]
        elif kind == 4:
            out[place : place + length] = rng.choice([b"\0", b"\xff", b"\x7f"]) * length
        elif kind == 5:
            other = rng.randrange(len(out) or 1)
            out[place:place] = out[other : other + length]
        elif rng.random() < 0.3:
            del out[place:]
    return bytes(out)


def change_json(rng: random.Random, data: bytes) -> bytes:
    """Replace, remove, add or repeat a value anywhere in a JSON document, or nest it without end."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return change_bytes(rng, data)
    places = list(_places(document))
    if rng.random() < 0.02 or not places:
        return rng.choice([b"[" * 100_000, b'{"a":' * 5000, b"null", b"{}", b"[]", b"", b"1" * 5000, b"\xff"])
    holder, key = rng.choice(places)
    kind = rng.randrange(10)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[rng.choice(STRINGS)] = holder[key]
    elif kind == 2:
        holder[key] = [holder[key]] * rng.choice([0, 1, 2, 1000])
    elif kind == 3:
        other, other_key = rng.choice(places)
        holder[key] = json.loads(json.dumps(other[other_key])) if other_key in _keys(other) else None
    elif kind == 4 and isinstance(holder[key], int):
        holder[key] += rng.choice([-1, 1, 100, 10**6])
    else:
        holder[key] = rng.choice(rng.choice([NUMBERS, NUMBERS, STRINGS, OTHERS]))
    with suppress(RecursionError):
        return json.dumps(document).encode("utf8", "surrogatepass")
    return data


def _places(value: Any) -> Any:
    for key in _keys(value):
        yield value, key
        yield from _places(value[key])


def _keys(value: Any) -> list:
    if isinstance(value, list):
        return list(range(len(value)))
    return list(value) if isinstance(value, dict) else []


def change_lines(rng: random.Random, data: bytes) -> bytes:
    """Change, exchange, repeat, remove or add lines."""
    lines = data.split(b"\n")
    for _ in range(rng.choice([1, 1, 3])):
        i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
        kind = rng.randrange(6)
        if kind == 0:
            lines[i], lines[j] = lines[j], lines[i]
        elif kind == 1:
            lines.insert(i, lines[j])
        elif kind == 2 and len(lines) > 1:
            del lines[i]
        elif kind == 3:
            lines[i] = rng.choice(LINES)
        elif kind == 4:
            lines.insert(i, rng.choice(LINES))
        else:
            lines[i] = change_bytes(rng, lines[i])
    return b"\n".join(lines)


def change_safetensors(rng: random.Random, data: bytes) -> bytes:
    """Change the header of a safetensors file, whose length stays true, or set numbers that are none."""
    size = int.from_bytes(data[:8], "little")
    if size > len(data) - 8:
        return change_bytes(rng, data)
    header, rest = data[8 : 8 + size], bytearray(data[8 + size :])
    if rng.random() < 0.3 and len(rest) > 4:
        place = rng.randrange(len(rest) // 4) * 4
        nan, infinite, largest = b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xff\x7f\x7f"
        rest[place : place + 4] = rng.choice([nan, infinite, largest, b"\xff\0\0\0"])
        return data[: 8 + size] + bytes(rest)
    header = change_json(rng, header)
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + bytes(rest)


Change = Callable[[random.Random, str, bytes], bytes]


def change_zip(rng: random.Random, data: bytes, change: Change) -> bytes:
    """Change a member of a zip archive, its name, or the archive's own bytes."""
    if rng.random() < 0.4:
        return change_bytes(rng, data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:  # damaged before
        return change_bytes(rng, data)
    if not members:
        return data
    i = rng.randrange(len(members))
    name, content = members[i]
    kind = rng.randrange(6)
    if kind == 0:
        names = ["../" + name, "/tmp/" + name, name + "x", "a/" + name, "a\\" + name]
        members[i] = rng.choice(names), content
    elif kind == 1:
        members.append((name, content))
    elif kind == 2:
        del members[i]
    elif kind == 3:
        members[i] = name, b"\0" * rng.choice([10, 2**20, 2**24])
    else:
        members[i] = name, change(rng, name, content)
    buffer = io.BytesIO()
    packing = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def change_file(rng: random.Random, name: str, data: bytes) -> bytes:
    """Change a file by what it is, as its name says."""
    if rng.random() < 0.15:
        return change_bytes(rng, data)
    if name.endswith(".json"):
        return change_json(rng, data)
    if name.endswith((".txt", ".dic", ".tsv", ".jsonl")):
        return change_lines(rng, data)
    if name.endswith(".safetensors"):
        return change_safetensors(rng, data)
    if name.endswith(".zip"):
        return change_zip(rng, data, change_file)
    if name.endswith(".pkl"):  # torch's, a zip archive
        return change_zip(rng, data, lambda rng, name, data: change_bytes(rng, data))
    if name.endswith(".gz") and rng.random() < 0.5:
        with suppress(Exception):
            return gzip.compress(change_bytes(rng, gzip.decompress(data)))
    return change_bytes(rng, data)


def mend_model(files: Files, prefix: str = "") -> None:
    """Write the checksums of a model folder's files into its config.json, so that reading continues."""
    with suppress(Exception):  # a config.json that was damaged itself
        config = json.loads(files[f"{prefix}config.json"])
        for name, entry in config["files"].items():
            data = files[prefix + name]
            entry.update(bytes=len(data), sha256=sha256(data).hexdigest())
        files[f"{prefix}config.json"] = json.dumps(config).encode()


def mend_corpus(files: Files) -> None:
    """Write the checksums of a corpus into its manifest."""
    with suppress(Exception):
        manifest = json.loads(files["manifest.json"])
        for shard in manifest["shards"]:
            for name in shard["sha256"]:
                shard["sha256"][name] = sha256(files[name]).hexdigest()
        for name in manifest["sha256"]:
            manifest["sha256"][name] = sha256(files[name]).hexdigest()
        files["manifest.json"] = json.dumps(manifest).encode()


def mend_labels(files: Files) -> None:
    """Write the checksums of labels into their manifest."""
    with suppress(Exception):
        manifest = json.loads(files["manifest.json"])
        names = sorted(name for name in files if name.endswith(".npy"))
        manifest["shards"] = [sha256(files[name]).hexdigest() for name in names]
        files["manifest.json"] = json.dumps(manifest).encode()


def mend_checkpoint(files: Files) -> None:
    """Write the checksums of a checkpoint into its state."""
    with suppress(Exception):
        state = json.loads(files["state.json"])
        state["sha256"] = sha256(files["state.safetensors"]).hexdigest()
        files["state.json"] = json.dumps(state).encode()
    mend_model(files, "model/")
