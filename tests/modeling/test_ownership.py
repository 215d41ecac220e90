"""Folders of this package and of others: what belongs to others is never replaced."""

import errno
import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modeling.helpers import make_bilm
from modeling.test_atomic_io import contents, save
from spacy_elmo.atomic_io import OutputError, atomic_folder, check_apart
from spacy_elmo.formats.bilm_tf import EXPORT
from spacy_elmo.formats.download import DOWNLOAD
from spacy_elmo.modeling.serialization import MODEL
from spacy_elmo.pretraining.checkpoint import CHECKPOINT
from spacy_elmo.pretraining.data.corpus import CORPUS

KINDS = [MODEL, CORPUS, CHECKPOINT, DOWNLOAD, EXPORT]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    "marker",
    ["{", "[]", "{}", '{"architectures": ["BertModel"]}', '{"name": "app", "icons": []}', "[" * 99999],
    ids=["broken", "list", "empty", "transformers", "web", "deep"],
)
def test_a_marker_of_others_is_no_marker(kind, marker, tmp_path):
    (tmp_path / "d" / "data").mkdir(parents=True)
    (tmp_path / "d" / kind.marker).write_text(marker)
    (tmp_path / "d" / "data" / "thesis.txt").write_text("three years of work")
    before = contents(tmp_path)
    with (
        pytest.raises(OutputError, match=f"Cannot write {kind.name} to .*it holds other files"),
        atomic_folder(tmp_path / "d", kind),
    ):
        pytest.fail("the work has begun")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("foreign", ["notes.txt", "sub/notes.txt", "sub/deep/1.bin", "other/"])
def test_a_folder_to_which_others_have_added_stays(foreign, tmp_path):
    save(tmp_path / "t", "old")
    place = tmp_path / "t" / foreign
    place.parent.mkdir(exist_ok=True)
    if foreign.endswith("/"):
        place.mkdir()
    else:
        place.write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=rf"it holds other files \({foreign.rstrip('/')}\); name a new"):
        save(tmp_path / "t", "new")
    assert contents(tmp_path) == before


def test_a_folder_that_cannot_be_read_is_of_others(tmp_path, monkeypatch):
    save(tmp_path / "t", "old")
    (tmp_path / "t" / "private").mkdir()
    (tmp_path / "t" / "private" / "notes.txt").write_text("mine")
    before, scandir = contents(tmp_path), os.scandir

    def refuse(path="."):
        if os.path.basename(path) == "private":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as patch:  # permissions do not stop root
        patch.setattr(os, "scandir", refuse)
        with pytest.raises(OutputError, match=r"it holds other files \(private\); name a new"):
            save(tmp_path / "t", "new")
    assert contents(tmp_path) == before


def test_a_model_saved_into_a_folder_of_others(tmp_path):
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(OutputError, match=r"config.json is not that of a model"):
        make_bilm().save(tmp_path / "bert")


def test_a_model_without_a_kind_is_of_an_older_version(tmp_path):
    make_bilm().save(tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config.pop("kind") == MODEL.kind
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    make_bilm(seed=1).save(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(json.dumps({**config, "kind": "another"}))
    with pytest.raises(OutputError, match="not that of a model"):
        make_bilm(seed=2).save(tmp_path / "m")


def test_sources_and_outputs_apart(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for source, output, message in (
        ("a", "a", "is also an input"),
        ("a", "link", "is also an input"),
        ("a", "link/b/c", "is inside the input"),
        ("a/b", "a", "The input"),
        ("a/b/../b", "a/b", "is also an input"),
    ):
        with pytest.raises(OutputError, match=message):
            check_apart([tmp_path / source], tmp_path / output)
    check_apart([tmp_path / "a" / "b"], tmp_path / "a" / "bc")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = sorted({"kind"}.union(*(kind.keys for kind in KINDS)))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(KEYS), JSON), st.sampled_from(["x", "sub/x"]))
def test_no_folder_with_another_file_is_replaced(tmp_path_factory, kind, marker, name):
    folder = tmp_path_factory.mktemp("d") / "d"
    (folder / "sub").mkdir(parents=True)
    (folder / kind.marker).write_text(json.dumps(marker))
    (folder / name).write_text("mine")
    if isinstance(marker.get("files"), dict):
        marker["files"].pop("x", None)
        (folder / kind.marker).write_text(json.dumps(marker))
    before = contents(folder)
    with pytest.raises(OutputError), atomic_folder(folder, kind):
        pass
    assert contents(folder) == before
