"""The loss of a model with one of its weights changed, computed anew only from that weight's place onwards."""

from collections.abc import Callable, Iterator, Sequence
from operator import getitem
from typing import Any

import torch
from torch import Tensor, fx, nn

from sottovoce.errors import SottovoceError
from sottovoce.techniques.inputs import input_form
from sottovoce.techniques.tracing import Tracer
from sottovoce.techniques.weights import plain

Rise = Callable[[Tensor], float]         # another value of the weight -> rise of the loss
Values = dict[fx.Node, Any]              # of a trace, by the node that made them

_IN_PLACE = ("iadd", "isub", "imul", "itruediv", "imatmul", "setitem")


class Rerun:
    """A model over fixed batches, ready to be run again from any of its weights.

    The model is traced at module level. What later modules need of what earlier ones gave is kept for every batch,
    only as far as the weight at work, so that memory stays small. `whole` says why all of the model has to run every
    time, where it has; it is empty otherwise.
    """

    def __init__(self, model: nn.Module, batches: Sequence[Any], loss: Callable[[Any, Any], Tensor]) -> None:
        """`loss` takes the model's outputs and the batch. Raises SottovoceError when it is not a number."""
        device = torch.accelerator.current_accelerator() or torch.device("cpu")
        self._model = plain(model).to(device)
        for module in self._model.modules():
            if getattr(module, "inplace", False):
                setattr(module, "inplace", False)        # noqa: B010  # a module's attributes have no known type
        self._batches = [type(batch)(*(tuple(x.to(device) for x in part) for part in batch)) for batch in batches]
        self._sizes = [len(batch.inputs[0]) for batch in batches]
        self._loss = loss
        self._parameters = dict(self._model.named_parameters())
        graph, self.whole = _traced(self._model, len(batches[0].inputs))
        self._steps = fx.Interpreter(graph)
        self._nodes = list(graph.graph.nodes)
        self._values: list[Values] = [self._inputs(batch) for batch in self._batches]
        self._at = 0
        self.base = self._from_here()
        if not torch.isfinite(torch.tensor(self.base)):
            raise SottovoceError(f"expected a finite loss on the development list, got {self.base}")

    def weights(self, names: Sequence[str]) -> Iterator[tuple[str, Tensor, Rise]]:
        """Each weight with its value and what the loss makes of other values, in the order in which they are used.

        A rise can be asked for until the next weight is taken. It holds the loss against `base`.
        """
        places = {name: self._place(self._parameters[name]) for name in names}
        for name in sorted(names, key=places.__getitem__):
            self._advance(places[name])
            parameter = self._parameters[name]
            value = parameter.detach().clone()

            def rise(other: Tensor, parameter: nn.Parameter = parameter, value: Tensor = value) -> float:
                parameter.data.copy_(other)
                try:
                    return self._from_here() - self.base
                finally:
                    parameter.data.copy_(value)

            yield name, value, rise

    def _place(self, parameter: nn.Parameter) -> int:
        """The first node that uses a parameter; the last one where none does."""
        for number, node in enumerate(self._nodes):
            if node.op == "call_module":
                used = list(self._steps.submodules[str(node.target)].parameters())
            else:
                used = [self._steps.fetch_attr(str(node.target))] if node.op == "get_attr" else []
            if any(one is parameter for one in used):
                return number
        return len(self._nodes) - 1

    def _inputs(self, batch: Any) -> Values:
        places = (node for node in self._nodes if node.op == "placeholder")
        return dict(zip(places, batch.inputs, strict=True))

    @torch.no_grad()
    def _advance(self, place: int) -> None:
        for values in self._values:
            self._run(values, self._nodes[self._at : place])
        self._at = max(self._at, place)

    @torch.no_grad()
    def _from_here(self) -> float:
        """Mean loss over all utterances."""
        total = 0.0
        for values, batch, size in zip(self._values, self._batches, self._sizes, strict=True):
            outputs = self._run(dict(values), self._nodes[self._at :])
            total += size * float(self._loss(outputs, batch))
        return total / sum(self._sizes)

    def _run(self, values: Values, nodes: Sequence[fx.Node]) -> Any:
        """Do some steps; what no later step needs is let go."""
        self._steps.env = values
        result = None
        for node in nodes:
            if node not in values:           # inputs are there from the start
                result = values[node] = self._steps.run_node(node)
            for gone in self._steps.user_to_last_uses.get(node, ()):
                del values[gone]
        return result


def _traced(model: nn.Module, inputs: int) -> tuple[fx.GraphModule, str]:
    """The model's steps, and why they are only one; the reason is empty if they are not."""
    try:
        graph = Tracer().trace(model)
    except Exception as error:               # whatever a model's own code raises when it is given no numbers
        return _one_step(model, inputs), f"cannot be traced: {str(error).splitlines()[0] if str(error) else error!r}"
    if len([node for node in graph.nodes if node.op == "placeholder"]) != inputs:
        return _one_step(model, inputs), "cannot be traced: takes other inputs than the batches have"
    if changing := next(filter(_in_place, graph.nodes), None):
        return _one_step(model, inputs), f"changes values in place: {changing.format_node()}"
    module = fx.GraphModule(model, graph)
    for node in list(graph.nodes):
        if node.op == "call_module" and isinstance(module.get_submodule(str(node.target)), nn.LSTM | nn.GRU):
            _split(module, node)
    return module, ""


def _one_step(model: nn.Module, inputs: int) -> fx.GraphModule:
    holder, graph = nn.Module(), fx.Graph()
    holder.model = model
    graph.output(graph.call_module("model", tuple(graph.placeholder(f"input_{n}") for n in range(inputs))))
    return fx.GraphModule(holder, graph)


def _in_place(node: fx.Node) -> bool:
    if node.kwargs.get("inplace") or node.kwargs.get("out") is not None:
        return True
    if node.op not in ("call_function", "call_method"):
        return False
    name = str(getattr(node.target, "__name__", node.target))
    return name in _IN_PLACE or (name.endswith("_") and not name.endswith("__"))


@torch.no_grad()
def _split(module: fx.GraphModule, node: fx.Node) -> None:
    """Make one step of each layer of an LSTM or a GRU, where its layers one after the other are all that it is."""
    stack = module.get_submodule(str(node.target))
    assert isinstance(stack, nn.LSTM | nn.GRU)
    if stack.num_layers == 1 or stack.bidirectional or stack.proj_size or len(node.args) != 1 or node.kwargs:
        return
    if input_form(stack) is not None:        # its layers by themselves would be without it
        return
    layers = [_layer(stack, number) for number in range(stack.num_layers)]
    chained = probe = torch.linspace(-1, 1, 3 * stack.input_size).view(1, 3, -1).to(layers[0].all_weights[0][0])
    for layer in layers:
        chained = layer(chained)[0]
    given = stack(probe)
    whole = isinstance(given, Tensor)        # as a subclass may have it
    firsts = [node] if whole else [user for user in node.users if user.target is getitem and user.args[1] == 0]
    if not (whole or len(firsts) == len(node.users)) or not torch.allclose(given if whole else given[0], chained):
        return
    value = node.args[0]
    with module.graph.inserting_before(node):
        for number, layer in enumerate(layers):
            name = f"{str(node.target).replace('.', '_')}_layer{number}"
            module.add_submodule(name, layer)
            pair = module.graph.call_module(name, (value,))
            value = module.graph.call_function(getitem, (pair, 0))
    for replaced in firsts:
        replaced.replace_all_uses_with(value)        # type: ignore[arg-type]
        module.graph.erase_node(replaced)
    if not whole:
        module.graph.erase_node(node)


def _layer(stack: nn.LSTM | nn.GRU, number: int) -> nn.LSTM | nn.GRU:
    """One layer of a stack by itself; the weights are the same tensors."""
    inputs = stack.hidden_size if number else stack.input_size
    kind = nn.LSTM if isinstance(stack, nn.LSTM) else nn.GRU
    layer = kind(inputs, stack.hidden_size, bias=stack.bias, batch_first=stack.batch_first)
    for role in ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if stack.bias else ())):
        setattr(layer, f"{role}_l0", getattr(stack, f"{role}_l{number}"))
    layer.flatten_parameters()
    return layer.eval()
