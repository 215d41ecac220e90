"""Small passages with questions, and small readers around a random biLM."""

from pathlib import Path

import spacy
from pipeline.helpers import make_bilm
from spacy.language import Language
from spacy.training import Example

from spacy_elmo.tasks.reading.annotations import Question, set_questions
from spacy_elmo.tasks.reading.features import character_doc

PASSAGES = [
    (
        "张三在北京大学学习物理。",
        [("谁在北京大学学习", "张三"), ("张三学习什么", "物理"), ("张三在哪里学习", "北京大学")],
    ),
    (
        "李四住在上海，他今年３０岁。",
        [("李四住在哪里", "上海"), ("他今年几岁", "３０岁"), ("谁住在上海", "李四")],
    ),
    ("长江全长6300公里，\n流入东海。", [("长江全长多少", "6300公里"), ("长江流入哪里", "东海")]),
    ("小明😀喜欢Linux kernel和足球。", [("小明喜欢什么", "Linux kernel和足球"), ("谁喜欢足球", "小明😀")]),
    ("公司成立于1998年，总部在深圳。", [("公司什么时候成立", "1998年"), ("总部在哪里", "深圳")]),
    ("这本书的作者是王五，一共300页。", [("作者是谁", "王五"), ("书有多少页", "300页")]),
    ("昨天下雨，所以比赛改到星期日。", [("比赛改到什么时候", "星期日"), ("昨天天气怎么样", "下雨")]),
    (
        "猫吃鱼，狗吃肉，牛吃草。",
        [("猫吃什么", "鱼"), ("狗吃什么", "肉"), ("牛吃什么", "草"), ("谁吃草", "牛")],
    ),
]
N_QUESTIONS = sum(len(questions) for _, questions in PASSAGES)
BASELINE = {
    "@architectures": "spacy-elmo.BiDAF.v1",
    "tok2vec": None,
    "char_dim": 16,
    "hidden_size": 16,
    "modeling_layers": 1,
}
LISTENER = {"@architectures": "spacy-elmo.ElmoListener.v1", "mix_dropout": 0.0, "weight_penalty": 0.0}
WITH_ELMO = {**BASELINE, "tok2vec": LISTENER}
BOTH_ENDS = {"@architectures": "spacy-elmo.BothEnds.v1", "tok2vec": LISTENER, "elmo": LISTENER}
WITH_ELMO_TWICE = {**BASELINE, "tok2vec": BOTH_ENDS}


def blank(model: dict = BASELINE, *, bilm: Path | None = None, **settings) -> Language:
    """A Chinese pipeline with a reader, and with elmo before it where a folder of a biLM is given."""
    nlp = spacy.blank("zh")
    if bilm is not None:
        nlp.add_pipe("elmo", config={"model": {"path": str(bilm)}, "set_tensor": False})
    nlp.add_pipe("reader", config={"model": model, **settings})
    return nlp


def save_bilm(folder: Path) -> Path:
    """A random biLM of characters, D = 16."""
    make_bilm("char").save(folder)
    return folder


def examples(nlp: Language) -> list[Example]:
    """An Example for each passage."""
    made = []
    for text, pairs in PASSAGES:
        reference = character_doc(nlp.vocab, text)
        spans = [(text.index(answer), text.index(answer) + len(answer)) for _, answer in pairs]
        asked = zip(pairs, spans, strict=True)
        set_questions(reference, [Question(q, (answer,), (span,)) for (q, answer), span in asked])
        predicted = character_doc(nlp.vocab, text)
        set_questions(predicted, [q for q, _ in pairs])
        made.append(Example(predicted, reference))
    return made


def train(nlp: Language, steps: int, *, learn_rate: float = 0.01, data: list[Example] | None = None) -> float:
    """Initialize and update on all Examples at once. Returns the last loss."""
    data = examples(nlp) if data is None else data
    optimizer = nlp.initialize(lambda: data)
    optimizer.learn_rate = learn_rate
    losses: dict[str, float] = {}
    for _ in range(steps):
        losses = nlp.update(data, sgd=optimizer, drop=0.0)
    return losses["reader"]


def all_answers(nlp: Language, top_k: int = 2) -> list:
    """The answers to all questions, in one batch."""
    pairs = [(question, text) for text, asked in PASSAGES for question, _ in asked]
    return nlp.get_pipe("reader").answer_batch(pairs, top_k)
