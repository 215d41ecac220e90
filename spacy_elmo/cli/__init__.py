"""The command line."""


def setup_cli() -> None:
    """Called by the `spacy` command."""
