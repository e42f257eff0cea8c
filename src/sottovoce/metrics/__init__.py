"""How good is it: scores of one utterance, of a list in parallel, and what their differences prove."""
