"""The smallest real things: the sample speech, a model of a few thousand weights, settings for every stage."""

from pathlib import Path
from typing import Any

import torch

from sottovoce.models import MODELS
from sottovoce.recipe import Recipe, parse_recipe

ROOT = Path(__file__).parents[1]

MODEL_SETTINGS: dict[str, list[dict[str, Any]]] = {
    "lstm": [
        {"hidden": 8, "layers": 2},
        {"hidden": 8, "layers": 1, "features": "log1p", "output": "mask", "window": "hann_sqrt", "least_gain": 0.1,
         "level_seconds": 1.0},
        {"hidden": 8, "layers": 1, "level_seconds": 1.0},
    ],
    "fdnn": [{"units": 12}, {"units": 12, "layers": 1, "features": "log1p", "level_seconds": 1.0}],
    "gcrn": [
        {"channels": (2, 3, 3, 4, 4)},
        {"channels": (2, 2, 2, 2, 3), "groups": 3, "output": "mask", "power": 0.3, "level_seconds": 1.0,
         "window": "hann_sqrt"},
        {"channels": (2, 2, 2, 2, 2), "groups": 1, "power": 0.5, "level_seconds": 1.0},
    ],
    "tcnn": [{"middle": 8, "blocks": 1}, {"middle": 8, "blocks": 1, "residual": True, "level_seconds": 1.0}],
    "wase": [
        {"stacks": 2, "blocks": 3, "filters": 12, "channels": 6, "middle": 8, "units": 5},
        {"stacks": 1, "blocks": 3, "filters": 8, "channels": 4, "middle": 6, "units": 3, "rate": 16_000,
         "causal": True},
    ],
    "gru": [
        {"hidden": 8, "layers": 2},
        {"hidden": 6, "layers": 1, "features": "log1p", "output": "mask", "window": "hann_sqrt", "level_seconds": 1.0},
    ],
}

RECOGNIZER_SETTINGS: dict[str, list[dict[str, Any]]] = {           # waveform in, log probabilities out
    "conformer": [
        {"symbols": 5, "layers": 2, "channels": 8, "heads": 2, "middle": 12, "images": 3},
        {"symbols": 4, "layers": 1, "channels": 12, "heads": 3, "middle": 8, "images": 2, "kernel": 5, "left": 3,
         "right": 1, "causal": True},
        {"symbols": 5, "layers": 3, "channels": 8, "heads": 2, "middle": 12, "images": 3, "stream": 7, "blocks": (
            {"heads": 1, "before": 5, "after": 12, "convolution": True, "local": 7},
            {"heads": 2, "before": 0, "after": 3, "convolution": False, "local": 4},
            {"heads": 1, "before": 9, "after": 4, "convolution": True, "local": 0},
        )},
    ],
    "dnn": [{"states": 5, "hidden": 8, "layers": 3}, {"states": 4, "hidden": 6, "layers": 1, "context": 3, "bins": 7}],
    "hdnn": [{"states": 5, "hidden": 8, "layers": 4},
             {"states": 4, "hidden": 6, "layers": 2, "context": 1, "spread": 0.5}],
}

STREAMING_SETTINGS: list[dict[str, Any]] = [                       # of the conformer: those that run chunk by chunk
    {"symbols": 5, "layers": 2, "channels": 8, "heads": 2, "middle": 12, "images": 3, "kernel": 5, "chunk": chunk,
     "left": left} for chunk, left in ((1, 0), (1, 8), (4, 0), (4, 8), (3, 2))
]

STAGE_TABLES: dict[str, str] = {
    "train": "steps = 4\nl1 = 0.1\ngroup = 0.05",
    "prune": "ratio = 0.5",
    "distill": 'steps = 4\nweight = 0.5\nl1 = "auto"\ngroup = "auto"\nfeatures = "*"',
    "cluster": "values = 8",
    "half": "",
    "quantize": "bits = 3",
    "activations": 'ranges = "static"\nutterances = 2\nonly = "output.weight"',
    "l0": 'steps = 16\ntarget = 0.5\ngate_lr = 0.9\nmultiplier_lr = 0.9\nrise = 0.1\nfeatures = "hidden.*"',
    "cut": "target = 0.4",
    "factorize": "target = 0.1",
    "iterate": 'rounds = 2\nstages = [{ kind = "prune", ratio = 0.3 }, '
               '{ kind = "distill", steps = 3, teacher = "previous", l1 = "auto" }]',
    "budget": 'size = "4 kB"\nrounds = 1\nvalues = 8\nutterances = 2\n'
              'stages = [{ kind = "distill", steps = 3, teacher = "previous" }]',
}

STAGE_MODELS: dict[str, dict[str, str]] = {      # for stages that are not for every model; else that of `recipe`
    "l0": {"name": "fdnn", "model": "units = 16\nlayers = 2"},
    "cut": {"name": "fdnn", "model": "units = 16\nlayers = 2"},
}

TASK = """
[task]
name = "enhance"
speech = { path = "speech.jsonl", where = { split = "train" } }
noise = { path = "noise.jsonl", where = { split = "train" } }
rooms = { path = "rir.jsonl", where = { split = "train" } }
mixing = { seconds = 0.5 }
batch = 2
workers = 0
[task.dev]
metrics = ["si_sdr"]
plans = "LISTS/dev.jsonl"
speech = { path = "speech.jsonl", where = { split = "dev" } }
noise = { path = "noise.jsonl", where = { split = "dev" } }
snr_db = [5]
per_snr = 2
seconds = 0.5
"""


def recipe(stages: str, lists: Path, model: str = "hidden = 8\nlayers = 2", seed: int = 3,
           name: str = "lstm") -> Recipe:
    """A recipe on the sample with these stages; its evaluation lists are made in the folder `lists`."""
    text = f'name = "toy"\nseed = {seed}\n[model]\nname = "{name}"\n{model}\n{TASK}\n{stages}'
    return parse_recipe(text.replace("LISTS", str(lists)), "toy.toml", ROOT / "sample")


def stage_table(kind: str) -> str:
    """The TOML of a stage of that kind."""
    return f'[[stages]]\nkind = "{kind}"\n{STAGE_TABLES[kind]}\n'


def built(name: str, settings: dict[str, Any], seed: int = 0) -> torch.nn.Module:
    """A model with weights from a seed."""
    torch.manual_seed(seed)
    return MODELS[name].module(MODELS[name].config(**settings)).eval()


MODEL_CASES = [
    (name, settings) for name, variants in MODEL_SETTINGS.items() for settings in variants
]
CAUSAL_CASES = [(name, settings) for name, settings in MODEL_CASES if name != "wase" or settings.get("causal")]
