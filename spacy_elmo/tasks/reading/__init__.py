"""Reading comprehension: a question and a passage in, the span of the passage that answers it out."""
