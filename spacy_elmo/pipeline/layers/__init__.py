"""thinc layers: the frozen biLM, the listener, the scalar mix, and fused layers."""
