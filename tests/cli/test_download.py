"""`spacy elmo download`, from a server of our own."""

import functools
import hashlib
import http.server
import json
import os
import re
import threading
from urllib.request import Request

import numpy as np
import pytest
from formats.helpers import OPTIONS, SENTENCE, bilm_tf_layers, bilm_tf_tensors, write_bilm_tf

from spacy_elmo.formats import FormatError, download
from spacy_elmo.formats.download import PretrainedModel, known_models
from spacy_elmo.inference import loading

from .helpers import plain, run
from .test_errors import refused

TENSORS = bilm_tf_tensors(OPTIONS)


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 10)
        else:
            super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    pytest.importorskip("h5py", reason="reads and writes HDF5")
    folder = tmp_path / "published"
    write_bilm_tf(folder, OPTIONS, TENSORS)
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
        thread.join()


@pytest.fixture
def known(server, monkeypatch):
    """A table of one model, "tiny", whose fields can be changed."""

    def table(**changes):
        files = {name: server + name for name in ("options.json", "model.hdf5")}
        fields = {"kind": "bilm-tf", "lang": "en", "files": files, "sha256": {}, "licence": "L", "page": "P"}
        monkeypatch.setattr(
            download, "known_models", lambda: {"tiny": PretrainedModel("tiny", **{**fields, **changes})}
        )

    table()
    return table


def test_what_is_downloaded_can_be_converted_as_it_says(known, tmp_path):
    result = run("download", "tiny", tmp_path / "tiny")
    assert result.exit_code == 0, result.output
    said = " ".join(plain(result.output).split())
    assert "The publisher states no checksum of options.json, model.hdf5" in said
    assert "is not encrypted: the files can be changed on their way" in said
    assert sorted(os.listdir(tmp_path / "tiny")) == ["download.json", "model.hdf5", "options.json"]
    record = json.loads((tmp_path / "tiny" / "download.json").read_text())
    digest = hashlib.sha256((tmp_path / "tiny" / "model.hdf5").read_bytes()).hexdigest()
    assert record["files"]["model.hdf5"]["sha256"] == digest
    assert (record["licence"], record["page"]) == ("L", "P")
    command = re.search("spacy elmo (convert .*)", plain(result.output))[1].split()
    assert run(*(str(tmp_path / "out") if arg == "OUTPUT" else arg for arg in command)).exit_code == 0
    bilm = loading.load(tmp_path / "out")
    assert bilm.config.lang == "en"
    np.testing.assert_allclose(
        bilm.encode([SENTENCE])[0], bilm_tf_layers(OPTIONS, TENSORS, SENTENCE), atol=1e-5
    )


def test_the_folder_has_the_models_name_when_none_is_given(known, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("download", "tiny").exit_code == 0
    assert (tmp_path / "tiny" / "options.json").is_file()


def test_checksums(known, tmp_path):
    published = [tmp_path / "published" / name for name in ("model.hdf5", "options.json")]
    right = hashlib.sha256((tmp_path / "published" / "model.hdf5").read_bytes()).hexdigest()
    known(sha256={"model.hdf5": right})
    assert run("download", "tiny", tmp_path / "tiny").exit_code == 0
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in published}
    known(sha256=digests)
    assert "no checksum" not in plain(run("download", "tiny", tmp_path / "tiny").output)
    known(sha256={**digests, "model.hdf5": "0" * 64})
    refused(tmp_path, "download", "tiny", tmp_path / "new" / "tiny", message="model.hdf5 is wrong: try again")


def test_what_cannot_be_fetched(known, server, tmp_path):
    out = tmp_path / "new"
    right = hashlib.sha256((tmp_path / "published" / "options.json").read_bytes()).hexdigest()
    for files, message in (
        ({"a": server + "nothing"}, "cannot be downloaded (HTTP Error 404"),
        (
            {"options.json": server + "options.json", "b": server + "cut"},
            "after 10 of 1,000 bytes: try again",
        ),
        ({"a": "http://127.0.0.1:1/x"}, "cannot be downloaded"),
        ({"a": "http://"}, "cannot be downloaded"),
        ({"a": "file:///etc/hostname"}, "is not a web address"),
    ):
        known(files=files, sha256={**dict.fromkeys(files, "0" * 64), "options.json": right})
        refused(tmp_path, "download", "tiny", out, message=message)
    refused(tmp_path, "download", "nonsense", out, message='The model "nonsense" is not known')
    refused(tmp_path, "download", "tiny", tmp_path / "published", message="it holds other files")


def test_no_redirect_to_an_address_that_is_not_encrypted():
    handler, request = download._SafeRedirects(), Request("https://example.org/a")
    for target in ("http://example.org/a", "ftp://example.org/a", "file:///etc/hostname"):
        with pytest.raises(FormatError, match="is not encrypted: the download was stopped"):
            handler.redirect_request(request, None, 302, "", {}, target)
    found = handler.redirect_request(request, None, 302, "", {}, "https://example.org/b")
    assert found.full_url == "https://example.org/b"


def test_the_table():
    table = known_models()
    assert len(table) >= 50
    assert {"en-original", "en-small", "ru-tokens", "many-en", "many-zh-hant"} <= table.keys()
    for name, model in table.items():
        assert model.name == name
        assert model.kind in ("bilm-tf", "simple-elmo", "elmoformanylangs")
        assert re.fullmatch("[a-z]{2,3}", model.lang)
        assert model.licence
        assert model.page.startswith("https://")
        assert len(model.files) == (2 if model.kind == "bilm-tf" else 1)
        assert all(url.startswith("https://") for url in model.files.values())
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in model.sha256.values())
    urls = [url for model in table.values() for url in model.files.values()]
    assert len(urls) == len({url for url in urls if "options" not in url}) + sum(
        "options" in url for url in urls
    )


def test_the_list(monkeypatch):
    monkeypatch.setattr(download, "urlopen", lambda *args, **kwargs: pytest.fail("nothing was asked for"))
    result = run("download")
    assert result.exit_code == 0
    assert all(name in result.output for name in known_models())
