"""Lexical analysis: lexicon features, a BiLSTM encoder and a CRF for words, tags and entities."""
