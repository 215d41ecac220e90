"""The comments of the configurations that `spacy elmo init-config` writes, by patterns of dotted paths."""

COMMENTS: dict[str, list[str]] = {
    "paths.train": [
        "Your data in spaCy's format (docs/cookbook), or give --paths.train and --paths.dev to `spacy train`."
    ],
    "paths.cache": [
        "A folder for the biLM's layers of all passages, 3 kB per character, which later trainings read."
    ],
    "paths.kb": ["A knowledge base that kb.to_disk() wrote."],
    "components.elmo": [
        "It freezes itself, so it belongs in neither frozen_components nor annotating_components."
    ],
    "components.elmo.model.path": ["A model folder; null: the model in the package."],
    "components.*.min_action_freq": ['Labels that occur less often become "dep"; spaCy\'s default is 30.'],
    "components.*.dictionary": [
        'Words to keep whole regardless of the model: "word" or ["word", "tag", "entity"].'
    ],
    "components.*.suggester": [
        "The candidate spans: all of these sizes in tokens, or those that span_finder suggests."
    ],
    "components.*.model.tok2vec.embed": ["Input of the encoder: features of a token."],
    "components.*.embed.*.mix_dropout": [
        "The mix has its own dropout and L2 penalty. With few sentences, the usual rate of 0.5 makes the "
        "component memorise its training words (docs/training-components.md).",
    ],
    "components.*.embed.*.layer_norm": [
        "The values of the embedding layer are four times those of the first LSTM layer; normalisation "
        "gives them equal influence."
    ],
    "components.*.embed.*.use_static_vectors": [
        "Static vectors of tokens, which help with words that the training data lack."
    ],
    "components.*.lexicon": [
        "Features of the strings that begin, continue or end at a token (SoftLexicon): words, for characters."
    ],
    "components.*.lexicon.path": [
        "A file of `spacy elmo lexicon` or a model folder; null: the model in the package."
    ],
    "components.*.embed.*.bigrams": ["And of each character with the next one, learned with the task."],
    "components.*.embed.*.tagger": [
        "States of a small frozen tagger of words, tags and names, which was distilled from LAC."
    ],
    "components.*.tagger.path": [
        "A file of projects/zh_elmo/scripts/distill.py; null: the tagger in the package, for its model."
    ],
    "components.reader.threshold": [
        'A question stays unanswered if "no answer" is more probable than this; 1: never.'
    ],
    "components.reader.window": ["Characters of a window; longer passages are read in several windows."],
    "components.reader.training_window": [
        "Characters of a window in training: a question is paired with one that has its answer."
    ],
    "components.reader.model.tok2vec.@architectures": [
        "To use ELMo also after the modelling layer, put a spacy-elmo.BothEnds.v1 here (docs/reading.md)."
    ],
    "components.reader.model.tok2vec.mix_dropout": [
        "The network has its own dropout. weight_penalty counts for each token, but the loss is a mean over "
        "questions."
    ],
    "corpora.train.gold_preproc": [
        "true: train on the tokens of the corpus; false: on the tokens of the tokenizer."
    ],
    "corpora.train.limit": ["Questions to read; 0: all."],
    "corpora.train.negatives": [
        "Questions of another passage per question of a passage, from which the reader learns to refuse."
    ],
    "training.dropout": [
        "Dropout on the inputs of encoder and decoder. It is strong, for few sentences; with tens of "
        "thousands of sentences 0.2 is enough."
    ],
    "training.patience": ["Stop after this many steps without a better score; 0: never."],
    "training.optimizer.L2": [
        "Weight decay is off: it would reach every parameter, the mix too, which has its own weight_penalty."
    ],
    "training.optimizer.use_averages": [
        "Averaged weights replace a decay of the learning rate, for which the number of steps must be known."
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
