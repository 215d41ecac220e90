"""A hook of MkDocs: the page that compares a word in two sentences, inside docs/browser.md.

`python projects/browser/build_page.py` builds it, with a compiler that most machines do not have. Where it
has been built, the site gets a copy; elsewhere the marker `<!-- page -->` becomes nothing.
"""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

BUILT = Path(__file__).parents[2] / "build" / "browser" / "index.html"
URI = "browser/index.html"
MARKER = "<!-- page -->"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page to the site if it has been built."""
    if BUILT.is_file():
        files.append(File.generated(config, URI, abs_src_path=str(BUILT)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace the marker by a frame that shows the page, or by nothing."""
    if MARKER not in markdown:
        return markdown
    built = files.get_file_from_path(URI)
    frame = ""
    if built is not None:
        source = get_relative_url(built.url, page.url)
        frame = f'<iframe class="browser-page" title="One word in two sentences" src="{source}"></iframe>'
    return markdown.replace(MARKER, frame)
