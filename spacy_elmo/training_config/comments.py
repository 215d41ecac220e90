"""The comments of the configurations that `spacy elmo init-config` writes, by patterns of dotted paths."""

COMMENTS: dict[str, list[str]] = {
    "paths.train": [
        "Your data in spaCy's format (docs/cookbook), or give --paths.train and --paths.dev to `spacy train`."
    ],
    "paths.cache": [
        "A folder for the biLM's layers of all passages, 3 kB a character; every further training reads them "
        "from there."
    ],
    "paths.kb": ["A knowledge base that kb.to_disk() wrote."],
    "components.elmo": [
        "Freezes itself: it belongs neither in frozen_components nor in annotating_components."
    ],
    "components.elmo.model.path": ["A model folder; null is the model that the package brings."],
    "components.*.min_action_freq": ['Labels that occur less often become "dep"; spaCy\'s default is 30.'],
    "components.*.dictionary": [
        'Words that are kept whole whatever the model says: "word" or ["word", "tag", "entity"].'
    ],
    "components.*.suggester": [
        "The spans that are looked at, of so many tokens, or those that span_finder has left."
    ],
    "components.*.model.tok2vec.embed": ["What the encoder reads of a token."],
    "components.*.embed.*.mix_dropout": [
        "The mix has a dropout and an L2 penalty of its own. 0.1 and not the usual 0.5: with few sentences "
        "that makes",
        "the task learn its own words by heart (docs/training-components.md).",
    ],
    "components.*.embed.*.layer_norm": [
        "The embedding layer has four times the numbers of the first LSTM layer: normalised, they have "
        "the same say."
    ],
    "components.*.embed.*.use_static_vectors": [
        "And what the model knows of a token by itself: words that the task has not met."
    ],
    "components.*.lexicon": [
        "And of the strings that begin, go on or end at it (SoftLexicon): words, where tokens are characters."
    ],
    "components.*.lexicon.path": [
        "A file of `spacy elmo lexicon` or a model folder; null is the model that the package brings."
    ],
    "components.*.embed.*.tagger": [
        "And of the words, tags and names that a small frozen tagger sees, which has learnt them from LAC."
    ],
    "components.*.tagger.path": [
        "A file of projects/zh_elmo/scripts/distill.py; null is the tagger of the package, for its model."
    ],
    "components.reader.threshold": [
        'A question stays unanswered where "no answer" is more probable than this; 1: never.'
    ],
    "components.reader.window": [
        "Characters of a passage that are read at once; longer ones are read in windows."
    ],
    "components.reader.training_window": [
        "Characters of a passage that are trained on at once: a question with a part that has its answer."
    ],
    "components.reader.model.tok2vec.@architectures": [
        "For ELMo once more after the modelling layer: a spacy-elmo.BothEnds.v1, see docs/reading.md."
    ],
    "components.reader.model.tok2vec.mix_dropout": [
        "The network has its own dropout. weight_penalty counts for each token, but the loss is a mean over "
        "questions."
    ],
    "corpora.train.gold_preproc": [
        "true: train on the tokens of the corpus; false: on those of the tokenizer, as in use."
    ],
    "corpora.train.limit": ["Questions to read; 0: all."],
    "corpora.train.negatives": [
        "Questions of other passages, a tenth as many as its own to each passage, from which it learns "
        "to refuse."
    ],
    "training.dropout": [
        "Of what the encoder and the decoder read. Strong, for few sentences; with tens of thousands 0.2 is "
        "enough."
    ],
    "training.patience": ["Stop after so many steps without a better score; 0: never."],
    "training.optimizer.L2": [
        "Weight decay is off: it would reach every parameter, the mix too, which has its own weight_penalty."
    ],
    "training.optimizer.use_averages": [
        "Averaged weights stand in for a decay of the learning rate, which would need to know the number of "
        "steps."
    ],
    "initialize.tokenizer.pkuseg_model": [
        "For the segmenter pkuseg: the folder of a model, or the name of one that spacy-pkuseg downloads."
    ],
}

READER_COMMENTS: dict[str, list[str]] = {
    "paths.train": ["Passages with questions and answers in the format of SQuAD (docs/reading.md)."],
    "training.dropout": [],
    "training.optimizer.use_averages": [],
    "training.batcher": ["By padded characters: about ten passages of similar length, 40 questions."],
    "training.optimizer.beta2": ["Not 0.999: the training is short."],
    "training.optimizer.L2": ["Weight decay is off: it would reach every parameter, the mix too."],
    "training.optimizer.grad_clip": [
        "Off: the network clips the norm of all its gradients together, see max_grad_norm."
    ],
}
