"""What a biLM begins with besides random weights: n-grams and vectors counted in the corpus."""
