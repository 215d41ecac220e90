"""`python -m spacy_elmo`: the commands of `spacy elmo`, for torchrun and where `spacy` is not on the PATH."""

from .cli.commands import app

if __name__ == "__main__":
    app(prog_name="python -m spacy_elmo")
