"""A session: streamed equals offline, the state is the user's, and a wrong input is a clear error."""

import numpy as np
import pytest
from conftest import BINS, FRAME, HOP, N_FFT, lstm_enhancer

from sottovoce.artefact import Artefact
from sottovoce.artefact.graph import Graph, Node
from sottovoce.artefact.stored import Dense
from sottovoce.errors import FormatError, SottovoceError
from sottovoce.runtime import session as session_module
from sottovoce.runtime.session import Session


def test_timing_is_that_of_the_front_end(session):
    assert (session.sample_rate, session.hop, session.delay) == (16_000, 160, 160)


@pytest.mark.parametrize("length", [1, 159, 160, 161, 1600, 1761])
def test_run_keeps_the_length_and_shape(session, length):
    waveform = np.zeros(length, np.float32)
    assert session.run(waveform).shape == (length,)
    assert session.run(np.stack([waveform] * 3)).shape == (3, length)


@pytest.mark.parametrize("hops", [[1], [3, 1, 7], [200, 1, 2]])
def test_streamed_equals_offline(session, speech, hops):
    offline = session.run(speech)
    fed = np.pad(speech, (0, session.delay + -len(speech) % HOP))
    parts, start = [], 0
    while start < len(fed):
        size = hops[len(parts) % len(hops)] * HOP
        parts.append(session.step(fed[start : start + size]))
        start += size
    streamed = np.concatenate(parts)[session.delay :][: len(speech)]
    np.testing.assert_allclose(streamed, offline, atol=1e-6)


@pytest.mark.parametrize("sizes", [[1], [7, 500, 1, 160], [100_000]])
def test_blocks_of_any_size_equal_offline(session, speech, sizes):
    speech = speech[:3001]
    starts = np.cumsum([sizes[i % len(sizes)] for i in range(len(speech) // min(sizes) + 1)])
    blocks = np.split(speech[None], starts[starts < len(speech)], axis=1)
    streamed = np.concatenate([*session.stream(blocks)], axis=1)
    np.testing.assert_allclose(streamed[0], session.run(speech), atol=1e-6)


def test_long_waveforms_are_computed_in_parts_that_fit(session, speech, monkeypatch):
    whole = session.run(speech)
    monkeypatch.setattr(session_module, "BLOCK_FRAMES", 5)
    np.testing.assert_allclose(session.run(speech), whole, atol=1e-6)


def test_an_open_mask_gives_back_the_input(wire, speech):
    np.testing.assert_allclose(wire.run(speech), speech, atol=1e-6)


def test_waveforms_of_a_batch_do_not_touch_each_other(session, speech):
    pair = session.run(np.stack([speech, speech[::-1]]))
    np.testing.assert_allclose(pair[0], session.run(speech), atol=1e-6)
    np.testing.assert_allclose(pair[1], session.run(speech[::-1]), atol=1e-6)


def test_the_future_does_not_change_the_past(session, speech):
    changed = speech.copy()
    changed[8_000:] = 0.5
    np.testing.assert_allclose(
        session.run(changed)[: 8_000 - N_FFT], session.run(speech)[: 8_000 - N_FFT], atol=1e-6
    )


def test_a_saved_state_continues_where_it_was_saved(session, artefact, speech):
    session.step(speech[: 5 * HOP])
    saved = session.state
    expected = session.step(speech[5 * HOP : 9 * HOP])
    other = Session(artefact)
    other.state = saved
    np.testing.assert_array_equal(other.step(speech[5 * HOP : 9 * HOP]), expected)


def test_reset_and_run_know_nothing_of_earlier_steps(session, speech):
    first = session.step(speech[:HOP])
    np.testing.assert_allclose(session.run(speech), session.run(speech))
    before = session.state
    session.run(speech)
    assert all((session.state[name] == before[name]).all() for name in before)
    session.reset()
    assert session.state == {}
    np.testing.assert_array_equal(session.step(speech[:HOP]), first)


def test_silence_stays_finite(session):
    assert np.isfinite(session.run(np.zeros(4_000, np.float32))).all()


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros(161), "multiple of 160 samples, got 161"),
        (np.zeros((1, 1, 160)), r"\[samples\] or \[batch, samples\], got \[1, 1, 160\]"),
        (np.zeros(160, np.int16), "floating point samples in -1..1, got int16"),
        (np.full(160, np.nan), "expected finite samples, got NaN"),
        (np.zeros((0, 160)), r"expected one waveform or more, got \[0, 160\]"),
    ],
)
def test_a_wrong_input_is_named(session, waveform, message):
    with pytest.raises(SottovoceError, match=message):
        session.step(waveform)


def test_another_batch_size_in_mid_stream_is_named(session):
    session.step(np.zeros((2, HOP)))
    with pytest.raises(SottovoceError, match="batch of 2 as before, got 1"):
        session.step(np.zeros(HOP))


def test_a_state_of_another_model_is_refused(session):
    other = Session(lstm_enhancer(hidden=4))
    other.step(np.zeros(HOP))
    with pytest.raises(SottovoceError, match=r"lstm\.0\.cell: expected \(1, 8\), got \(1, 4\)"):
        session.state = other.state
    three_layers = Session(lstm_enhancer(layers=3))
    three_layers.step(np.zeros(HOP))
    with pytest.raises(SottovoceError, match=r"lstm\.2\.cell: expected nothing, got \(1, 8\)"):
        session.state = three_layers.state


def convolver(window="rect"):
    """A model of samples: a convolution down, one over time and one up, added to what came in."""
    random = np.random.default_rng(0)
    tensors = {}

    def weights(outputs, *shape):
        roles = {}
        for role, size in {"weight": shape, "bias": (outputs,)}.items():
            roles[role] = f"{role} {len(tensors)}"
            tensors[roles[role]] = Dense((random.standard_normal(size) * 0.3).astype(np.float32))
        return roles

    frame = FRAME | {"window": window}
    wide = 4 * 159
    nodes = [
        Node("frames", "frame", ("waveform",), attributes=frame),
        Node("unsqueeze", "image", ("frame",)),
        Node("conv2d", "down", ("image",), weights(4, 4, 1, 2, 3), {"stride": 2, "pad": 0}),
        Node("elu", "bent", ("down",)),
        Node("flatten", "flat", ("bent",)),
        Node("conv1d", "along", ("flat",), weights(wide, wide, 1, 3), {"dilation": 3, "groups": wide}),
        Node("unflatten", "small", ("along",), attributes={"size": 4}),
        Node("conv_transpose2d", "up", ("small",), weights(1, 4, 1, 2, 3), {"stride": 2, "pad": 0, "extra": 1}),
        Node("add", "sum", ("up", "image")),
        Node("flatten", "samples", ("sum",)),
        Node("overlap_add", "output", ("samples",), attributes=frame),
    ]
    return Artefact(Graph(("waveform",), ("output",), tuple(nodes)), tensors, {"sample_rate": 16_000})


@pytest.mark.parametrize("window", ["rect", "hann_sqrt"])
def test_convolutions_streamed_equal_offline(window, speech):
    session = Session(convolver(window))
    assert (session.hop, session.delay) == (160, 160)
    offline = session.run(speech)
    assert np.abs(offline - speech).max() > 0.1
    fed = np.pad(speech, (0, session.delay + -len(speech) % HOP))
    starts = HOP * np.cumsum([1, 5, 1, 40] * 10)
    streamed = np.concatenate([session.step(part) for part in np.split(fed, starts[starts < len(fed)])])
    np.testing.assert_allclose(streamed[session.delay :][: len(speech)], offline, atol=1e-5)


def test_a_batch_of_convolved_waveforms_do_not_touch_each_other(speech):
    session = Session(convolver())
    pair = session.run(np.stack([speech, speech[::-1]]))
    np.testing.assert_allclose(pair[1], session.run(speech[::-1]), atol=1e-5)


def changed(artefact, *, nodes=None, tensors=None, meta=None):
    graph = artefact.graph if nodes is None else Graph(artefact.graph.inputs, artefact.graph.outputs, nodes)
    return Artefact(graph, artefact.tensors | (tensors or {}), artefact.meta if meta is None else meta)


def test_a_model_that_does_not_fit_together_is_refused(artefact):
    nodes = artefact.graph.nodes
    with pytest.raises(FormatError, match="sample_rate in Hz, got None"):
        Session(changed(artefact, meta={}))
    with pytest.raises(FormatError, match="do not fit together"):
        Session(changed(artefact, tensors={"output.weight": Dense(np.zeros((BINS, 5), np.float32))}))
    with pytest.raises(FormatError, match="do not fit together"):
        Session(changed(artefact, tensors={"lstm.bias_hh_l1": Dense(np.zeros(31, np.float32))}))
    with pytest.raises(FormatError, match="do not fit together"):
        Session(changed(artefact, nodes=(nodes[0], Node("conv", "x", ("spectrum",)), *nodes[1:])))
    with pytest.raises(FormatError, match="one stft"):
        Session(changed(artefact, nodes=nodes[1:]))
    with pytest.raises(FormatError, match="istft that undoes its stft"):
        other = Node("istft", "output", ("enhanced",), attributes=FRAME | {"window": "hann_sqrt"})
        Session(changed(artefact, nodes=(*nodes[:-1], other)))
    with pytest.raises(FormatError, match="one stft, one istft or one frames, one overlap_add"):
        other = Node("overlap_add", "output", ("enhanced",), attributes=FRAME)
        Session(changed(artefact, nodes=(*nodes[:-1], other)))
    with pytest.raises(FormatError, match="overlap_add that undoes its frames"):
        model = convolver()
        other = Node("overlap_add", "output", ("samples",), attributes=FRAME)
        Session(changed(model, nodes=(*model.graph.nodes[:-1], other)))
    with pytest.raises(FormatError, match="n_fft of whole hops, got n_fft 320 and hop 150"):
        Session(
            changed(
                artefact,
                nodes=(Node("stft", "spectrum", ("waveform",), {}, FRAME | {"hop": 150}), *nodes[1:]),
            )
        )


def test_the_whole_model_agrees_with_torch(artefact, session, speech):
    torch = pytest.importorskip("torch")
    arrays = {name: torch.from_numpy(stored.to_array()) for name, stored in artefact.tensors.items()}
    lstm = torch.nn.LSTM(BINS, 8, 2, batch_first=True)
    lstm.load_state_dict(
        {name.removeprefix("lstm."): array for name, array in arrays.items() if "lstm" in name}
    )
    window = torch.hamming_window(N_FFT, periodic=False)
    samples = torch.from_numpy(speech)
    edge = N_FFT - HOP
    padded = torch.nn.functional.pad(samples, (edge, edge + -len(samples) % HOP))[None]
    with torch.no_grad():
        spectrum = torch.stft(padded, N_FFT, HOP, N_FFT, window, center=False, return_complex=True).transpose(
            1, 2
        )
        power = spectrum.abs().square().mean(-1) / window.square().sum()
        frames = power.shape[1]
        ages = torch.arange(frames)[:, None] - torch.arange(frames)
        weights = torch.where(ages >= 0, 0.99 ** ages.clamp_min(0), 0.0)
        level = ((power @ weights.T) / weights.sum(1)).sqrt().clamp_min(1e-4)
        features = torch.log1p(spectrum.abs() / level[..., None])
        estimate = torch.nn.functional.linear(
            lstm(features)[0], arrays["output.weight"], arrays["output.bias"]
        )
        masked = torch.fft.irfft(spectrum * torch.sigmoid(estimate), N_FFT) * window
    fold = {"output_size": (1, padded.shape[1]), "kernel_size": (1, N_FFT), "stride": (1, HOP)}
    squares = window.square().expand(1, frames, N_FFT)
    added, norm = (torch.nn.functional.fold(x.transpose(1, 2), **fold)[0, 0, 0] for x in (masked, squares))
    expected = (added / norm)[edge:][: len(samples)].numpy()
    np.testing.assert_allclose(session.run(speech), expected, atol=1e-5)
