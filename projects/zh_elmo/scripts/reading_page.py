"""Write a page of passages and questions with the answers of a reader, the correct ones, and attention."""

import html
from pathlib import Path
from typing import Any

import typer
from io_utils import fail, write_atomic
from reading_report import number_of

AROUND, MOST = 6, 24  # characters of the attention map: on either side of an answer, and of the answer
SYSTEMS = ("elmo", "elmo_twice", "elmo_lexicon", "baseline")  # the first of them with a reader is shown
PAGE = """<!doctype html>
<html lang="zh"><meta charset="utf-8"><title>Reading comprehension</title>
<style>
body{{font:16px/1.7 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}}
article{{border-top:1px solid #ccc;padding:1em 0}}
mark{{background:#ffe08a}} .right{{border-bottom:3px solid #2a9d4a}}
.question{{font-weight:bold}} .facts{{color:#555;font-size:90%}}
.map{{overflow-x:auto}} table{{border-collapse:collapse;font-size:14px;line-height:1.3}}
td,th{{min-width:1.4em;text-align:center;padding:1px;font-weight:normal}} td{{border:1px solid #eee}}
</style>
<h1>Reading comprehension</h1>
<p>Yellow: the answer that was found. Underlined in green: the right one. The table: how much the
characters at the answer (rows) attend to those of the question (columns); rows sum to 1.</p>
<p>{source}</p>
{articles}
</html>
"""


def page(pipeline: Path, test: Path, count: int) -> str:
    """Build the page: `count` passages, spread over the test, with one question each."""
    import spacy

    from spacy_elmo.tasks.reading.corpus import read_squad

    nlp = spacy.load(pipeline)  # kept: the reader does not own the biLM that it listens to
    reader = nlp.get_pipe("reader")
    reader.threshold = 1.0
    shown = [(text, asked) for text, asked in read_squad(test) if len(text) <= reader.window and asked]
    step = max(1, len(shown) // count)
    articles = [
        _article(reader, text, asked[i % len(asked)]) for i, (text, asked) in enumerate(shown[::step][:count])
    ]
    source = html.escape(f"Reader: {pipeline.parent.name}. Passages: {test.stem}.")
    return PAGE.format(source=source, articles="\n".join(articles))


def _article(reader: Any, text: str, question: Any) -> str:
    answers = reader.answer(question.text, text)
    weights = reader.attention(question.text, text)  # (characters of the passage, of the question)
    found = [(answer.start, answer.end) for answer in answers]
    passage = "".join(_character(c, _is_in(i, found), _is_in(i, question.spans)) for i, c in enumerate(text))
    facts = f"found: {answers[0].text} ({answers[0].score:.2f})" if answers else "found: nothing"
    facts += f"; right: {' / '.join(question.answers)}; no answer: {answers.no_answer:.2f}"
    return (
        f'<article>\n<p class="question">{html.escape(question.text)}</p>\n<p>{passage}</p>\n'
        f'<p class="facts">{html.escape(facts)}</p>\n'
        + "".join(_map(weights, text, question.text, *span) for span in found[:1])
        + "</article>"
    )


def _is_in(i: int, spans: Any) -> bool:
    return any(start <= i < end for start, end in spans)


def _character(character: str, found: bool, right: bool) -> str:
    shown = "<br>" if character == "\n" else html.escape(character)
    shown = f'<span class="right">{shown}</span>' if right else shown
    return f"<mark>{shown}</mark>" if found else shown


def _map(weights: Any, text: str, question: str, start: int, end: int) -> str:
    """Draw the attention of an answer and its surroundings as a table."""
    head = "".join(f"<th>{html.escape(c)}</th>" for c in question)
    rows = []
    for i in range(max(0, start - AROUND), min(len(text), min(end, start + MOST) + AROUND)):
        name = html.escape(text[i]) if text[i].strip() else "␣"
        name = f"<mark>{name}</mark>" if start <= i < end else name
        cells = "".join(
            f'<td style="background:rgba(60,110,230,{w:.2f})" title="{w:.2f}"></td>' for w in weights[i]
        )
        rows.append(f"<tr><th>{name}</th>{cells}</tr>")
    return f'<div class="map"><table><tr><th></th>{head}</tr>{"".join(rows)}</table></div>\n'


def find_pipeline(training: Path) -> Path | None:
    """Find a reader to show: the first of SYSTEMS, with the most training questions; None: there is none."""
    for system in SYSTEMS:
        found = sorted(training.glob(f"{system}_*_*/model-best"))
        if found:
            return max(found, key=lambda folder: number_of(folder.parent.name.rsplit("_", 2)[1]))
    return None


def main(
    training: Path = typer.Argument(..., help="Folder of trained readers, see reading.py."),
    test: Path = typer.Argument(..., help="Questions in SQuAD's form."),
    output: Path = typer.Argument(..., help="The page to write, .html."),
    count: int = typer.Option(20, min=1, help="Passages on the page."),
) -> None:
    """Write the page."""
    try:
        pipeline = find_pipeline(training)
        if pipeline is None:
            fail(f"{training} contains no trained reader: run `spacy project run reading` first.")
        write_atomic(output, page(pipeline, test, count).encode("utf8"))
        typer.echo(f"{output}: {count} passages with answers and attention, by {pipeline.parent.name}")
    except (OSError, ValueError) as error:
        fail(str(error))


if __name__ == "__main__":
    typer.run(main)
