"""Models of others that can be had: a table of names, addresses, checksums and licences, and the way there.

Nothing is fetched unless a person asks for it by name.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from ..atomic_io import FolderKind, PathLike, atomic_folder
from .tensor_mapping import FormatError

RECORD = "download.json"
DOWNLOAD = FolderKind(
    name="a download",
    marker=RECORD,
    kind="spacy-elmo.download",
    keys=frozenset({"name", "licence", "page", "files"}),
    files=(),
    listed="files",
)
CHUNK = 2**20
TIMEOUT = 60  # seconds without a byte


class _SafeRedirects(HTTPRedirectHandler):
    """Follow no answer that leads from an encrypted address to another kind."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        allowed = ("https",) if req.type == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in allowed:
            raise FormatError(
                f"{req.full_url} redirects to {newurl}, which is not encrypted: the download was stopped."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


urlopen = build_opener(_SafeRedirects).open


@dataclass(frozen=True)
class PretrainedModel:
    """A model that can be had.

    kind: how `spacy elmo convert` names its format. lang: an ISO code as spaCy's. files: address by the name
    that a file gets. sha256: of those files whose publisher states one. licence, page: where it comes from.
    """

    name: str
    kind: str
    lang: str
    files: dict[str, str]
    sha256: dict[str, str]
    licence: str
    page: str

    @property
    def risk(self) -> str | None:
        """What a person should know before these files are fetched and read; None: nothing."""
        unknown = [name for name in self.files if name not in self.sha256]
        plain = [url for url in self.files.values() if urlsplit(url).scheme != "https"]
        if not unknown:
            return None
        text = (
            f"The publisher states no checksum of {', '.join(unknown)}, so changed files cannot be detected. "
            "First compare the SHA-256 in download.json with one from a source that you trust."
        )
        if plain:
            text += f" {plain[0]} is not encrypted: the files can be changed on their way."
        return text


def known_models() -> dict[str, PretrainedModel]:
    """The table, by name."""
    table = json.loads((files("spacy_elmo.formats") / "pretrained_models.json").read_text(encoding="utf8"))
    found = {}
    for source in table["sources"]:
        common = {key: source[key] for key in ("kind", "licence", "page")}
        for name, row in source["models"].items():
            addresses = {file: source["base"] + end for file, end in row["files"].items()}
            found[name] = PretrainedModel(
                name, lang=row["lang"], files=addresses, sha256=row.get("sha256", {}), **common
            )
    return found


def find(name: str) -> PretrainedModel:
    """A model of the table. Raises a FormatError."""
    known = known_models()
    if name not in known:
        raise FormatError(f'The model "{name}" is not known: `spacy elmo download` lists all names.')
    return known[name]


def fetch(
    model: PretrainedModel, path: PathLike, *, progress: Callable[[str, int], None] = lambda name, n: None
) -> None:
    """Write a folder of the model's files as they are published, and a record of where they are from.

    All files are there, or none. progress: called with the name of a file and the bytes that came. Raises a
    FormatError for an address that does not answer, a part that is missing or another checksum.
    """
    record: dict[str, Any] = {
        "kind": DOWNLOAD.kind,
        "name": model.name,
        "licence": model.licence,
        "page": model.page,
        "files": {},
    }
    with atomic_folder(path, DOWNLOAD) as folder:
        for name, url in model.files.items():
            digest = _get(url, folder / name, partial(progress, name))
            if model.sha256.get(name, digest) != digest:
                raise FormatError(f"The checksum of {url} is wrong: try again, or ask its publisher.")
            record["files"][name] = {"url": url, "sha256": digest}
        (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf8")


def _get(url: str, target: Path, progress: Callable[[int], None]) -> str:
    """Fetch one file; returns its checksum."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise FormatError(f"{url} is not a web address: correct pretrained_models.json.")
    digest, size = hashlib.sha256(), 0
    try:
        with urlopen(Request(url, headers={"User-Agent": "spacy-elmo"}), timeout=TIMEOUT) as answer:
            expected = answer.headers.get("Content-Length")
            with target.open("wb") as file:
                while data := answer.read(CHUNK):
                    file.write(data)
                    digest.update(data)
                    size += len(data)
                    progress(len(data))
    except (OSError, HTTPException) as error:  # URLError is an OSError
        raise FormatError(f"{url} cannot be downloaded ({error}): try again later.") from error
    if expected is not None and size != int(expected):
        raise FormatError(
            f"The download of {url} stopped after {size:,} of {int(expected):,} bytes: try again."
        )
    return digest.hexdigest()
