"""The comments of the configurations that `spacy elmo init-config` writes, by patterns of dotted paths."""

COMMENTS: dict[str, list[str]] = {
    "paths.train": [
        "Your data in spaCy's format (docs/cookbook). Or give `spacy train` --paths.train and --paths.dev."
    ],
    "paths.cache": [
        "A folder that caches the biLM's layers of all passages for later trainings, 3 kB per character."
    ],
    "paths.kb": ["A knowledge base that kb.to_disk() wrote."],
    "components.elmo": [
        "It freezes itself, so it belongs in neither frozen_components nor annotating_components."
    ],
    "components.elmo.model.path": ["A model folder; null: the bundled model."],
    "components.*.min_action_freq": ['Labels that occur less often become "dep"; spaCy\'s default is 30.'],
    "components.*.dictionary": [
        'Words to keep whole regardless of the model: "word" or ["word", "tag", "entity"].'
    ],
    "components.*.suggester": [
        "The candidate spans: all spans of these sizes in tokens, or those that span_finder suggests."
    ],
    "components.*.model.tok2vec.embed": ["Features of a token, which the encoder reads."],
    "components.*.embed.*.mix_dropout": [
        "The mix has its own dropout and L2 penalty. With few sentences, the usual rate of 0.5 makes the "
        "component memorise its training words (docs/training-components.md).",
    ],
    "components.*.embed.*.layer_norm": [
        "In the bundled model, the values of the embedding layer are four times those of the first LSTM "
        "layer. Normalisation gives the layers equal influence."
    ],
    "components.*.embed.*.use_static_vectors": [
        "Vectors that do not depend on the sentence. They help with words that the training data lack."
    ],
    "components.*.lexicon": [
        "Features of the strings in a lexicon that cover a token (SoftLexicon): of words, if tokens are "
        "characters."
    ],
    "components.*.lexicon.path": [
        "A file of `spacy elmo lexicon` or a model folder; null: the bundled model."
    ],
    "components.*.embed.*.bigrams": [
        "Embeddings of each character with the next one, trained with the task."
    ],
    "components.*.embed.*.tagger": [
        "States of a small frozen tagger of words, tags and names that was distilled from LAC."
    ],
    "components.*.tagger.path": [
        "A file of projects/zh_elmo/scripts/distill.py; null: the tagger in the package, which needs the "
        "bundled model."
    ],
    "components.reader.threshold": [
        'A question stays unanswered if "no answer" is more probable than this; 1: never.'
    ],
    "components.reader.window": ["Characters of a window. Longer passages are read in several windows."],
    "components.reader.training_window": [
        "Characters of a window in training, where a question is paired with a window that has its answer."
    ],
    "components.reader.model.tok2vec.@architectures": [
        "To give ELMo to the modelling layer's output, too, use spacy-elmo.BothEnds.v1 (docs/reading.md)."
    ],
    "components.reader.model.tok2vec.mix_dropout": [
        "The network has dropout of its own. weight_penalty applies to each token, but the loss is a mean "
        "over questions."
    ],
    "corpora.train.gold_preproc": [
        "true: train on the tokens of the corpus; false: on the tokens of the tokenizer."
    ],
    "corpora.train.limit": ["Number of questions to read; 0: all."],
    "corpora.train.negatives": [
        "Questions of other passages per question of a passage. They teach the reader to give no answer."
    ],
    "training.dropout": [
        "Dropout on the inputs of encoder and decoder. This value is for few sentences; with tens of "
        "thousands of sentences, 0.2 is enough."
    ],
    "training.patience": ["Stop after this many steps without a better score; 0: never."],
    "training.optimizer.L2": [
        "Weight decay is off: it would apply to every parameter, also to the mix, which has weight_penalty."
    ],
    "training.optimizer.use_averages": [
        "Averaging the weights replaces a decay of the learning rate, which needs a fixed number of steps."
    ],
    "initialize.tokenizer.pkuseg_model": [
        "For the segmenter pkuseg: the folder of a model, or the name of one that spacy-pkuseg downloads."
    ],
}

READER_COMMENTS: dict[str, list[str]] = {
    "paths.train": ["Passages with questions and answers in the format of SQuAD (docs/reading.md)."],
    "training.dropout": [],
    "training.optimizer.use_averages": [],
    "training.batcher": ["Batches by padded characters: about ten passages of similar length, 40 questions."],
    "training.optimizer.beta2": ["Smaller than the usual 0.999, because the training is short."],
    "training.optimizer.L2": ["Weight decay is off: it would apply to every parameter, also to the mix."],
    "training.optimizer.grad_clip": [
        "Off: the network clips the norm of all its gradients together, see max_grad_norm."
    ],
}
