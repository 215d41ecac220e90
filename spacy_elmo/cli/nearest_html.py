"""The page that `spacy elmo nearest --html` writes: one file that loads nothing from elsewhere."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from .pictures import MARK_IN_HTML

if TYPE_CHECKING:
    from ..pipeline.concordance import Neighbour, Occurrence

CONTEXT = 80  # characters on each side of the word; the whole sentence shows under the pointer
BAR = 6  # width of the bar of cosine 1, in rem

STYLE = """
body { font: 16px/1.6 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; padding: 0 1rem;
       color: #222; background: #fff; }
table { border-collapse: collapse; width: 100%; }
td, th { padding: .25rem .4rem; border-bottom: 1px solid #ddd; white-space: nowrap; }
th { text-align: left; font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; width: 4rem; }
.bar { display: block; height: .8rem; background: #3f51b5; border-radius: .2rem; }
.before { text-align: right; width: 50%; }
.word { text-align: center; }
.after { width: 50%; }
.before, .after { max-width: 0; overflow: hidden; text-overflow: ellipsis; }
.before { direction: rtl; } /* what does not fit is cut on the left; bdi keeps the text's own direction */
mark { background: #ffe08a; color: inherit; padding: 0 .15rem; border-radius: .2rem; }
.query td { background: #f4f4f8; }
footer { margin-top: 1rem; color: #666; }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #1e1e24; } td, th { border-color: #444; } .bar { background: #8c9eff; }
  mark { background: #6d5a10; } .query td { background: #2a2a33; } footer { color: #999; }
}
"""


def make_page(query: "Occurrence", neighbours: "Sequence[Neighbour]", word: str, summary: str) -> str:
    """Return the page: the query, then its neighbours with their cosines, the word in one column."""
    title = escape(f"{word}: {len(neighbours)} nearest occurrences")
    rows = [_row(query, None), *(_row(each.occurrence, each.similarity) for each in neighbours)]
    return f"""<!doctype html>
<html>
<head>
<meta charset="utf-8">
{MARK_IN_HTML}
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{title}</h1>
<table>
<tr><th class="number">cosine</th><th></th><th class="before"></th><th></th><th class="after"></th></tr>
{chr(10).join(rows)}
</table>
<footer>{escape(summary)}</footer>
</body>
</html>
"""


def _row(occurrence: "Occurrence", similarity: float | None) -> str:
    sentence, start, end = occurrence.sentence, occurrence.start, occurrence.end
    before, after = sentence[:start], sentence[end:]
    number = "" if similarity is None else f"{similarity:.3f}"
    width = 0.0 if similarity is None else BAR * max(0.0, similarity)
    return (
        f'<tr{" class=query" * (similarity is None)} title="{escape(sentence)}">'
        f'<td class="number">{number}</td>'
        f'<td><span class="bar" style="width: {width:.2f}rem"></span></td>'
        f'<td class="before"><bdi>{escape(before[-CONTEXT:])}</bdi></td>'
        f'<td class="word"><mark>{escape(sentence[start:end])}</mark></td>'
        f'<td class="after"><bdi>{escape(after[:CONTEXT])}</bdi></td></tr>'
    )
