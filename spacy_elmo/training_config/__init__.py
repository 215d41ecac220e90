"""Configurations for `spacy train`: write complete ones, and add ELMo to existing ones."""
