"""The full-size runs: their list, the queue that makes them, their scores and the tables made of these."""
