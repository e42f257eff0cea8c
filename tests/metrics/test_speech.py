import sys
import types
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from sottovoce import scales
from sottovoce.errors import SottovoceError
from sottovoce.metrics.speech import METRICS, dnsmos, measure, pesq_nb, pesq_wb, sdr, si_sdr, stoi

Array = NDArray[np.float32]
Noisy = Callable[[float], Array]
WITH_REFERENCE = sorted(set(METRICS) - {"dnsmos"})


TOP = {"pesq_wb": 4.644, "pesq_nb": 4.549, "stoi": 100, "si_sdr": 100, "sdr": 100}
BOTTOM = {"pesq_wb": 1, "pesq_nb": 1, "stoi": 0, "si_sdr": -100, "sdr": -100}


@pytest.mark.parametrize(("name", "best"), TOP.items())
def test_the_reference_itself_gets_the_top_of_the_scale(name: str, best: float, speech: Array) -> None:
    assert METRICS[name](speech, speech, 16000) == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize("name", METRICS)
def test_less_noise_scores_higher(name: str, speech: Array, noisy: Noisy) -> None:
    ratios = (-10, 30) if name == "dnsmos" else (-5, 5, 15, 25)
    scores = [METRICS[name](noisy(snr), speech, 16000) for snr in ratios]
    assert not scales.metric(name).lower_is_better
    assert all(np.diff(scores) > 0), scores


@pytest.mark.parametrize("snr", [-10, 0, 10, 40])
@pytest.mark.parametrize("scale", [1, -3, 1e-4, 1e-9])
def test_si_sdr_is_the_ratio_whatever_the_scale_and_the_mean(
    snr: float, scale: float, speech: Array, noisy: Noisy
) -> None:
    estimate = noisy(snr).astype(np.float64)
    assert si_sdr(scale * estimate, speech) == pytest.approx(snr, abs=1e-3)
    assert si_sdr(scale * (estimate + 0.2), speech) == pytest.approx(snr, abs=1e-3)


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("snr", [0, 20])
def test_sdr_is_that_of_the_best_filter_of_512_taps(rate: int, snr: float, speech: Array, noisy: Noisy) -> None:
    # As BSS-eval defines it, by least squares over all delays of the reference.
    part = slice(0, len(speech) // 4, 16000 // rate)
    reference, estimate = (wave[part].astype(np.float64) for wave in (speech, noisy(snr)))
    estimate = np.convolve(estimate, [0.6, 0, 0.3])[: len(estimate)]
    delayed = np.array([np.pad(reference - reference.mean(), (delay, 511 - delay)) for delay in range(512)]).T
    wanted = np.pad(estimate - estimate.mean(), (0, 511))
    signal = delayed @ np.linalg.lstsq(delayed, wanted, rcond=None)[0]
    ratio = 10 * np.log10(signal @ signal / ((wanted - signal) @ (wanted - signal)))
    assert sdr(estimate, reference, rate) == pytest.approx(ratio, abs=0.01)
    assert sdr(-1e-4 * estimate, 7 * reference, rate) == pytest.approx(ratio, abs=0.01)
    assert ratio > si_sdr(estimate, reference, rate) + 0.2


def test_stoi_and_pesq_do_not_depend_on_the_level(speech: Array, noisy: Noisy) -> None:
    estimate = noisy(5)
    assert stoi(0.01 * estimate, speech) == pytest.approx(stoi(estimate, speech), abs=1e-3)
    assert pesq_wb(0.01 * estimate, speech) == pytest.approx(pesq_wb(estimate, speech), abs=0.01)


def test_narrow_band_hears_nothing_above_the_telephone(speech: Array) -> None:
    spectrum = np.fft.rfft(speech)
    spectrum[np.fft.rfftfreq(len(speech), 1 / 16000) > 4500] = 0
    lowpassed = np.fft.irfft(spectrum, len(speech))
    assert pesq_nb(lowpassed, speech) > 4.5
    assert pesq_wb(lowpassed, speech) < 4.3


def test_dnsmos_is_that_of_its_package(speech: Array, noisy: Noisy, monkeypatch: pytest.MonkeyPatch) -> None:
    # The package's wrapper needs librosa for its second score, of which nothing is compared here.
    feature = types.SimpleNamespace(melspectrogram=lambda **_: np.zeros((120, 900)))
    librosa = types.SimpleNamespace(feature=feature, power_to_db=lambda power, ref: power)
    monkeypatch.setitem(sys.modules, "librosa", librosa)
    monkeypatch.setitem(sys.modules, "requests", types.SimpleNamespace(session=None))
    monkeypatch.delitem(sys.modules, "speechmos.dnsmos", raising=False)
    from speechmos import dnsmos as package

    monkeypatch.delitem(sys.modules, "speechmos.dnsmos")     # or its fake librosa would stay with it
    for seconds in (2.0, 2.25):                              # 2 windows that come 7 times; 7 and 2 left out
        clip = np.clip(np.resize(noisy(10), int(seconds * 16000)), -1, 1)
        assert dnsmos(clip) == pytest.approx(package.run(clip, 16000)["ovrl_mos"], abs=1e-5)


@pytest.mark.parametrize("name", WITH_REFERENCE)
def test_a_silent_reference_has_no_score(name: str, speech: Array) -> None:
    assert np.isnan(METRICS[name](speech, np.zeros_like(speech), 16000))
    assert np.isnan(METRICS[name](0 * speech, 0 * speech, 16000))


@pytest.mark.parametrize(("name", "worst"), BOTTOM.items())
def test_a_silent_estimate_gets_the_bottom_of_the_scale(name: str, worst: float, speech: Array) -> None:
    assert METRICS[name](np.zeros_like(speech), speech, 16000) == worst


@pytest.mark.parametrize(("name", "samples"), [
    *((name, samples) for name in ("pesq_wb", "pesq_nb", "stoi") for samples in (2, 300, 3000)), ("sdr", 511),
])
def test_what_is_too_short_has_no_score(name: str, samples: int, noisy: Noisy, speech: Array) -> None:
    clip, estimate = speech[8000:][:samples], noisy(5)[8000:][:samples]
    assert np.isnan(METRICS[name](estimate, clip, 16000))
    assert np.isnan(METRICS[name](np.zeros_like(clip), clip, 16000))


def test_one_sample_and_clipped_audio_have_scores(speech: Array) -> None:
    assert 1 < dnsmos([0.5]) < 5
    second = 1000 * speech[:16000]
    assert dnsmos(second) == dnsmos(np.clip(second, -1, 1))


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda wave: np.where(np.arange(len(wave)) < 3, np.nan, wave),
         "estimate: expected finite samples, got 3 of 48000 NaN or infinite"),
        (lambda wave: wave[None], r"estimate: expected a waveform \[samples\], got shape \[1, 48000\]"),
        (lambda wave: wave[:0], r"estimate: expected a waveform \[samples\], got shape \[0\]"),
    ],
)
def test_a_bad_estimate_is_named(
    name: str, spoil: Callable[[Array], Array], message: str, speech: Array
) -> None:
    with pytest.raises(SottovoceError, match=f"^{message}$"):
        METRICS[name](spoil(speech), speech, 16000)


@pytest.mark.parametrize("name", WITH_REFERENCE)
def test_a_bad_reference_is_named(name: str, speech: Array) -> None:
    with pytest.raises(SottovoceError, match=r"^reference: expected finite samples, got 48000 of 48000"):
        METRICS[name](speech, speech + np.inf, 16000)
    with pytest.raises(SottovoceError, match=r"^estimate: expected 48000 samples, .* got 47999$"):
        METRICS[name](speech[1:], speech, 16000)


@pytest.mark.parametrize("name", ["pesq_wb", "pesq_nb", "dnsmos"])
def test_a_rate_the_metric_does_not_know_is_refused(name: str, speech: Array) -> None:
    with pytest.raises(SottovoceError, match=f"^{name}: expected .*16000 Hz, got 44100 Hz$"):
        METRICS[name](speech, speech, 44100)


def test_what_is_missing_is_named(speech: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SottovoceError, match=r"^metrics: expected names among pesq_wb, .*, got 'pesk'$"):
        measure(["pesk"], speech, speech)
    monkeypatch.setitem(sys.modules, "pystoi", None)
    with pytest.raises(SottovoceError, match=r"^metrics: expected .*\[train\], got none named pystoi"):
        measure(["stoi"], speech, speech)
