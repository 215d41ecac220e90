"""`python -m spacy_elmo`: the commands of `spacy elmo`, for torchrun and for machines without PATH."""

from .cli.commands import app

if __name__ == "__main__":
    app(prog_name="python -m spacy_elmo")
