"""The results of the studies: tables, page and picture."""

import re
from pathlib import Path

import pytest
import srsly
from io_utils import write_json
from results import COMMANDS, absent, curve_table, draw_curve, fill, knobs_table, main, tables
from results_page import curve_picture, examples_html, page, weights_picture
from study import WITHOUT, StudyError
from study_curve import BUNDLED
from study_knobs import BASE
from test_comparison import PROJECT, script
from test_study import ROOT, cell


def test_the_table_of_settings():
    cells = [cell(BASE, 0.7), cell(BASE, 0.8, 1), cell("dropout 0.5", 0.72), cell(WITHOUT, 0.5)]
    rows = {row[1]: row for row in knobs_table(cells)}
    assert rows[BASE][2:] == ["75.00 ± 7.07", "+0.00", "2", "0.50 0.30 0.20", "1.50"]
    assert rows["dropout 0.5"][2:5] == ["72.00", "-3.00", "1"]
    assert rows[WITHOUT][3:] == ["-25.00", "1", "-", "-"]


def test_each_set_of_data_has_its_rows_and_picture():
    cells = [cell(BUNDLED, 0.8), cell(BUNDLED, 0.6, dataset="Resume", steps=2)]
    assert [row[:4] for row in curve_table(cells)[1:]] == [
        ["tagging accuracy", "500", BUNDLED, "80.00"],
        ["tagging accuracy, Resume", "500", BUNDLED, "60.00"],
    ]
    assert "tagging accuracy, Resume, %" in re.sub("<!-- (.*?) -->", r"\1", curve_picture(cells))


def test_cells_of_other_settings_are_not_averaged():
    plain = cell(BASE, 0.7, steps=500, test_sentences=9, bilm="a")
    for other in ({"steps": 50}, {"test_sentences": 300}, {"settings": {"learn_rate": 1.0}}, {"bilm": "b"}):
        with pytest.raises(StudyError, match="measure some of them again"):
            knobs_table([plain, {**plain, "seed": 1, **other}])
    with pytest.raises(StudyError, match="bundled model"):
        knobs_table([plain, {**plain, "system": "dropout 0.5", "bilm": "b"}])
    own = {**plain, "system": "own text", "bilm": "b", "model": "folder"}
    assert len(knobs_table([plain, own, {**plain, "sentences": 2000, "bilm": "c"}])) == 4


def test_only_tables_of_a_document_are_replaced():
    text = "Before.\n<!-- knobs -->\nold\n<!-- end -->\nBetween.\n<!-- curve -->\n<!-- end -->\n"
    found = {"knobs": [["a\\1"], ["b"]], "curve": None}
    done = fill(text, found)
    assert "old" not in done
    assert "a\\1" in done
    assert absent("curve") in done
    assert done.startswith("Before.\n<!-- knobs -->\n")
    assert "\nBetween.\n" in done
    assert fill(done, found) == done
    assert fill(done, dict.fromkeys(found)) == done  # results that are not at hand stay in the document
    with pytest.raises(StudyError, match="no marks"):
        fill("nothing", found)


def test_absent_studies_name_their_commands(tmp_path):
    names = {each["name"] for each in srsly.read_yaml(PROJECT / "project.yml")["commands"]}
    document = tmp_path / "results.md"
    document.write_text("".join(f"<!-- {name} -->\n<!-- end -->\n" for name in COMMANDS), encoding="utf8")
    done = script("results", tmp_path, document, tmp_path / "results.html")
    assert done.returncode == 0, done.stderr
    html = (tmp_path / "results.html").read_text(encoding="utf8")
    for study in tables(tmp_path):
        command = absent(study).split("`")[1].split()[3]
        assert command in names
        assert command in html
        assert absent(study) in document.read_text(encoding="utf8")


def test_the_page_has_all_inside():
    text = "甲<b>公司"
    kept = {"text": text, "ents": [{"start": 0, "end": 1, "label": "ORG"}], "gold": []}
    curve = [cell(WITHOUT, 0.5), cell(BUNDLED, 0.7), cell(BUNDLED, 0.8, sentences=1000)]
    ner = [cell(BASE, 0.9, task="ner", examples=[kept])]
    missing = {name: "none" for name in COMMANDS if name != "knobs"}
    shown = {"curve": curve, "knobs": ner, "encoders": curve}
    made = page({"knobs": [["<x>"], ["y"]]}, missing, shown)
    assert made.count("<svg") == 4
    assert "&lt;x&gt;" in made
    assert "&lt;b&gt;" in made
    assert "<b>公司" not in made
    assert "ORG" in made
    for outside in ("src=", "<link", "<script"):
        assert outside not in made
    assert curve_picture([]) == weights_picture([]) == ""
    drawn = weights_picture([cell(BASE, 0.5), cell(BASE, 0.5, sentences=0)])
    assert "tagger, 500, plain" in drawn
    assert "tagger, all, plain" in drawn
    better = [
        cell(BASE, 0.95, 1, task="ner", examples=[kept]),
        cell(BASE, 0.1, 2, task="ner", examples=[kept]),
    ]
    assert "seed 0. First" in examples_html([*better, *ner])  # not the one with the best score
    assert "None yet" in examples_html(curve)


def test_the_picture_has_the_bundled_model_on_the_newspaper(tmp_path):
    cells = [cell(WITHOUT, 0.5), cell(BUNDLED, 0.7)]
    others = [cell("own text", 0.6), cell(BUNDLED, 0.9, dataset="Resume")]
    one, same, none = (tmp_path / f"{name}.png" for name in ("one", "same", "none"))
    draw_curve(cells, one)
    draw_curve([*cells, *others], same)
    assert one.read_bytes() == same.read_bytes()
    draw_curve(others, none)
    assert not none.exists()
    document = ROOT / "docs" / "results.md"
    copy, drawn = tmp_path / "results.md", tmp_path / "curve.png"
    copy.write_text(document.read_text(encoding="utf8"), encoding="utf8")
    main(tmp_path, copy, tmp_path / "page.html", drawn)
    assert not drawn.exists()  # without results
    for each in cells:
        write_json(tmp_path / "curve" / f"{each['system']}.json", each)
    main(tmp_path, copy, tmp_path / "page.html", drawn)
    assert drawn.read_bytes() == one.read_bytes()


def test_the_document_has_marks_for_each_table():
    text = Path(ROOT / "docs" / "results.md").read_text(encoding="utf8")
    filled = fill(text, {name: [["new"], [name]] for name in COMMANDS})
    for name in COMMANDS:
        assert re.search(rf"<!-- {name} -->\n\| new +\|\n\|-+\|\n\| {name} +\|\n<!-- end -->", filled), name
