"""How a model gets smaller: one file a technique, and the two tables that list them."""

from sottovoce.techniques.activations import Activations, Dynamic, Static
from sottovoce.techniques.adapt import Adapt
from sottovoce.techniques.budget import Budget
from sottovoce.techniques.cluster import Cluster, Codebook
from sottovoce.techniques.cut import Cut
from sottovoce.techniques.distill import Distill
from sottovoce.techniques.factorize import Factorize
from sottovoce.techniques.half import Half, HalfPrecision
from sottovoce.techniques.inputs import InputForm
from sottovoce.techniques.iterate import Iterate
from sottovoce.techniques.l0 import L0
from sottovoce.techniques.lsq import Lsq
from sottovoce.techniques.prune import Mask, Prune
from sottovoce.techniques.quantize import Quantize
from sottovoce.techniques.sequence import SequenceTraining
from sottovoce.techniques.share import Share
from sottovoce.techniques.staircase import Staircase
from sottovoce.techniques.train import Train
from sottovoce.techniques.weights import WeightForm

STAGES: dict[str, type] = {
    "train": Train,
    "prune": Prune,
    "distill": Distill,
    "cluster": Cluster,
    "half": HalfPrecision,
    "share": Share,
    "quantize": Quantize,
    "activations": Activations,
    "l0": L0,
    "cut": Cut,
    "factorize": Factorize,
    "iterate": Iterate,
    "budget": Budget,
    "sequence": SequenceTraining,
    "adapt": Adapt,
}

FORMS: dict[str, type[WeightForm]] = {       # by these names they are found again in a checkpoint
    "mask": Mask,
    "codebook": Codebook,
    "half": Half,
    "staircase": Staircase,
    "lsq": Lsq,
}

INPUT_FORMS: dict[str, type[InputForm]] = {  # likewise, of what comes into a module
    "dynamic": Dynamic,
    "static": Static,
}
