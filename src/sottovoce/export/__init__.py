"""A compressed model in the formats of other people's runtimes; no torch in this room."""
