"""The spaCy plugin: the component "elmo", its listeners, and the vectors that it sets on a Doc."""
