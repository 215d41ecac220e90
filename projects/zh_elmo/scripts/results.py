"""Render the studies in metrics/ as tables of docs/results.md and as a page that opens from disk."""

import math
import re
from pathlib import Path
from statistics import mean
from typing import Any

import typer
from io_utils import fail, read_json, write_atomic
from probe_results import probe_table
from report import markdown_table, percent
from results_page import curve_figure, page, size_name
from study import NAMES, WITHOUT, StudyError, task_name
from study_curve import BUNDLED
from study_finetune import FACTOR

from spacy_elmo.cli.pictures import save_figure

Row = dict[str, Any]
Table = list[list[str]]
COMMANDS = {
    "knobs": "study-knobs",
    "curve": "study-curve",
    "length": "study-length",
    "encoders": "study-encoders",
    "encoder_costs": "study-encoders",
    "finetune": "study-finetune",
    "probe": "study-probe",
}


def read_cells(metrics: Path, study: str) -> list[Row]:
    """Read the cells of a study."""
    return [read_json(path) for path in sorted((metrics / study).glob("*.json"))]


def groups(cells: list[Row]) -> dict[tuple[str, int, str], list[Row]]:
    """Group cells that differ in their seed only, by name of the task, sentences and system.

    Raises a StudyError if the cells of a group differ in something else, or those of a task and number of
    sentences in their steps, their test sentences or the bundled model.
    """
    found: dict[tuple[str, int, str], list[Row]] = {}
    for cell in cells:
        found.setdefault((task_name(cell), cell["sentences"], cell["system"]), []).append(cell)
    for name in ("settings", "alone", "bilm"):
        for (task, _, system), same in found.items():
            if len({str(each.get(name)) for each in same}) > 1:
                raise StudyError(
                    f"The seeds of {task}, {system}, differ in {name}: measure some of them again."
                )
    compared: dict[tuple[str, int], list[Row]] = {}
    for (task, sentences, _), same in found.items():
        compared.setdefault((task, sentences), []).extend(same)
    for (task, _), same in compared.items():
        bundled = {each.get("bilm") for each in same if each.get("bilm") and not each.get("model")}
        others = [{each.get(name) for each in same} for name in ("steps", "test_sentences")]
        if max(map(len, [bundled, *others])) > 1:
            raise StudyError(
                f"The cells of {task} in {same[0]['study']} differ in steps, test sentences or bundled "
                "model: measure some of them again."
            )
    return dict(sorted(found.items(), key=lambda item: task_and_size(*item[0][:2])))


def task_and_size(task: str, sentences: int) -> tuple[str, float]:
    """Return the key by which rows are sorted: 0, all sentences, comes last."""
    return task, sentences or math.inf


def knobs_table(cells: list[Row]) -> Table:
    """Return a row for each setting, with its difference from the plain configuration and its mix."""
    rows = [["task, sentences", "setting", "score", "difference", "seeds", "layer weights", "gamma"]]
    found = groups(cells)
    for (task, sentences, system), same in found.items():
        plain = found.get((task, sentences, "plain"))
        scores = [each["score"] for each in same]
        change = f"{100 * (mean(scores) - mean(p['score'] for p in plain)):+.2f}" if plain else "-"
        weights, gamma = mix_of(same)
        rows.append(
            [
                f"{task}, {size_name(sentences)}",
                system,
                percent(scores),
                change,
                f"{len(same)}",
                weights,
                gamma,
            ]
        )
    return rows


def mix_of(cells: list[Row]) -> tuple[str, str]:
    """Return the mean layer weights and gamma of cells; "-" without ELMo."""
    mixes = [each["mixes"][0] for each in cells if each["mixes"]]
    if not mixes:
        return "-", "-"
    weights = [mean(layer) for layer in zip(*(each["weights"] for each in mixes), strict=True)]
    return " ".join(f"{w:.2f}" for w in weights), f"{mean(each['gamma'] for each in mixes):.2f}"


def curve_table(cells: list[Row]) -> Table:
    """Return a row for each number of sentences and system, with the processor time and speed of training."""
    rows = [["task", "sentences", "system", "score", "seeds", "training", "words/s"]]
    for (task, sentences, system), same in groups(cells).items():
        times = [each["processor_seconds"] for each in same]  # wall time depends on what else runs
        words = [each["words_per_second"] * each["seconds"] for each in same]
        costs = [f"{mean(times):.0f} s", f"{sum(words) / sum(times):,.0f}"]
        scores = percent([each["score"] for each in same])
        rows.append([task, size_name(sentences), system, scores, f"{len(same)}", *costs])
    return rows


def length_table(metrics: Path) -> Table:
    """Return a row for each class of length."""
    rows = [["task, sentences", "length of", "words", "cases", WITHOUT, BUNDLED, "difference"]]
    files = {}
    for path in (metrics / "length").glob("*.json"):
        task, _, sentences = path.stem.partition("_")
        files[task, int(sentences)] = path
    for task, sentences in sorted(files, key=lambda each: task_and_size(*each)):
        for row in read_json(files[task, sentences]):
            without, elmo = 100 * row[WITHOUT], 100 * row[BUNDLED]
            scores = [f"{without:.2f}", f"{elmo:.2f}", f"{elmo - without:+.2f}"]
            head = [f"{NAMES[task]}, {size_name(sentences)}", row["kind"], row["length"], f"{row['all']:,}"]
            rows.append(head + scores)
    return rows


def costs_table(metrics: Path) -> Table:
    """Return a row for each task and system, with its cost in prediction."""
    rows = [["task", "system", "pretrained weights", "on disk", "words/s", "peak memory"]]
    for path in sorted((metrics / "encoder_costs").glob("*.json")):
        for row in read_json(path):
            pretrained = [f"{row['weights'] / 1e6:.1f} M", f"{row['bytes'] / 1e6:.1f} MB"]
            costs = [f"{row['words_per_second']:,.0f}", f"{row['mib']:,.0f} MiB"]
            rows.append(
                [NAMES[row["task"]], row["system"], *(pretrained if row["weights"] else "--"), *costs]
            )
    return rows


def finetune_table(cells: list[Row]) -> Table:
    """Return a row for each task, number of sentences and system, with what it costs."""
    rows = [["task, sentences", "biLM", "factor", "score", "seeds"]]
    rows[0] += ["training", "words/s in prediction", "memory", "size"]
    for (task, sentences, system), same in groups(cells).items():
        factor = same[0]["settings"].get(FACTOR)
        head = [f"{task}, {size_name(sentences)}", system, "-" if factor is None else f"{factor:g}"]
        costs = [
            f"{mean(each['processor_seconds'] for each in same):,.0f} s",
            f"{mean(each['predicted_words_per_second'] for each in same):,.0f}",
            f"{mean(each['memory_mb'] for each in same):,.0f} MB",
            f"{mean(each['size_mb'] for each in same):,.1f} MB",
        ]
        rows.append([*head, percent([each["score"] for each in same]), f"{len(same)}", *costs])
    return rows


def tables(metrics: Path) -> dict[str, Table | None]:
    """Return the table of each study; None where nothing was measured."""
    found: dict[str, Table | None] = {
        "knobs": knobs_table(read_cells(metrics, "knobs")),
        "curve": curve_table(read_cells(metrics, "curve")),
        "length": length_table(metrics),
        "encoders": curve_table(read_cells(metrics, "encoders")),
        "encoder_costs": costs_table(metrics),
        "finetune": finetune_table(read_cells(metrics, "finetune")),
        "probe": probe_table(read_cells(metrics, "probe"), read_cells(metrics, "probe_full")),
    }
    return {name: table if table and len(table) > 1 else None for name, table in found.items()}


def absent(study: str) -> str:
    """Return the sentence in the place of a table."""
    return f"Not measured yet: `spacy project run {COMMANDS[study]} projects/zh_elmo` makes this table."


def fill(text: str, found: dict[str, Table | None]) -> str:
    """Put the tables between the marks of a document; the prose around them stays.

    A table of the document whose study has no results in `found` stays, too.
    """
    for name, table in found.items():
        marks = re.compile(rf"(<!-- {name} -->\n)(.*?)(<!-- end -->)", re.DOTALL)
        old = marks.search(text)
        if not old:
            raise StudyError(f"The document has no marks <!-- {name} --> and <!-- end -->: put them there.")
        if table is None and old[2].startswith("|"):
            continue
        block = absent(name) if table is None else markdown_table(table)
        text = marks.sub(lambda match, block=block: f"{match[1]}{block}\n{match[3]}", text)  # type: ignore[misc]
    return text


def draw_curve(cells: list[Row], path: Path) -> None:
    """Draw the curves of the People's Daily with and without the bundled model, if they have cells."""
    shown = [each for each in cells if each["system"] in (WITHOUT, BUNDLED) and not each.get("dataset")]
    if figure := curve_figure(shown):
        save_figure(figure, path)


def main(
    metrics: Path = typer.Argument(..., help="Folder with the results of all studies."),
    document: Path = typer.Argument(..., help="docs/results.md, whose tables are replaced."),
    output: Path = typer.Argument(..., help="The page to write, .html."),
    curve: Path | None = typer.Option(None, help="Where to draw the learning curve, .png."),
) -> None:
    """Fill the document, and write the page and the learning curve."""
    try:
        found = tables(metrics)
        text = fill(document.read_text(encoding="utf8"), found)
        cells = {study: read_cells(metrics, study) for study in ("knobs", "curve", "encoders")}
        missing = {name: absent(name) for name, table in found.items() if table is None}
        write_atomic(output, page(found, missing, cells).encode("utf8"))
        write_atomic(document, text.encode("utf8"))
        if curve:
            draw_curve(cells["curve"], curve)
        for name, table in found.items():
            typer.echo(f"{name}: {absent(name) if table is None else f'{len(table) - 1} rows'}")
        typer.echo(f"written: {document}, {output}")
    except (StudyError, OSError, ValueError, KeyError) as error:
        fail(str(error))


if __name__ == "__main__":
    typer.run(main)
