"""Run a biLM in onnxruntime, as a program without torch would."""

from collections.abc import Callable

import numpy as np
import torch

from ..inference.bilm import BiLM
from .onnx_export import build

Sentences = list[list[str]]


def make_onnx_encoder(bilm: BiLM) -> Callable[[Sentences], np.ndarray]:
    """Return a function from sentences to their layers, (L, B, T, D) float32, 0 after the end of a sentence.

    It uses as many threads as torch. Raises a FormatError if the package onnx is missing or the model is
    above 2 GB, and an ImportError if onnxruntime is missing.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with torch.no_grad():
        model = build(bilm).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    n_characters = bilm.config.max_characters_per_token

    def encode(sentences: Sentences) -> np.ndarray:
        lengths = np.array([len(sentence) for sentence in sentences])
        shape = len(sentences), int(lengths.max())
        inputs = {"lengths": lengths}
        if "unit_ids" in names:
            inputs["unit_ids"] = np.zeros(shape, dtype=np.int64)
        if "character_ids" in names:
            inputs["character_ids"] = np.zeros((*shape, n_characters + 2), dtype=np.int64)
        for row, sentence in enumerate(sentences):
            if "unit_ids" in names:
                inputs["unit_ids"][row, : len(sentence)] = bilm.vocab.ids(sentence)[1:-1]
            if "character_ids" in names:
                spelled = bilm.vocab.character_ids(sentence, n_characters)
                inputs["character_ids"][row, : len(sentence)] = spelled
        layers: np.ndarray = session.run(["layers"], inputs)[0]
        return layers

    return encode
