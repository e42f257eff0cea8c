"""The ONNX file: packed, small, readable by old runtimes, and computing what its artefact computes."""

import math
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from enhancers import enhancer
from onnx import numpy_helper

from sottovoce.artefact import Artefact
from sottovoce.artefact.graph import Graph, Node
from sottovoce.artefact.stored import Codebook, Sparse
from sottovoce.errors import SottovoceError
from sottovoce.export.builder import GraphBuilder
from sottovoce.export.check import check, frames_of_onnx
from sottovoce.export.inside import inside
from sottovoce.export.onnx import export_onnx, not_packed, save_onnx

MODELS = [
    dict(hidden=hidden, layers=layers, values=values, zeros=zeros)
    for hidden, layers in ((32, 1), (48, 3), (256, 2))
    for values in (2, 4, 8, 16, 17, 33, 256)
    for zeros in (0.0, 0.9)
]
FORMS = [
    dict(form=form, mask=mask, window=window)
    for form in ("codebook", "dense", "sparse")
    for mask, window in ((True, "hamming"), (False, "hann_sqrt"))
]


def weights(artefact: Artefact) -> list[Codebook]:
    return [stored for stored in artefact.tensors.values() if isinstance(stored, Codebook)]


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_file_is_no_larger_than_its_codes(model: dict[str, float]) -> None:
    artefact = enhancer(**model)
    code_bytes = sum(w.codes.size * math.ceil(math.log2(model["values"])) / 8 for w in weights(artefact))
    assert len(export_onnx(artefact)) <= 1.15 * code_bytes + 64_000


def test_zeros_cost_less_than_other_codes() -> None:
    full, pruned = (len(export_onnx(enhancer(hidden=256, zeros=zeros))) for zeros in (0.0, 0.9))
    assert pruned < 0.5 * full


@pytest.mark.parametrize("model", MODELS[::5], ids=str)
def test_no_weights_lie_there_as_floats(model: dict[str, float]) -> None:
    artefact = enhancer(**model)
    shapes = {frozenset(w.shape) for w in weights(artefact)}
    for initializer in onnx.load_from_string(export_onnx(artefact)).graph.initializer:
        array = numpy_helper.to_array(initializer)
        if array.dtype in (np.float32, np.float16, np.float64):
            assert array.nbytes <= 64_000
            assert not any(shape <= set(array.shape) for shape in shapes)


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("shape", [(1,), (3, 5), (8, 4), (7, 9, 2)])
def test_integers_of_any_width_come_back_from_exactly_their_bits(bits: int, shape: tuple[int, ...]) -> None:
    codes = np.random.default_rng(bits).integers(0, 2**bits, shape)
    builder = GraphBuilder()
    builder.reshape(builder.integers("codes", codes, bits), shape, name="out")
    planes = [plane for name, plane in builder.initializers.items() if name.startswith("codes")]
    assert sum(numpy_helper.to_array(plane).nbytes for plane in planes) == bits * math.ceil(codes.size / 8)
    assert (constant(builder, onnx.TensorProto.INT32, shape) == codes).all()


@pytest.mark.parametrize("form", ["codebook", "dense", "sparse"])
@pytest.mark.parametrize("values, zeros", [(2, 0.0), (16, 0.0), (16, 0.95), (300, 0.5)])
def test_unpacked_tensors_are_bit_for_bit_the_stored_ones(form: str, values: int, zeros: float) -> None:
    for name, stored in enhancer(values=values, zeros=zeros, form=form).tensors.items():
        builder = GraphBuilder()
        builder.reshape(builder.tensor(name, stored), stored.shape, name="out")
        unpacked = constant(builder, onnx.TensorProto.FLOAT, stored.shape)
        assert unpacked.tobytes() == stored.to_array().tobytes()


def constant(builder: GraphBuilder, kind: int, shape: tuple[int, ...]) -> np.ndarray:
    """The value `out` of a graph without inputs, as onnxruntime computes it."""
    out = onnx.helper.make_tensor_value_info("out", kind, list(shape))
    opset = [onnx.helper.make_opsetid("", 13)]
    model = onnx.helper.make_model(builder.graph([], [out]), ir_version=8, opset_imports=opset)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {})[0]


@pytest.mark.parametrize("values", [1, 2, 16])
def test_a_tensor_of_zeros_only_can_be_stored(values: int) -> None:
    artefact = enhancer()
    table = np.arange(values, dtype=np.float32)
    nothing = Codebook(np.zeros(artefact.tensors["output.weight"].shape, np.uint8), table)
    check_export(replace(artefact, tensors=artefact.tensors | {"output.weight": nothing}))


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("hidden, layers", [(32, 1), (40, 3)])
def test_every_frame_equals_the_reference(hidden: int, layers: int, form: dict[str, object]) -> None:
    artefact = enhancer(hidden, layers, **form)
    spectra = np.random.default_rng(1).standard_normal((40, 161, 2)).astype(np.float32)
    ours = np.array([*frames_of_onnx(export_onnx(artefact), spectra)])
    wanted = np.array([*inside(artefact).run(spectra)])
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(ours, wanted, atol=1e-4)


def test_a_sparse_tensor_without_values_is_zero() -> None:
    artefact = enhancer()
    keep = np.zeros(artefact.tensors["output.weight"].shape, bool)
    nothing = Sparse(keep, np.zeros(0, np.float32))
    check_export(replace(artefact, tensors=artefact.tensors | {"output.weight": nothing}))


def test_a_tensor_used_twice_lies_there_once() -> None:
    artefact = enhancer(hidden=48, layers=2)
    first, second = (node for node in artefact.graph.nodes if node.op == "lstm")
    tied = replace(second, tensors=second.tensors | {"weight_hh": first.tensors["weight_hh"]})
    nodes = tuple(tied if node is second else node for node in artefact.graph.nodes)
    shared = replace(artefact, graph=replace(artefact.graph, nodes=nodes))
    check_export(shared)
    assert len(export_onnx(shared)) < len(export_onnx(artefact)) - 4 * 48 * 48 * 4 / 8


def test_same_artefact_same_bytes() -> None:
    assert export_onnx(enhancer()) == export_onnx(enhancer())


def test_inputs_and_metadata_are_those_of_the_slot() -> None:
    session = onnxruntime.InferenceSession(export_onnx(enhancer(hidden=32, layers=2, window="hann_sqrt")))
    for ports in (session.get_inputs(), session.get_outputs()):
        assert [port.shape for port in ports] == [[1, 161, 1, 2], [1, 1, 64], [1, 1, 64], [1, 1, 2]]
    metadata = {
        "model_type": "gtcrn", "version": "1", "sample_rate": "16000", "n_fft": "320", "hop_length": "160",
        "window_length": "320", "window_type": "hann_sqrt", "conv_cache_shape": "1,1,64",
        "tra_cache_shape": "1,1,64", "inter_cache_shape": "1,1,2",
    }  # fmt: skip
    assert metadata.items() <= session.get_modelmeta().custom_metadata_map.items()


def test_the_list_of_what_is_not_packed_says_why() -> None:
    artefact = enhancer(form="sparse")
    artefact.meta["not_compressed"] = {"output.bias": "bias"}
    assert not_packed(artefact)["output.bias"] == "float16 (bias)"
    assert not_packed(artefact)["output.weight"].startswith("pruned, not clustered")
    assert not_packed(enhancer()).keys() == {"lstm.bias_ih_l0", "lstm.bias_hh_l0", "output.bias"}


# ---- the check before anything is written ----


def check_export(artefact: Artefact) -> None:
    check(export_onnx(artefact), artefact)


def spoil_metadata(model: onnx.ModelProto) -> None:
    del model.metadata_props[-2:]
    model.metadata_props.pop(0)


def spoil_version(model: onnx.ModelProto) -> None:
    model.ir_version = 10


def spoil_table(model: onnx.ModelProto) -> None:
    (table,) = (i for i in model.graph.initializer if "output.weight" in i.name and i.name.endswith("table"))
    table.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(table) * 1.1, table.name))


def spoil_state(model: onnx.ModelProto) -> None:
    (last,) = (node for node in model.graph.node if node.output == ["conv_cache_out"])
    last.CopyFrom(onnx.helper.make_node("Identity", ["conv_cache"], ["conv_cache_out"]))


@pytest.mark.parametrize(
    "spoil, message",
    [
        (spoil_metadata, "metadata must have model_type"),
        (spoil_version, "IR version at most 9"),
        (spoil_table, "frame 0 is"),
        (spoil_state, "frame 1 is"),
    ],
)
def test_check_refuses_a_file_that(spoil, message: str) -> None:
    artefact = enhancer()
    model = onnx.load_from_string(export_onnx(artefact))
    spoil(model)
    with pytest.raises(SottovoceError, match=message):
        check(model.SerializeToString(), artefact)


def test_saved_whole_or_not_at_all(tmp_path, monkeypatch) -> None:
    path = tmp_path / "model.onnx"
    assert save_onnx(enhancer(), path) == not_packed(enhancer())
    before = path.read_bytes()
    assert before == export_onnx(enhancer())

    def refuse(data: bytes, artefact: Artefact, tolerance: float) -> None:
        raise SottovoceError("no")

    monkeypatch.setattr("sottovoce.export.onnx.check", refuse)
    with pytest.raises(SottovoceError):
        save_onnx(enhancer(hidden=40), path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"] and path.read_bytes() == before


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda nodes: nodes[:-1], "one istft"),
        (lambda nodes: [*nodes[:-1], replace(nodes[-1], attributes={"n_fft": 512})], "one istft like it"),
        (lambda nodes: [replace(n, op=n.op.replace("sigmoid", "exp")) for n in nodes], "gain: .* exp"),
    ],
)
def test_a_graph_without_an_onnx_form_is_named(change, message: str) -> None:
    artefact = enhancer()
    nodes: list[Node] = change(list(artefact.graph.nodes))
    graph = Graph(artefact.graph.inputs, artefact.graph.outputs, tuple(nodes))
    with pytest.raises(SottovoceError, match=message):
        export_onnx(replace(artefact, graph=graph))


def test_a_window_that_ends_other_processes_is_refused() -> None:
    with pytest.raises(SottovoceError, match="window must be one of hamming, hann, hann_sqrt, got 'kaiser'"):
        export_onnx(enhancer(window="kaiser"))


def test_a_model_without_a_sample_rate_is_refused() -> None:
    with pytest.raises(SottovoceError, match="expected a sample_rate in Hz, got None"):
        export_onnx(replace(enhancer(), meta={}))
