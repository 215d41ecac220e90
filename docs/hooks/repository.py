"""A hook of MkDocs: files of the repository as pages, links that leave docs/, folders in the nav."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
SOURCE = "https://github.com/spacy-elmo/spacy-elmo/blob/main/"
# Page of the site -> file of the repository. All other pages are those in docs/.
PAGES = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "kernel.md": "spacy_elmo/kernels/native/README.md",
    "model-card.md": "spacy_elmo/models/zh_elmo_sm/README.md",
    "project.md": "projects/zh_elmo/README.md",
}
LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\[\]]*\])*\]\()(?!\w+:|#)([^)\s#]+)(#[^)\s]*)?(\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace `folder/` in the nav by the pages of that folder; drop the entry if it has none."""
    config.nav = [entry for each in config.nav or [] if (entry := _expand(each, Path(config.docs_dir)))]
    return config


def _expand(entry: Any, docs: Path) -> Any:
    if not isinstance(entry, dict):
        return entry
    ((title, value),) = entry.items()
    if isinstance(value, list):
        return {title: [child for each in value if (child := _expand(each, docs))]}
    if not value.endswith("/"):
        return entry
    folder = docs / value
    index = folder / "index.md"
    listed = re.findall(r"\]\(([\w-]+\.md)\)", index.read_text("utf8")) if index.is_file() else []
    names = sorted({path.name for path in folder.glob("*.md")} - {"index.md", *listed})
    pages = [value + name for name in ("index.md", *listed, *names) if (folder / name).is_file()]
    return {title: pages} if pages else None


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are files elsewhere in the repository."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to files of the repository at pages of the site, or at the repository's own site."""
    name = page.file.src_uri
    folder = posixpath.dirname(PAGES.get(name, f"docs/{name}"))
    there = {f"docs/{file.src_uri}": file.src_uri for file in files} | {v: k for k, v in PAGES.items()}

    def target(link: re.Match) -> str:
        path = posixpath.normpath(posixpath.join(folder, link[2]))
        if path in there:
            goal = posixpath.relpath(there[path], posixpath.dirname(name) or ".")
        elif (ROOT / path).exists():
            goal = SOURCE + path
        else:
            return link[0]  # MkDocs warns of it
        return f"{link[1]}{goal}{link[3] or ''}{link[4]}"

    return LINK.sub(target, markdown)
