"""The command line: `spacy elmo ...` and `python -m spacy_elmo ...`. Imported by every `spacy` command:
torch and the rest of the package are imported by the commands themselves, when they run.
"""
