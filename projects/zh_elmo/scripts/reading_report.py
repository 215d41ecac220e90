"""The tables of the reading comparison, and a page of passages with their answers and attention."""

import html
import statistics
from pathlib import Path
from typing import Any

import typer
from io_utils import fail, read_json, write_atomic

METRICS = {"em": "EM", "f": "F1", "rouge_l": "Rouge-L"}
NAMES = {
    "baseline": "BiDAF without ELMo",
    "elmo": "+ ELMo at the input",
    "elmo_twice": "+ ELMo at the input and after the modelling layer",
    "elmo_lexicon": "+ ELMo, static vectors and lexicon groups at the input",
}
PAGE = """<!doctype html><html lang="zh"><meta charset="utf-8"><title>Reading comprehension</title><style>
body{{font:16px/1.7 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}}
article{{border-top:1px solid #ccc;padding:1em 0}}mark{{background:#ffe08a;border-bottom:2px solid #c80}}
.p span{{border-radius:2px}}.q{{font-weight:bold}}.s{{color:#666;font-size:90%}}</style>
<h1>Reading comprehension</h1><p>The reader's answer is marked. A character is the bluer, the more of its
attention goes to a single character of the question.</p>{articles}</html>"""


def table(metrics: Path) -> str:
    """All runs: mean and deviation over the seeds, by number of questions, test and length of the answer."""
    groups: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for path in sorted(metrics.glob("*.json")):
        system, questions, seed = path.stem.rsplit("_", 2)
        groups.setdefault((system, questions), {})[int(seed)] = read_json(path)
    if not groups:
        raise ValueError(f"There are no scores in {metrics}: run `spacy project run reading` first.")
    order = {name: i for i, name in enumerate(NAMES)}
    some = next(iter(next(iter(groups.values())).values()))
    tests = [name for name, value in some.items() if isinstance(value, dict) and "all" in value]
    lines = ["# Reading comprehension", ""]
    for test in tests:
        lengths = [name for name in some[test] if name not in ("all", "no_answer_acc")]
        heads = [
            *METRICS.values(),
            *(f"F1, answers of {name}" for name in lengths),
            "refuses rightly",
            "seeds",
        ]
        lines += [f"## {test}", "", "| system | training questions | " + " | ".join(heads) + " |"]
        lines += ["|---|---|" + "---|" * len(heads)]
        for (system, questions), runs in sorted(
            groups.items(), key=lambda g: (g[0][1], order.get(g[0][0], 9))
        ):
            cells = [_mean([run[test]["all"][name] for run in runs.values()]) for name in METRICS]
            cells += [_mean([run[test][name]["f"] for run in runs.values()]) for name in lengths]
            cells += [_mean([run[test]["no_answer_acc"] for run in runs.values()])]
            cells += [" ".join(map(str, sorted(runs)))]
            lines += [f"| {NAMES.get(system, system)} | {questions} | " + " | ".join(cells) + " |"]
        lines += [""]
    lines += [
        "## Cost",
        "",
        "| system | training questions | questions/s | training, minutes | peak memory, MB |",
    ]
    lines += ["|---|---|---|---|---|"]
    for (system, questions), runs in sorted(groups.items(), key=lambda g: (g[0][1], order.get(g[0][0], 9))):
        own = list(runs.values())
        speed, seconds, peak = (
            statistics.mean(run[name] for run in own)
            for name in ("questions_per_second", "training_seconds", "peak_mb")
        )
        cells = f"{speed:.1f} | {seconds / 60:.1f} | {peak:.0f}"
        lines += [f"| {NAMES.get(system, system)} | {questions} | {cells} |"]
    return "\n".join(lines) + "\n"


def _mean(values: list[float | None]) -> str:
    if None in values:
        return ""  # no question of that kind
    mean = f"{100 * statistics.mean(values):.2f}"
    return f"{mean} ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else mean


def page(pipeline: Path, test: Path, count: int) -> str:
    """Passages with a question each, the answer marked and the attention as colour."""
    import spacy

    from spacy_elmo.tasks.reading.corpus import read_squad

    reader = spacy.load(pipeline).get_pipe("reader")
    reader.threshold = 1.0
    articles = []
    for text, questions in read_squad(test):
        if len(articles) == count:
            break
        if len(text) <= reader.window and questions:
            articles.append(_article(reader, text, questions[0]))
    return PAGE.format(articles="".join(articles))


def _article(reader: Any, text: str, question: Any) -> str:
    answers = reader.answer(question.text, text)
    weights = reader.attention(question.text, text).max(1)
    spans = [(answer.start, answer.end) for answer in answers]
    parts = []
    for i, (character, weight) in enumerate(zip(text, weights, strict=True)):
        style = f"background:rgba(60,120,255,{0.6 * float(weight):.2f})"
        mark = any(start <= i < end for start, end in spans)
        span = f'<span style="{style}">{html.escape(character)}</span>'
        parts.append(f"<mark>{html.escape(character)}</mark>" if mark else span)
    found = f"{html.escape(answers[0].text)} ({answers[0].score:.2f})" if answers else "no answer"
    right = html.escape(" / ".join(question.answers))
    return (
        f'<article><p class="q">{html.escape(question.text)}</p><p class="p">{"".join(parts)}</p>'
        f'<p class="s">answer: {found}; right: {right}; no answer: {answers.no_answer:.2f}</p></article>'
    )


def main(
    metrics: Path = typer.Argument(..., help="Folder of the scores."),
    output: Path = typer.Argument(..., help="The table to write, .md; the page lies beside it."),
    pipeline: Path | None = typer.Option(None, help="A trained pipeline, for the page."),
    test: Path | None = typer.Option(None, help="A test in SQuAD's form, for the page."),
    count: int = typer.Option(20, help="Passages on the page."),
) -> None:
    """Write the tables, and the page where a pipeline and a test are given."""
    try:
        text = table(metrics)
        write_atomic(output, text.encode("utf8"))
        typer.echo(text)
        if pipeline is not None and test is not None:
            write_atomic(output.with_suffix(".html"), page(pipeline, test, count).encode("utf8"))
            typer.echo(f"{output.with_suffix('.html')}: passages with answers and attention")
    except (OSError, ValueError) as error:
        fail(str(error))


if __name__ == "__main__":
    typer.run(main)
