"""Linear layers as two thinner ones, one after the other."""

from collections.abc import Mapping

from torch import Tensor, nn


class Factored(nn.Module):
    """A linear layer whose matrix is a product: down to `rank` values, without a bias, and up from there."""

    def __init__(self, inputs: int, rank: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, outputs, bias)

    @property
    def rank(self) -> int:
        return self.down.out_features

    @property
    def weight(self) -> Tensor:
        """The matrix [outputs, inputs]."""
        return self.up.weight @ self.down.weight

    @property
    def bias(self) -> Tensor | None:
        return self.up.bias

    def forward(self, x: Tensor) -> Tensor:
        given: Tensor = self.up(self.down(x))
        return given


def linears(model: nn.Module) -> dict[str, nn.Linear | Factored]:
    """The linear layers of a model by name, whole or factored; not those within a factored one."""
    found: dict[str, nn.Linear | Factored] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | Factored) and not isinstance(found.get(name.rpartition(".")[0]), Factored):
            found[name] = module
    return found


def ranks_of(model: nn.Module) -> dict[str, int]:
    """The ranks of the factored layers of a model, by name."""
    return {name: layer.rank for name, layer in linears(model).items() if isinstance(layer, Factored)}


def factor(model: nn.Module, ranks: Mapping[str, int]) -> None:
    """Put factored layers of these ranks, yet to be filled, in the place of the linear layers of these names.

    Raises AttributeError where there is none.
    """
    layers = linears(model)
    for name, rank in ranks.items():
        if name not in layers:
            raise AttributeError(f"{name} is no linear layer")
        matrix, bias = layers[name].weight, layers[name].bias
        made = Factored(matrix.shape[1], rank, matrix.shape[0], bias is not None)
        model.set_submodule(name, made.to(matrix.device).train(layers[name].training))
