"""Download published models: a table of names, addresses, checksums and licences.

Nothing is downloaded unless a user asks for it by name.
"""

import hashlib
import json
from dataclasses import dataclass
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from ..atomic_io import FolderKind, PathLike, atomic_folder
from ..errors import FormatError
from ..progress import progress_bar

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
    """Refuse redirects from an encrypted address to an unencrypted one."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        """Return the request to follow. Raises a FormatError for an unsafe redirect."""
        allowed = ("https",) if req.type == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in allowed:
            raise FormatError(
                f"{req.full_url} redirects to {newurl}, which is not encrypted: the download was stopped."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


urlopen = build_opener(_SafeRedirects).open


@dataclass(frozen=True)
class PretrainedModel:
    """A model that can be downloaded.

    Attributes:
        name: Name on the command line.
        kind: Format, as `spacy elmo convert --from` names it.
        lang: Language, an ISO code as in spaCy.
        files: Address of each file, by the file's name.
        sha256: Checksums of the files whose publisher states one.
        licence: Licence of the model.
        page: Page that describes the model.
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
        """Warning for users before they download and use these files, or None."""
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
    """Return the models of pretrained_models.json, by name."""
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
    """Return a model by name. Raises a FormatError if it is not in the table."""
    known = known_models()
    if name not in known:
        raise FormatError(f'The model "{name}" is not known: `spacy elmo download` lists all names.')
    return known[name]


def fetch(model: PretrainedModel, path: PathLike) -> None:
    """Download the files of a model into a folder, unchanged, with a record of their origin.

    Either all files are written or none. Raises a FormatError if an address does not answer, a file is
    incomplete, or a checksum differs.
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
            digest = _get(url, folder / name)
            if model.sha256.get(name, digest) != digest:
                raise FormatError(f"The checksum of {url} is wrong: try again, or ask its publisher.")
            record["files"][name] = {"url": url, "sha256": digest}
        (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf8")


def _get(url: str, target: Path) -> str:
    """Download one file and return its checksum."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise FormatError(f"{url} is not a web address: correct pretrained_models.json.")
    digest, size = hashlib.sha256(), 0
    try:
        with urlopen(Request(url, headers={"User-Agent": "spacy-elmo"}), timeout=TIMEOUT) as answer:
            expected = answer.headers.get("Content-Length")
            known = int(expected) if expected is not None else None
            with target.open("wb") as file, progress_bar(target.name, known, "B") as advance:
                while data := answer.read(CHUNK):
                    file.write(data)
                    digest.update(data)
                    size += len(data)
                    advance(len(data))
    except (OSError, HTTPException) as error:  # URLError is an OSError
        raise FormatError(f"{url} cannot be downloaded ({error}): try again later.") from error
    if expected is not None and size != int(expected):
        raise FormatError(
            f"The download of {url} stopped after {size:,} of {int(expected):,} bytes: try again."
        )
    return digest.hexdigest()
