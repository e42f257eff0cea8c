"""Compress trained speech models into small files that run without torch."""

__version__ = "0.1.0"
