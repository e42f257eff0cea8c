"""Words from the log probabilities of symbols: a language model, a graph of it with a dictionary, and the search."""
