"""Files of others that are cut, mixed up or malicious: one sentence that names what is wrong, always."""

import gzip
import json
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_elmo.formats import (
    FormatError,
    load_bilm_tf,
    load_elmoformanylangs,
    load_simple_elmo,
    tensor_mapping,
)
from spacy_elmo.formats import archive as archive_module

from .errors import refused
from .helpers import (
    OPTIONS,
    bilm_tf_tensors,
    options,
    write_bilm_tf,
)

h5py = pytest.importorskip("h5py", reason="reads and writes HDF5")

CELL = "RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell"


def check_bilm_tf(folder, message, described=OPTIONS, **changes):
    """Return the message about weights with these tensors; None: without it."""
    tensors = {name: t for name, t in {**bilm_tf_tensors(OPTIONS), **changes}.items() if t is not None}
    refused(message, load_bilm_tf, *write_bilm_tf(folder, described, tensors))


# tensors


def test_missing_extra_and_wrongly_shaped_tensors(tmp_path):
    check_bilm_tf(tmp_path, r"lacks CNN/W_cnn_1 of shape \(1, 2, 3, 3\): check", **{"CNN/W_cnn_1": None})
    check_bilm_tf(
        tmp_path, r"lacks RNN_0.*/B of shape \(48,\) and 1 more", **{f"{CELL}/B": None, "char_embed": None}
    )
    check_bilm_tf(
        tmp_path,
        r"holds CNN/W_cnn_9 of shape \(2,\), which is not expected",
        **{"CNN/W_cnn_9": np.zeros(2, "f4")},
    )
    wrong = {f"{CELL}/W_0": np.zeros((12, 40), "f4")}
    check_bilm_tf(tmp_path, rf"holds {CELL}/W_0 of shape \(12, 40\), expected \(12, 48\)", **wrong)
    check_bilm_tf(
        tmp_path, r"char_embed of shape \(250, 3\), expected \(261, 3\)", char_embed=np.zeros((250, 3))
    )
    check_bilm_tf(tmp_path, r"char_embed of shape \(\), expected \(261, 3\)", char_embed=np.float32(1))


def test_swapped_tensors(tmp_path):
    tensors = bilm_tf_tensors(OPTIONS)
    names = ("CNN/W_cnn_0", "CNN/W_cnn_1")
    swapped = {names[0]: tensors[names[1]], names[1]: tensors[names[0]]}
    check_bilm_tf(tmp_path, r"W_cnn_0 of shape \(1, 2, 3, 3\), expected \(1, 1, 3, 4\)", **swapped)
    check_bilm_tf(tmp_path, "W_P_0", **{f"{CELL}/W_P_0": tensors[f"{CELL}/W_P_0"].T})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["char_embed", f"{CELL}/B", "CNN_proj/W_proj"])
def test_numbers_that_are_none(name, value, tmp_path):
    tensor = bilm_tf_tensors(OPTIONS)[name]
    tensor.flat[-1] = value
    check_bilm_tf(tmp_path, f"{name} in .* holds NaN or infinite", **{name: tensor})


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "complex64", "S4"])
def test_other_types(dtype, tmp_path):
    tensor = np.zeros((48,), dtype=dtype)
    check_bilm_tf(tmp_path, f"holds {CELL}/B as .*, expected float32", **{f"{CELL}/B": tensor})


@pytest.mark.parametrize("how", ["external", "virtual", "external link", "soft link"])
def test_hdf5_that_leads_to_other_files(how, tmp_path):
    files = write_bilm_tf(tmp_path / "m", OPTIONS, bilm_tf_tensors(OPTIONS))
    secret = tmp_path / "id_rsa"
    secret.write_bytes(b"SECRET" * 9999)
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = np.zeros(9, dtype="f4")
    with h5py.File(files[1], "a") as file:
        shape = file["CNN_proj/W_proj"].shape
        del file["CNN_proj/W_proj"]
        if how == "external":
            size = int(np.prod(shape)) * 4
            file.create_dataset("CNN_proj/W_proj", shape, "<f4", external=[(str(secret), 0, size)])
        elif how == "virtual":
            layout = h5py.VirtualLayout(shape, "<f4")
            layout[0, :1] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (9,))[:1]
            file.create_virtual_dataset("CNN_proj/W_proj", layout)
        elif how == "external link":
            file["CNN_proj/W_proj"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/x")
        else:
            file["CNN_proj/W_proj"] = h5py.SoftLink("/char_embed")
    with pytest.raises(FormatError, match=r"refers to another file|is a link, which is not followed"):
        load_bilm_tf(*files)


def test_options_of_another_model(tmp_path):
    for described, message in (
        (options({"dim": 13}), r"W_0 of shape \(12, 48\), expected \(12, 52\)"),
        (options({"projection_dim": 7}), "expected"),
        (options({"n_layers": 3}), "lacks RNN_0/RNN/MultiRNNCell/Cell2"),
        (
            options({"n_layers": 1}),
            r"holds RNN_0/RNN/MultiRNNCell/Cell1\S+ of shape .* and 5 more, which is not expected",
        ),
        (options(n_highway=1), "holds CNN_high_1/W_carry .* and 3 more"),
        (options(filters=[[1, 4], [2, 3]]), "holds CNN/W_cnn_2"),
        (options({"n_layers": 100}), "holds 29 tensors, too few for n_layers = 100: check"),
        (options(n_highway=100), "holds 29 tensors, too few for n_highway = 100: check"),
        (options({"n_layers": 10**9}), "n_layers = 1000000000 must be an integer from 1 to 128"),
        (options(n_highway=10**9), "n_highway = 1000000000 must be an integer from 0 to 128"),
        ({"lstm": OPTIONS["lstm"]}, "holds a char-CNN, but its options lack char_cnn"),
    ):
        check_bilm_tf(tmp_path, message, described)


# options


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 5000], ids=repr)
def test_options_that_are_no_json(data, tmp_path):
    write_bilm_tf(tmp_path, OPTIONS, bilm_tf_tensors(OPTIONS))
    (tmp_path / "options.json").write_bytes(data)
    refused(
        "options.json is not a JSON file", load_bilm_tf, tmp_path / "options.json", tmp_path / "model.hdf5"
    )
    refused("options.json is not a JSON file", load_simple_elmo, tmp_path)


def test_options_that_describe_nothing(tmp_path):
    for described, message in (
        ([], "options.json is not a JSON object"),
        ({"char_cnn": {}}, "lstm is missing in the options of"),
        ({**OPTIONS, "lstm": []}, "lstm.dim is missing in the options of"),
        ({**OPTIONS, "lstm": {"dim": 12}}, "lstm.projection_dim is missing in the options of"),
        ({**OPTIONS, "char_cnn": []}, "char_cnn.activation is missing in the options of"),
        ({**OPTIONS, "bidirectional": False}, "needs both directions"),
        (options({"dim": "12"}), "must be integers"),
        (options({"dim": 12.0}), "must be integers"),
        (options({"dim": -1}), "expected"),
        (options({"n_layers": 0}), "A biLM cannot be built from .*: n_layers = 0"),
        (options({"use_skip_connections": "yes"}), "A biLM cannot be built from .*: use_skip_connections"),
        (options({"cell_clip": -3}), "A biLM cannot be built from .*: cell_clip = -3"),
        (options(activation="gelu"), 'A biLM cannot be built from .*: activation = "gelu"'),
        (options(filters=[]), "A biLM cannot be built from .*: char_filters"),
        (options(filters=[[1]]), "A biLM cannot be built from .*: char_filters"),
        (options(filters=[[51, 2]]), "wider than a token"),
        (options(max_characters_per_token="50"), "A biLM cannot be built from .*: max_characters_per_token"),
        (options(embedding=3), "char_cnn.embedding.dim is missing in the options of"),
        ({**OPTIONS, "spacy_elmo": {"units": "byte"}}, "A biLM cannot be built from .*: units"),
        ({**OPTIONS, "spacy_elmo": {"projection_dim": 7}}, None),  # ours alone are read there
    ):
        arguments = write_bilm_tf(tmp_path, described, bilm_tf_tensors(OPTIONS))
        if message is None:
            assert load_bilm_tf(*arguments).config.projection_dim == 6
        else:
            refused(message, load_bilm_tf, *arguments)


# files


def test_missing_files(tmp_path):
    write_bilm_tf(tmp_path / "model", OPTIONS, bilm_tf_tensors(OPTIONS))
    good = tmp_path / "model" / "options.json", tmp_path / "model" / "model.hdf5"
    nowhere = tmp_path / "nowhere"
    refused("nowhere cannot be read: No such file", load_bilm_tf, nowhere, good[1])
    refused("The file .*nowhere does not exist", load_bilm_tf, good[0], nowhere)
    refused("model cannot be read: Is a directory", load_bilm_tf, tmp_path / "model", good[1])
    refused("nowhere cannot be read", load_bilm_tf, *good, vocab=nowhere)
    refused("The file .*nowhere does not exist", load_bilm_tf, *good, embedding=nowhere, vocab=good[0])
    for load in (load_simple_elmo, load_elmoformanylangs):
        refused(".*nowhere does not exist: check the path", load, nowhere)
        refused("neither a folder nor a complete zip", load, good[0])
    refused("has no options.json", load_simple_elmo, tmp_path)
    refused("has no config.json", load_elmoformanylangs, tmp_path)
    good[1].unlink()
    refused("has no model.hdf5", load_simple_elmo, tmp_path / "model")


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_part_of_an_hdf5_file_is_refused(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "cut"
    options_file, weights = write_bilm_tf(folder, OPTIONS, bilm_tf_tensors(OPTIONS))
    whole = weights.read_bytes()
    weights.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(FormatError, match="is not an HDF5 file, or is damaged"):
        load_bilm_tf(options_file, weights)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_changed_bytes_are_an_error_or_a_model(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "changed"
    options_file, weights = write_bilm_tf(folder, OPTIONS, bilm_tf_tensors(OPTIONS))
    whole = bytearray(weights.read_bytes())
    for _ in range(data.draw(st.integers(1, 20))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    weights.write_bytes(whole)
    with suppress(FormatError):  # and no other error
        assert load_bilm_tf(options_file, weights).n_layers == 3


def test_an_archive_that_is_cut(tmp_path):
    write_bilm_tf(tmp_path / "model", OPTIONS, bilm_tf_tensors(OPTIONS))
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in (tmp_path / "model").iterdir():
            archive.write(file, file.name)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    refused("neither a folder nor a complete zip archive", load_simple_elmo, path)
    place = whole.index(b"char_cnn")
    path.write_bytes(whole[:place] + b"CHAR" + whole[place + 4 :])
    refused("options.json of .*model.zip is damaged", load_simple_elmo, path)


def test_an_archive_of_two_models(tmp_path):
    write_bilm_tf(tmp_path / "model", OPTIONS, bilm_tf_tensors(OPTIONS))
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        for file in (tmp_path / "model").iterdir():
            archive.write(file, f"a/{file.name}")
            archive.write(file, f"b/{file.name}")
    refused("two.zip holds several files options.json: unpack it", load_simple_elmo, tmp_path / "two.zip")


def test_an_archive_whose_members_lead_out_of_it(tmp_path):
    write_bilm_tf(tmp_path / "model", OPTIONS, bilm_tf_tensors(OPTIONS))
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in" / "out.zip", "w") as archive:
        for file in (tmp_path / "model").iterdir():
            archive.write(file, f"../{file.name}")
    assert load_simple_elmo(tmp_path / "in" / "out.zip").n_layers == 3
    found = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(found) == ["model.hdf5", "options.json", "out.zip"]


def test_what_is_small_and_unpacks_to_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tensor_mapping, "MIN_CHECKED_BYTES", 2**20)
    monkeypatch.setattr(archive_module, "MIN_CHECKED_BYTES", 2**20)
    nothing = bytes(2**21)
    options_file, weights = write_bilm_tf(tmp_path / "model", OPTIONS, bilm_tf_tensors(OPTIONS))
    for bomb in ("options.json", "model.hdf5"):
        with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in (options_file, weights):
                archive.writestr(file.name, nothing if file.name == bomb else file.read_bytes())
        message = f"{bomb} of .*bomb.zip unpacks from 2,.* to 2,097,152 bytes or more, unlike weights"
        refused(message, load_simple_elmo, tmp_path / "bomb.zip")
    described = options({"dim": 10**5})
    options_file.write_text(json.dumps(described), encoding="utf8")
    with h5py.File(weights, "r+") as file:
        for d, i in ((0, 0), (0, 1), (1, 0), (1, 1)):
            cell = f"RNN_{d}/RNN/MultiRNNCell/Cell{i}/LSTMCell"
            for name, shape in (("W_0", (12, 4 * 10**5)), ("B", (4 * 10**5,)), ("W_P_0", (10**5, 6))):
                del file[f"{cell}/{name}"]
                file.create_dataset(f"{cell}/{name}", shape, "f4", chunks=True)
    message = f"{CELL}/W_0 in .*model.hdf5 unpacks from 0 to 19,200,000 bytes or more"
    refused(message, load_bilm_tf, options_file, weights)
    options_file.write_text(json.dumps({"lstm": OPTIONS["lstm"]}), encoding="utf8")
    (tmp_path / "model" / "vocab.txt.gz").write_bytes(gzip.compress(nothing))
    refused(r"vocab\.txt\.gz unpacks from 2,.* to 1,048,577 bytes", load_simple_elmo, tmp_path / "model")


def test_without_h5py(tmp_path, monkeypatch):
    arguments = write_bilm_tf(tmp_path, OPTIONS, bilm_tf_tensors(OPTIONS))
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    refused(r"HDF5 files need h5py: pip install 'spacy-elmo\[hdf5\]'", load_bilm_tf, *arguments)


def test_vocabularies(tmp_path):
    described = {"lstm": OPTIONS["lstm"]}
    tensors = bilm_tf_tensors(described, n_words=5)

    def check(lines, message):
        arguments = write_bilm_tf(tmp_path, described, tensors, lines)
        refused(message, load_bilm_tf, *arguments, vocab=tmp_path / "vocab.txt")

    check(["<S>", "</S>", "a", "b", "c"], "lacks <UNK>")
    check(["<UNK>", "</S>", "a", "b", "c"], "lacks <S>")
    check([], "lacks <UNK>")
    check(["<UNK>", "<S>", "</S>", "b"], r"embedding of shape \(5, 6\), expected \(4, 6\)")
    check(["<UNK>", "<S>", "</S>", "b", "c", "d"], r"expected \(6, 6\)")
    (tmp_path / "vocab.txt").write_bytes("词\n".encode("gb18030"))
    files = tmp_path / "options.json", tmp_path / "model.hdf5"
    refused("vocab.txt is not UTF-8", load_bilm_tf, *files, vocab=tmp_path / "vocab.txt")
