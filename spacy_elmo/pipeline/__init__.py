"""The spaCy plugin: the component "elmo", its listeners and what they leave on a Doc."""
