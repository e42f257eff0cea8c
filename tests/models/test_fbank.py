"""The filter banks are those of kaldi-native-fbank, which recognizers elsewhere are fed with."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import toy

from sottovoce.models.fbank import Fbank

knf = pytest.importorskip("kaldi_native_fbank")
SPEECH = sorted((toy.ROOT / "sample" / "speech").rglob("*.opus"))[:4]


def kaldi(waveform: np.ndarray) -> np.ndarray:
    """The features [frames, 80] that sherpa-onnx gives a recognizer."""
    options = knf.FbankOptions()
    options.frame_opts.dither, options.frame_opts.snip_edges = 0.0, False
    options.mel_opts.num_bins, options.mel_opts.high_freq = 80, -400.0
    fbank = knf.OnlineFbank(options)
    fbank.accept_waveform(16_000, waveform.tolist())
    fbank.input_finished()
    return np.array([fbank.get_frame(number) for number in range(fbank.num_frames_ready)], np.float32)


@pytest.mark.parametrize("path", SPEECH, ids=lambda path: path.stem)
def test_real_speech_has_the_features_of_kaldi(path: Path) -> None:
    waveform, rate = soundfile.read(path, dtype="float32")
    assert rate == 16_000
    ours = Fbank()(torch.from_numpy(waveform)[None])[0].numpy()
    np.testing.assert_allclose(ours, kaldi(waveform), atol=1e-3)


@pytest.mark.parametrize("samples", [80, 100, 239, 240, 560, 1601])
def test_a_waveform_of_any_length_is_mirrored_at_its_edges(samples: int) -> None:
    waveform = np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)
    ours = Fbank()(torch.from_numpy(waveform)[None])[0].numpy()
    np.testing.assert_allclose(ours, kaldi(waveform), atol=1e-3)


def test_silence_has_features_too() -> None:
    silence = np.zeros(1600, np.float32)
    np.testing.assert_allclose(Fbank()(torch.from_numpy(silence)[None])[0].numpy(), kaldi(silence), atol=1e-3)
