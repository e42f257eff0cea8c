"""A recognizer in ONNX: what the reference hears, alone or in a batch; unmodified sherpa-onnx reads it."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
import torch
import toy
from onnx import numpy_helper

from sottovoce.artefact import Artefact
from sottovoce.artefact.graph import FEATURES, OPS, Graph, Node
from sottovoce.artefact.stored import Dense
from sottovoce.errors import SottovoceError
from sottovoce.export.check import check, loud_and_soft, steps_of_onnx, utterances_of_onnx
from sottovoce.export.onnx import export_onnx, save_onnx
from sottovoce.export.operations import OF_CHUNKS, OF_UTTERANCES
from sottovoce.export.recognizer import FILTER_BANKS, recognizer
from sottovoce.packing import pack
from sottovoce.runtime import Session
from sottovoce.runtime.transcribe import BLANK, WORD, greedy, text_of
from sottovoce.techniques import Cluster, HalfPrecision, Prune

HERE = Path(__file__).parent
SYMBOLS = [BLANK, *(WORD + sign for sign in "ABCD"), *"efgh"]
LENGTHS = (150, 61, 7, 4, 3, 1)
IMAGE, VECTOR = 4, 0                     # channels of what an operation gets; 0: the filter banks themselves
CASES = {                                # operation, channels, shapes of tensors, attributes
    "fold": ("fold", VECTOR, {}, {"size": 3}),
    "fold of an image": ("fold", IMAGE, {}, {"size": 2}),
    "conv1d": ("conv1d", VECTOR, {"weight": (5, 80, 3), "bias": (5,)}, {"dilation": 2, "groups": 1}),
    "conv1d, centred": ("conv1d", VECTOR, {"weight": (80, 1, 5), "bias": (80,)},
                        {"dilation": 1, "groups": 80, "after": 2}),
    "conv1d, looking far ahead": ("conv1d", VECTOR, {"weight": (10, 8, 3), "bias": (10,)},
                                  {"dilation": 3, "groups": 10, "after": 6}),
    "conv2d": ("conv2d", IMAGE, {"weight": (3, 4, 2, 3), "bias": (3,)}, {"stride": 2, "pad": 1}),
    "conv2d of one frame": ("conv2d", IMAGE, {"weight": (3, 4, 1, 4), "bias": (3,)}, {"stride": 3, "pad": 0}),
    **{f"attention, {name}": ("attention", VECTOR, {"position": (80, 12), "content_bias": (80,),
                                                    "position_bias": (80,)}, {"heads": heads} | limits)
       for name, heads, limits in (("all", 4, {}), ("one head", 1, {"before": 5}), ("after", 8, {"after": 2}),
                                   ("few", 2, {"before": 3, "after": 0}))},
}  # fmt: skip


def of_one_operation(case: str) -> Artefact:
    """Filter banks through one operation, after one that looks ahead, so that padding is no longer what it was."""
    op, channels, shapes, attributes = CASES[case]
    random = np.random.default_rng(0)
    tensors = {role: Dense(random.normal(0, 0.2, shape).astype(np.float32)) for role, shape in shapes.items()}
    tensors |= {"taps": Dense(np.full((80, 1, 3), 0.4, np.float32)), "shift": Dense(np.ones(80, np.float32))}
    nodes = [
        Node(FEATURES, "banks", ("waveform",), attributes=FILTER_BANKS),
        Node("affine", "small", ("banks",), attributes={"scale": 0.25, "shift": 1.75}),
        Node("conv1d", "before", ("small",), {"weight": "taps", "bias": "shift"},
             {"dilation": 1, "groups": 80, "after": 2}),
    ]
    if channels:
        nodes.append(Node("unflatten", "image", ("before",), attributes={"size": channels}))
    inputs = ("before", "small", "before") if OPS[op].inputs == 3 else (nodes[-1].name,)
    nodes.append(Node(op, "value", inputs, {role: role for role in shapes}, attributes))
    if channels:
        nodes.append(Node("flatten", "flat", ("value",)))
    return spoken(Artefact(Graph(("waveform",), (nodes[-1].name,), tuple(nodes)), tensors, {"sample_rate": 16_000}))


def spoken(artefact: Artefact) -> Artefact:
    """The same with a symbol for each of its outputs."""
    (count,) = recognizer(artefact).features[artefact.graph.outputs[0]]
    return replace(artefact, meta={**artefact.meta, "symbols": [BLANK, *map(str, range(1, count))]})


def conformer(settings: dict[str, Any], *stages: Any) -> Artefact:
    """A small one that says much, of weights from a seed."""
    model = toy.built("conformer", settings | {"symbols": len(SYMBOLS)})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape)
    for stage in stages:
        model = stage.apply(model, Alone())
    return pack(model, {"sample_rate": 16_000, "symbols": SYMBOLS})


class Alone:
    """A run for stages that ask it for nothing."""

    def note(self, **details: Any) -> None:
        pass


CONFORMERS = [{"layers": 2, "channels": 16, "heads": 2, "middle": 24, "images": 4, "kernel": 5},
              *toy.RECOGNIZER_SETTINGS["conformer"]]


def test_every_operation_of_utterances_has_a_case() -> None:
    from test_operations import CASES as OF_SINGLE_FRAMES

    assert OF_CHUNKS.keys() <= OF_UTTERANCES.keys() <= {op for op, *_ in (*CASES.values(), *OF_SINGLE_FRAMES.values())}


@pytest.mark.parametrize("case", [*CASES, *range(len(CONFORMERS))])
def test_an_utterance_in_a_batch_is_heard_as_alone(case: str | int) -> None:
    artefact = of_one_operation(case) if isinstance(case, str) else conformer(CONFORMERS[case])
    model, data = recognizer(artefact), export_onnx(artefact)
    utterances = [loud_and_soft(length, 80) for length in LENGTHS]
    together, alone = utterances_of_onnx(data, utterances), [utterances_of_onnx(data, [each])[0] for each in utterances]
    for ours, lonely, banks in zip(together, alone, utterances, strict=True):
        wanted = model.run(banks)
        assert ours.shape == lonely.shape == wanted.shape
        np.testing.assert_allclose(ours, wanted, atol=1e-4)
        np.testing.assert_allclose(lonely, wanted, atol=1e-4)
    check(data, artefact)


@pytest.mark.parametrize("chunk, left, more", [
    (1, 5, {}), (3, 4, {}), (4, 0, {}), (2, 40, {}), (3, 2, {"layers": 1, "kernel": 1}),
])
def test_chunk_after_chunk_is_heard_as_the_whole(chunk: int, left: int, more: dict[str, Any]) -> None:
    artefact = conformer({**CONFORMERS[0], "causal": True, "chunk": chunk, "left": left, **more})
    model, data = recognizer(artefact), export_onnx(artefact)
    banks = loud_and_soft(16 * model.chunk, 80)
    chunks = np.array([*steps_of_onnx(data, banks.reshape(16, 1, model.chunk, 80))])
    assert chunks.shape == (16, 1, chunk, len(SYMBOLS))
    np.testing.assert_allclose(chunks.reshape(16 * chunk, -1), model.run(banks), atol=1e-4)
    check(data, artefact)
    check(export_onnx(artefact, int8=True), artefact, tolerance=0.1)


def test_chunks_that_do_not_stream_are_refused() -> None:
    artefact = changed(of_one_operation("attention, few"), -1, attributes={"heads": 2, "before": 3, "chunk": 3})
    with pytest.raises(SottovoceError, match=r"got chunks of 3 frames \(value\) in one that looks ahead"):
        export_onnx(artefact)


def test_chunks_have_a_state_that_goes_in_and_comes_out() -> None:
    settings = {**CONFORMERS[0], "layers": 1, "causal": True, "chunk": 3, "left": 4}
    model = onnx.load_from_string(export_onnx(conformer(settings)))
    first, *states = ([(port.name, [axis.dim_value for axis in port.type.tensor_type.shape.dim]) for port in side]
                      for side in (model.graph.input, model.graph.output))
    assert first[0] == ("x", [1, 12, 80]) and states[0][0] == ("log_probs", [1, 3, len(SYMBOLS)])
    assert [(f"{name}_out", shape) for name, shape in first[1:]] == states[0][1:]
    assert {name.rpartition("/")[2]: shape for name, shape in first[1:] if "attention" in name} \
        == {"keys": [1, 4, 16], "values": [1, 4, 16], "heard": [1]}
    assert {prop.key: prop.value for prop in model.metadata_props}["model_type"] == "chunks"


def test_the_form_is_that_of_the_slot() -> None:
    model = onnx.load_from_string(export_onnx(conformer(CONFORMERS[0])))
    ports = [[(port.name, port.type.tensor_type.elem_type, [axis.dim_value or axis.dim_param for axis in
                                                            port.type.tensor_type.shape.dim]) for port in side]
             for side in (model.graph.input, model.graph.output)]
    numbers, floats = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
    assert ports == [[("x", floats, ["N", "T", 80]), ("x_lens", numbers, ["N"])],
                     [("log_probs", floats, ["N", "T_out", len(SYMBOLS)]), ("log_probs_len", numbers, ["N"])]]
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    assert metadata.items() >= {"model_type": "zipformer2_ctc", "version": "1", "vocab_size": "9"}.items()


def test_clustered_weights_lie_there_packed() -> None:
    artefact = conformer(CONFORMERS[0], Prune(ratio=0.5), Cluster(values=8), HalfPrecision())
    data = export_onnx(artefact)
    check(data, artefact)
    sizes = [numpy_helper.to_array(array).size for array in onnx.load_from_string(data).graph.initializer
             if array.data_type == onnx.TensorProto.FLOAT]
    assert max(sizes) <= 80


def test_products_in_int8_have_weights_of_one_byte() -> None:
    artefact = conformer(CONFORMERS[0], Prune(ratio=0.5), Cluster(values=8))
    data = export_onnx(artefact, int8=True)
    check(data, artefact, tolerance=0.05)
    model = onnx.load_from_string(data)
    operators = Counter(node.op_type for node in model.graph.node)
    assert operators["MatMulInteger"] == sum(node.op in ("linear", "attention") for node in artefact.graph.nodes)
    assert operators["ConvInteger"] == 0
    arrays = {array.name: numpy_helper.to_array(array) for array in model.graph.initializer}
    assert arrays["blocks.0.before.enter.weight/transposed_quantized"].dtype == np.uint8
    assert "blocks.0.before.enter.weight/transposed" not in arrays


@pytest.mark.parametrize("int8", [False, True])
def test_saved_with_its_symbols_beside_it(int8: bool, tmp_path: Path) -> None:
    artefact = conformer(CONFORMERS[1])
    left = save_onnx(artefact, tmp_path / "model.onnx", int8)
    assert ("output.weight" in left) != int8 and "output.bias" in left
    assert (tmp_path / "model.onnx").read_bytes() == export_onnx(artefact, int8)
    lines = (tmp_path / "tokens.txt").read_text(encoding="utf-8").splitlines()
    assert lines == [f"{symbol} {code}" for code, symbol in enumerate(SYMBOLS)]


def test_sherpa_onnx_hears_what_we_do(tmp_path: Path) -> None:
    artefact = conformer(CONFORMERS[0])
    rows = [json.loads(line) for line in (toy.ROOT / "sample" / "speech.jsonl").read_text().splitlines()]
    paths = [toy.ROOT / "sample" / row["path"] for row in rows if row["split"] == "test"][:2]
    first, second = (soundfile.read(path, dtype="float32")[0] for path in paths)
    waves = {"first": first, "second": second, "of nothing": first[:400]}
    for name, wave in waves.items():
        np.save(tmp_path / f"{name}.npy", wave)
    session = Session(artefact)
    wanted = {name: text_of(greedy(session.run(wave)), SYMBOLS) for name, wave in waves.items()}
    assert len({*wanted["first"], *wanted["second"]}) > 4 and not wanted["of nothing"]
    save_onnx(artefact, tmp_path / "model.onnx")
    for batch in (["first"], ["first", "second"], [*waves]):
        assert by_sherpa_onnx(tmp_path, batch) == [wanted[name] for name in batch]
    save_onnx(artefact, tmp_path / "model.onnx", int8=True)
    for text, name in zip(by_sherpa_onnx(tmp_path, [*waves]), waves, strict=True):
        assert SequenceMatcher(None, text, wanted[name], autojunk=False).ratio() > 0.8


def by_sherpa_onnx(folder: Path, batch: list[str]) -> list[str]:
    command = [sys.executable, HERE / "sherpa_recognizer.py", folder / "model.onnx", folder / "tokens.txt"]
    done = subprocess.run([*command, *(folder / f"{name}.npy" for name in batch)],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def spoil_lengths(model: onnx.ModelProto) -> None:
    (last,) = (node for node in model.graph.node if node.output == ["log_probs_len"])
    last.input[0] = "x_lens"


def spoil_padding(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "Less":
            node.op_type = "GreaterOrEqual"


def test_check_refuses_chunks_that_forget() -> None:
    artefact = conformer({**CONFORMERS[0], "causal": True, "chunk": 3, "left": 4})
    model = onnx.load_from_string(export_onnx(artefact))
    (heard,) = (node for node in model.graph.node if node.output == ["/blocks_1_attention_attention/heard_out"])
    heard.input[0] = "/blocks_1_attention_attention/heard"
    with pytest.raises(SottovoceError, match="chunk 1 is"):
        check(model.SerializeToString(), artefact)


@pytest.mark.parametrize("spoil, message", [
    (lambda model: model.metadata_props.pop(1), "metadata must have version"),
    (spoil_lengths, "utterance 1 has"),
    (spoil_padding, "utterance 0 is"),
])
def test_check_refuses_a_file_that(spoil: Any, message: str) -> None:
    artefact = conformer(CONFORMERS[0])
    model = onnx.load_from_string(export_onnx(artefact))
    spoil(model)
    with pytest.raises(SottovoceError, match=message):
        check(model.SerializeToString(), artefact)


def changed(artefact: Artefact, place: int, **changes: Any) -> Artefact:
    """The same with another node at that place of its graph."""
    nodes = list(artefact.graph.nodes)
    nodes[place] = replace(nodes[place], **changes)
    return replace(artefact, graph=replace(artefact.graph, nodes=tuple(nodes)))


@pytest.mark.parametrize("spoil, message", [
    (lambda of: changed(of, 1, op="sigmoids"), "node scale: expected one of .*, got sigmoids"),
    (lambda of: changed(of, 1, inputs=("waveform",)), "one waveform that begins with fbank"),
    (lambda of: changed(of, 0, attributes=FILTER_BANKS | {"high": 8000.0}), "as sherpa-onnx makes them"),
    (lambda of: changed(of, 3, attributes={"size": 3}), "do not fit together"),
    (lambda of: replace(of, meta={"sample_rate": 16_000}), r"symbols for outputs \[9\], got no list"),
    (lambda of: replace(of, meta=of.meta | {"symbols": SYMBOLS[1:]}), r"symbols for outputs \[9\], got 8"),
    (lambda of: replace(of, meta=of.meta | {"symbols": SYMBOLS[::-1]}), "expected <blk> as the first symbol, got 'h'"),
    (lambda of: replace(of, meta=of.meta | {"symbols": [*SYMBOLS[:-1], "a b"]}), "without white space, got 'a b'"),
])
def test_what_the_slot_cannot_take_is_named(spoil: Any, message: str) -> None:
    with pytest.raises(SottovoceError, match=message):
        export_onnx(spoil(conformer(CONFORMERS[0])))


def test_an_enhancer_has_no_form_in_int8() -> None:
    with pytest.raises(SottovoceError, match="expected a recognizer for int8"):
        export_onnx(pack(toy.built("lstm", {"hidden": 2, "layers": 1}), {"sample_rate": 16_000}), int8=True)
