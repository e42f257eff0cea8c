"""Waveforms and text to batches, on lhotse: corpora, mixing, batches."""
