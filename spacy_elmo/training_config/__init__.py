"""Configurations for `spacy train`: written as a whole, or ELMo put into one that exists."""
