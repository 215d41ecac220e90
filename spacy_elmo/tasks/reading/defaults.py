"""Default settings of the component "reader", see component.make_reader."""

DEFAULT_CONFIG = {
    "model": {
        "@architectures": "spacy-elmo.BiDAF.v1",
        "tok2vec": {
            "@architectures": "spacy-elmo.ElmoListener.v1",
            "mix_dropout": 0.0,
            "weight_penalty": 0.0,
            "layer_norm": True,
        },
    },
    "threshold": 0.5,
    "max_answer_length": 60,
    "window": 640,
    "stride": 320,
    "training_window": 320,
    "length_weight": 0.2,
    "extension": "answer",
    "scorer": {"@scorers": "spacy-elmo.reader_scorer.v1"},
}
SCORE_WEIGHTS: dict[str, float | None] = {
    "answer_em": 0.5,
    "answer_f": 0.5,
    "answer_rouge_l": 0.0,
    "no_answer_acc": 0.0,
}
