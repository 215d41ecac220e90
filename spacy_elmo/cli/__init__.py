"""The command line: `spacy elmo ...` and `python -m spacy_elmo ...`.

Every `spacy` command imports this package, so the commands import torch and the rest only when they run.
"""
