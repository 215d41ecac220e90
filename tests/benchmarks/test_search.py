"""The retrieval set is what it says, and its scores are right."""

import eval_search
import numpy as np

PAIRS = eval_search.read(eval_search.SET)


def test_forty_questions_with_an_answer_and_a_distractor():
    assert len(PAIRS) == 40
    sentences = [sentence for pair in PAIRS for sentence in pair]
    assert all(sentences)
    assert len(set(sentences)) == 120


def test_distractors_share_more_characters_with_the_question_than_answers_do():
    def shared(a: str, b: str) -> int:
        return len(set(a) & set(b))

    nearer = [shared(pair.query, pair.distractor) > shared(pair.query, pair.answer) for pair in PAIRS]
    assert sum(nearer) >= 38


def test_scores():
    sentences = np.eye(4, dtype=np.float32)
    assert eval_search.scores(sentences[:2], sentences, center=False) == (1.0, 1.0)
    turned = sentences[[1, 0]]
    assert eval_search.scores(turned, sentences, center=False) == (0.0, 0.5)
    assert eval_search.scores(sentences[:2] + 5, sentences + 5) == (1.0, 1.0)
