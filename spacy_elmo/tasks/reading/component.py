"""The component "reader": answers questions from passages."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer, set_dropout_rate

from ...syscalls import release_freed_memory
from .annotations import Answer, Answers, get_questions, set_answers
from .calibration import CalibrationCase, fit_calibration
from .decoding import Calibration, fit_length_scores
from .defaults import DEFAULT_CONFIG, SCORE_WEIGHTS
from .extension import register_reader
from .features import Batch, Window, frequent_characters
from .loss import span_loss
from .model import attention_map, get_shim
from .passages import CharacterDocs
from .prediction import Pair, PairScorer, find_answers
from .training import make_training_batch

RELEASE_EVERY = 10  # updates; without it, a training of 700 updates grows to 4.6 GB


@Language.factory(
    "reader", assigns=["doc._.answer"], default_config=DEFAULT_CONFIG, default_score_weights=SCORE_WEIGHTS
)
def make_reader(
    nlp: Language,
    name: str,
    model: Model[Any, Any],
    threshold: float,
    max_answer_length: int,
    window: int,
    stride: int,
    training_window: int,
    length_weight: float,
    extension: str,
    scorer: Callable[..., Any] | None,
) -> "Reader":
    """Create the component "reader".

    Args:
        nlp: The pipeline.
        name: Name of the component.
        model: A spacy-elmo.BiDAF.v1.
        threshold: Leave a question unanswered if "no answer" is more probable than this; 1: never.
        max_answer_length: Largest number of characters of an answer.
        window: Characters of a passage that are read together.
        stride: Largest distance between the starts of two windows.
        training_window: Characters of a training window; such windows start three quarters of this apart.
        length_weight: Added to an answer's score: this times the logarithm of how frequent its length is in
            the training data, relative to the most frequent one.
        extension: `doc._.<extension>(question)` answers a question.
        scorer: By default spacy-elmo.reader_scorer.v1.

    Raises:
        ValueError: A setting is out of range, or another extension has the name.
    """
    return Reader(
        nlp.vocab,
        model,
        name=name,
        threshold=threshold,
        max_answer_length=max_answer_length,
        window=window,
        stride=stride,
        training_window=training_window,
        length_weight=length_weight,
        extension=extension,
        scorer=scorer,
    )


class Reader(TrainablePipe):
    """Answers questions from passages; see make_reader for the settings.

    A passage is read as characters, regardless of its tokens. If the model has listeners, their components
    annotate the passages and questions that are not annotated yet.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[Any, Any],
        *,
        name: str = "reader",
        threshold: float = 0.5,
        max_answer_length: int = 60,
        window: int = 640,
        stride: int = 320,
        training_window: int = 320,
        length_weight: float = 0.2,
        extension: str = "answer",
        scorer: Callable[..., Any] | None = None,
    ):
        if not 0 < stride <= window:
            raise ValueError(f"stride = {stride} does not fit windows of {window}: give 1 to {window}.")
        if max_answer_length < 1:
            raise ValueError(
                f"max_answer_length = {max_answer_length} is too small: give at least 1 character."
            )
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.window = window
        self.stride = stride
        self.training_window = min(window, training_window)
        self.length_weight = length_weight
        self.max_answer_length = max_answer_length
        self.extension = extension
        self.cfg: dict[str, Any] = {"threshold": threshold, "temperature": 1.0, "no_answer_bias": 0.0}
        self.cfg["length_scores"] = []
        self._docs = CharacterDocs()
        self._updates = 0
        get_shim(model)  # raises an error for a model of another kind
        register_reader(self, extension)

    @property
    def docs(self) -> CharacterDocs:
        """Factory of Docs for the model, annotated by the components that it currently listens to."""
        self._docs.connect(self.model)
        return self._docs

    @property
    def threshold(self) -> float:
        """Probability of "no answer" above which a question stays unanswered."""
        return float(self.cfg["threshold"])

    @threshold.setter
    def threshold(self, threshold: float) -> None:
        self.cfg["threshold"] = threshold

    @property
    def calibration(self) -> Calibration:
        """Parameters that turn the model's scores into probabilities."""
        return Calibration(self.cfg["temperature"], self.cfg["no_answer_bias"])

    # --- Prediction ---

    def answer(self, question: str, passage: str | Doc, top_k: int = 1) -> Answers:
        """Return at most `top_k` answers to a question from a passage, best first, without overlap.

        The list is empty if the probability of no answer, `.no_answer` of the result, is above the threshold,
        and for an empty passage or question.

        Args:
            question: The question.
            passage: The passage, a string or a Doc.
            top_k: Largest number of answers.

        Raises:
            ValueError: top_k is below 1.
        """
        return self.answer_batch([(question, passage)], top_k)[0]

    def answer_batch(self, pairs: Iterable[tuple[str, str | Doc]], top_k: int = 1) -> list[Answers]:
        """Answer pairs of a question and a passage as `answer` does; a passage is encoded once."""
        if top_k < 1:
            raise ValueError(f"top_k = {top_k} is too small: ask for at least 1 answer.")
        register_reader(self, self.extension)  # in a process of nlp.pipe, too
        asked = [Pair(question, passage) for question, passage in pairs]
        calibration, threshold = self.calibration, self.threshold
        results = []
        for pair, windows in zip(asked, self._scores(asked), strict=True):
            spans, no_answer = find_answers(windows, calibration, top_k)
            answers = Answers(no_answer=no_answer)
            if no_answer <= threshold:
                answers += [Answer(pair.text[s:e], s, e, p, *pair.tokens(s, e)) for s, e, p in spans]
            results.append(answers)
        return results

    def attention(self, question: str, passage: str) -> Any:
        """Return the attention (n, m) float32 of a passage's n characters over a question's m characters.

        Rows sum to 1. Raises a ValueError for an empty text or a passage longer than a window.
        """
        if not question or not 0 < len(passage) <= self.window:
            raise ValueError(f"Give a question and a passage of 1 to {self.window} characters.")
        docs = self.docs.make(self.vocab, [passage, question])
        windows = [Window(0, 0, len(passage))]
        batch = Batch(docs[:1], docs[1:], [passage], [question], windows=windows, pairs=[(0, 0)])
        return attention_map(self.model, batch)

    def predict(self, docs: Iterable[Doc]) -> list[list[Answers]]:
        """Return the answers to the questions of each Doc, see annotations.set_questions."""
        docs = list(docs)
        questions = [get_questions(doc) for doc in docs]
        pairs = [
            (q.text, doc) for doc, doc_questions in zip(docs, questions, strict=True) for q in doc_questions
        ]
        answers = iter(self.answer_batch(pairs) if pairs else [])
        return [[next(answers) for _ in doc_questions] for doc_questions in questions]

    def set_annotations(self, docs: Iterable[Doc], scores: Sequence[list[Answers]]) -> None:
        """Set the answers on the Docs that have questions."""
        for doc, answers in zip(docs, scores, strict=True):
            if answers:
                set_answers(doc, answers)

    def memory_zone(self, mem: Any = None) -> AbstractContextManager[Any]:
        """Forget the last passages at the end of `nlp.memory_zone`. spaCy calls this method."""
        return self._docs.memory_zone(mem)

    def _scores(self, pairs: Sequence[Pair]) -> Iterable[Any]:
        scorer = PairScorer(
            self.vocab,
            self.docs,
            self.model.predict,
            window=self.window,
            stride=self.stride,
            max_length=self.max_answer_length,
            length_scores=self.cfg.get("length_scores", ()),
        )
        return scorer(pairs)

    def calibrate(self, examples: Iterable[Example]) -> Calibration:
        """Fit the temperature and the bias of "no answer" to questions that were not used in training.

        This maximises the likelihood of the correct answers. The result is saved with the component.

        Args:
            examples: Examples with questions on the reference Docs. If none is impossible, the bias does not
                change.

        Returns:
            The new calibration.
        """
        asked = [(eg.reference, q) for eg in examples for q in get_questions(eg.reference)]
        asked = [(doc, q) for doc, q in asked if q.spans or q.is_impossible]
        scored = self._scores([Pair(q.text, doc.text) for doc, q in asked])
        cases = [CalibrationCase.of(windows, q.spans) for windows, (_, q) in zip(scored, asked, strict=True)]
        calibration = fit_calibration([case for case in cases if case is not None], self.calibration)
        self.cfg.update(temperature=calibration.temperature, no_answer_bias=calibration.no_answer_bias)
        return calibration

    # --- Training ---

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        min_count: int = 2,
    ) -> None:
        """Create the network. min_count: least count of a character that gets an embedding."""
        validate_get_examples(get_examples, "Reader.initialize")
        docs = [eg.reference for eg in get_examples()]
        questions = [q for doc in docs for q in get_questions(doc)]
        characters = frequent_characters(
            [*dict.fromkeys(doc.text for doc in docs), *(q.text for q in questions)], min_count
        )
        self.model.attrs["characters"] = characters
        lengths = [end - start for q in questions for start, end in q.spans[:1]]
        scores = fit_length_scores(lengths, self.max_answer_length, self.length_weight)
        self.cfg.update(temperature=1.0, no_answer_bias=0.0, length_scores=scores)
        self._docs.clear()
        self.model.initialize(X=Batch(passages=docs[:10]))

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Train on the questions of the reference Docs that have spans or are impossible."""
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "Reader.update")
        batch, targets = make_training_batch(
            examples,
            vocab=self.vocab,
            docs=self.docs,
            window=self.training_window,
            stride=max(1, self.training_window * 3 // 4),
        )
        if not batch.pairs:
            return losses
        set_dropout_rate(self.model, drop)
        scores, backprop = self.model.begin_update(batch)
        lengths = [batch.windows[w].end - batch.windows[w].start for w, _ in batch.pairs]
        loss, grads = span_loss(scores, lengths, targets)
        backprop(grads)
        if sgd is not None:
            self.finish_update(sgd)
        losses[self.name] += loss
        self._updates += 1
        if self._updates % RELEASE_EVERY == 0:
            release_freed_memory()  # batches differ in size
        return losses
