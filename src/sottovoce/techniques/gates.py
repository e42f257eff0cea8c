"""Gates of groups of units: random while they train, with a probability of being open that a gradient can move.

Source: the hard concrete distribution of Louizos et al. 2018.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sottovoce.techniques.tracing import first
from sottovoce.techniques.weights import Weight, WeightForm, learned, weights
from sottovoce.units import Group, Narrow, Place

LOW, HIGH = -0.1, 1.1                # what a sigmoid is stretched to before it is cut to 0..1: l and r
MOST = 0.999                         # probability of a gate to be open, or closed, at most; they begin that open


class Gates(nn.Module):
    """The gates of a group, [count] values in 0..1: drawn once a step in training, else the median of each while open.

    A gate is open, which is above 0, with probability sigmoid(log alpha - temperature * log(-l / r)).
    """

    drawn: Tensor

    def __init__(self, count: int, temperature: float = 1.0, norms: Sequence[Narrow] = (), pace: float = 1.0) -> None:
        """`norms` are narrowed to the open gates at every draw; `pace` as in training."""
        super().__init__()
        self.temperature, self.pace = temperature, pace
        self._middle = temperature * math.log(-LOW / HIGH)       # log alpha of a gate that is as often open as closed
        self._reach = math.log(MOST / (1 - MOST))                # how far it goes from there
        self.log_alpha = nn.Parameter(torch.full((count,), self._middle + self._reach))
        self.register_buffer("drawn", torch.zeros(count))        # logistic noise of this step
        self.norms = tuple(norms)                                # parts of the model, not of this module

    @torch.no_grad()
    def anneal(self, share: float) -> None:
        """Draw the gates of the next step."""
        self.log_alpha.clamp_(self._middle - self._reach, self._middle + self._reach)
        self.drawn.uniform_(1e-6, 1 - 1e-6).logit_()
        self._narrow(self() > 0)

    def forward(self) -> Tensor:
        noise = self.drawn if self.training else torch.logit(1 - self.open() / 2, eps=1e-6)
        return (torch.sigmoid((self.log_alpha + noise) / self.temperature) * (HIGH - LOW) + LOW).clamp(0, 1)

    def open(self) -> Tensor:
        """The probability [count] of each gate to be above 0."""
        return torch.sigmoid(self.log_alpha - self._middle)

    @torch.no_grad()
    def likely(self, moved: float = 0.0) -> Tensor:
        """The most open gates, bool [count], as many as are expected to be open with log alphas moved by so much.

        Of channels that norms go over one stays, whatever is expected.
        """
        expected = float(torch.sigmoid(self.log_alpha - self._middle + moved).sum())
        kept = torch.zeros_like(self.log_alpha, dtype=torch.bool)
        count = max(round(expected), 1 if self.norms else 0)
        kept[self.log_alpha.argsort(descending=True, stable=True)[:count]] = True
        return kept

    @torch.no_grad()
    def settle(self, kept: Tensor) -> None:
        """Close all but these gates, bool [count], for good."""
        self.eval()
        self.log_alpha[~kept] = -torch.inf
        self._narrow(kept)

    def _narrow(self, kept: Tensor) -> None:
        for norm in self.norms:
            norm.narrow(kept)


class Gated(WeightForm):
    """A weight times the gates along its axes, zero wherever `keep` is False; for the time of a fit alone."""

    keep: Tensor

    def __init__(self, keep: Tensor, gates: Sequence[tuple[Gates, Place]]) -> None:
        super().__init__()
        self.register_buffer("keep", keep)
        self.gates = tuple(gates)        # not as modules: they are of several weights

    def forward(self, weight: Tensor) -> Tensor:
        weight = weight * self.keep
        for gates, place in self.gates:
            weight = weight * along(gates(), place, weight.dim())
        return weight


def along(values: Tensor, place: Place, dims: int) -> Tensor:
    """Values [count] of units for each index of the axis, in the shape of a tensor of so many axes, else 1 long."""
    return place.spread(values).view(*(-1 if axis == place.axis else 1 for axis in range(dims)))


def lay_gates(model: nn.Module, groups: Sequence[Group], gates: Mapping[str, Gates]) -> None:
    """Have the gates, by name of their group, scale the weights of the model."""
    for weight, places in placed(model, groups):
        if scaled := [(gates[group.name], place) for group, place in places if place.scaled]:
            weight.hold(Gated(kept(weight), scaled))


def placed(model: nn.Module, groups: Sequence[Group]) -> list[tuple[Weight, list[tuple[Group, Place]]]]:
    """Every tensor of the model in which units lie, and where."""
    places: dict[str, list[tuple[Group, Place]]] = {}
    for group in groups:
        for place in group.places:
            places.setdefault(place.tensor, []).append((group, place))
    return [(weight, places[weight.name]) for weight in learned(model) if weight.name in places]


def kept(weight: Weight) -> Tensor:
    """Which elements of a weight may be other than 0: all of a free one."""
    match weight.form:
        case None:
            return torch.ones_like(weight.value, dtype=torch.bool)
        case Gated() as form:
            return form.keep
    return weight.value.detach() != 0


Axis = tuple[tuple[str, Place], ...]     # the groups that lie on an axis of a tensor, each with how it lies there


class Extent:
    """How much there is of a model's tensors, as a function of the probabilities of its units to stay.

    Of each tensor it is the cost of an element times the product, over the axes, of how many indices are expected to
    stay. Where all probabilities are 0 or 1 this is the true count.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]], groups: Sequence[Group],
                 costs: Mapping[str, float] | None = None) -> None:
        """`costs` are those of an element of each tensor that has any; then `extra` of the groups counts, too.

        Without costs every element counts one. Raises ValueError naming the place that does not fit its tensor.
        """
        axes: dict[tuple[str, int], list[tuple[str, Place]]] = {}
        for group in groups:
            for place in group.places:
                length, units = shapes[place.tensor][place.axis], len(place.units) or group.count
                if units * place.each != length:
                    raise ValueError(f"{group.name}: {units} units of {place.each} do not fit the {length} of "
                                     f"axis {place.axis} of {place.tensor}")
                anywhere = place._replace(tensor="", axis=0, scaled=False)
                axes.setdefault((place.tensor, place.axis), []).append((group.name, anywhere))
        self._groups = tuple(groups)
        # What differs by a constant alone is worked out once: a few terms instead of one for every tensor.
        self._terms: dict[tuple[Axis, ...], float] = defaultdict(float)
        for name, shape in shapes.items():
            placed = [axis for axis in range(len(shape)) if (name, axis) in axes]
            alone = math.prod(length for axis, length in enumerate(shape) if axis not in placed)
            cost = 1.0 if costs is None else costs.get(name, 0.0)
            self._terms[tuple(sorted(tuple(sorted(axes[name, axis])) for axis in placed))] += cost * alone
        for group in groups if costs is not None else ():
            self._terms[(((group.name, Place("", 0)),),)] += group.extra
        self.whole = float(self({}))

    def __call__(self, open: Mapping[str, Tensor]) -> Tensor:
        """The expected extent, a scalar; `open` is [count] by name of a group, of groups not in it everything stays."""
        one = next(iter(open.values()), torch.ones(1)).new_ones(())
        stays = {group.name: open.get(group.name, one.expand(group.count)) for group in self._groups}
        lengths = {axis: math.prod((place.spread(stays[name]) for name, place in axis), start=one).sum()
                   for axis in {axis for term in self._terms for axis in term}}
        terms = [cost * math.prod((lengths[axis] for axis in term), start=one) for term, cost in self._terms.items()]
        return torch.stack(terms).sum()

    def removed(self, open: Mapping[str, Tensor]) -> Tensor:
        """The share of the whole that is expected to go."""
        return 1 - self(open) / self.whole


@torch.no_grad()
def uses(model: nn.Module, inputs: Sequence[Tensor]) -> dict[str, float]:
    """How many products each element of a tensor takes part in during a pass over one utterance, by name.

    Those that `artefact/cost.py` counts: of matrices and kernels, for every place of the output.
    """
    found: dict[str, float] = defaultdict(float)

    def counting(name: str, channels: int) -> Callable[..., None]:
        def count(module: nn.Module, inputs: Any, outputs: Any) -> None:
            found[name] += first(outputs).numel() / channels

        return count

    handles = [weight.module.register_forward_hook(counting(weight.name, channels))
               for weight in weights(model) if (channels := _outputs(weight.module))]
    try:
        model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return dict(found)


def _outputs(module: nn.Module) -> int:
    """Features of what a module with weights gives; 0 of one that is neither a layer nor a convolution."""
    match module:
        case nn.Linear():
            return module.out_features
        case nn.modules.conv._ConvNd():
            return module.out_channels
        case nn.LSTM() | nn.GRU():
            return module.hidden_size * (1 + module.bidirectional)
    return 0
