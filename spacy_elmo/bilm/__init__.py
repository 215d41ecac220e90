"""The network: torch and safetensors only; knows nothing of spaCy."""
