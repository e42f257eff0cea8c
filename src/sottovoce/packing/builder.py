"""The nodes of a graph, collected from the steps of a trace."""

from typing import Any

from torch import fx, nn

from sottovoce.artefact.graph import Graph, Node
from sottovoce.errors import SottovoceError


class Builder:
    """A graph in the making: which of its values each step of the trace has become."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.nodes: list[Node] = []
        self.values: dict[fx.Node, str] = {}         # step of the trace -> name of its value

    def graph(self) -> Graph:
        return Graph(tuple(self.inputs), tuple(self.outputs), tuple(self.nodes))

    def emit(self, step: fx.Node, op: str, inputs: int = 1, sources: Any = None,
             tensors: dict[str, str] | None = None, **attributes: Any) -> None:
        """One node of the graph for one step; `sources` are its inputs where they are not its first arguments."""
        names = (self.value(source, step) for source in (step.args[:inputs] if sources is None else sources))
        self.values[step] = self.append(op, step.name, *names, tensors=tensors, **attributes)

    def append(self, op: str, name: str, *inputs: str, tensors: dict[str, str] | None = None, **attributes: Any) -> str:
        """A node of the graph that is no step of the trace; its name."""
        self.nodes.append(Node(op, name, inputs, tensors or {}, attributes))
        return name

    def value(self, source: Any, step: fx.Node) -> str:
        """The name of a value that a step takes. Raises SottovoceError where the source is none."""
        if not isinstance(source, fx.Node) or source not in self.values:
            raise refusal(step, f"expected a value that the model has computed, got {source}")
        return self.values[source]


def refusal(step: fx.Node, reason: str) -> SottovoceError:
    """The error that says in which line of a model a step is, what it is, and what is wrong with it."""
    named = getattr(step.target, "__name__", step.target)
    what = f"{named}({', '.join(map(str, (*step.args, *step.kwargs.values())))})" if step.op != "call_module" else named
    return SottovoceError(f"{step.meta['line']}: {what}: {reason}")
