"""Layers for thinc: the frozen biLM, the listener, the scalar mix, and what fuses others."""
