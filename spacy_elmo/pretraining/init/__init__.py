"""Count n-grams and vectors in the corpus, for initialization."""
