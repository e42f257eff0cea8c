"""The word errors of pocketsphinx itself on the test list of work 4: python benchmarks/pocketsphinx_yardstick.py

Writes benchmarks/results/pocketsphinx.json. It has its own Gaussian mixtures, dictionary and trigram model; our phones
become words with the last two as well.
"""

import json
from pathlib import Path

import numpy as np
from full.results import summary
from pocketsphinx import Decoder
from rich.progress import track

from sottovoce.data.vocabulary import words_of
from sottovoce.files import write_text
from sottovoce.metrics.recognition import error_rate
from sottovoce.proof import environment
from sottovoce.recipe import read_recipe

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes" / "full" / "conformer-teacher.toml"
RESULT = ROOT / "benchmarks" / "results" / "pocketsphinx.json"


def heard(decoder: Decoder, waveform: np.ndarray) -> str:
    """What it hears in a waveform [samples] at 16 kHz, as words in lower case."""
    decoder.start_utt()
    decoder.process_raw((np.clip(waveform, -1, 1) * 32767).astype(np.int16).tobytes(), full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return " ".join(words_of(hypothesis.hypstr)) if hypothesis else ""


def main() -> None:
    task, decoder = read_recipe(RECIPE).task, Decoder(samprate=16_000, loglevel="FATAL")
    utterances, pool = task.utterances("test"), task.lists["test"].pool
    scores = [
        {"wer": error_rate("wer", heard(decoder, pool.read(utterance.clip, 0.0, utterance.seconds)), utterance.text)}
        for utterance in track(utterances, "utterances")
    ]
    write_text(RESULT, json.dumps({
        "command": "python benchmarks/pocketsphinx_yardstick.py", "environment": environment(),
        **task.identity("test"), "scores": summary(scores, task.groups("test"), {}),
    }, indent=1) + "\n")


if __name__ == "__main__":
    main()
