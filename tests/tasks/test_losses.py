"""The losses of enhancement: none for the clean signal, and what each of them hears."""

from typing import get_args

import pytest
import torch

from sottovoce.tasks.enhance import LossOn, squared_error


def signals() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    clean = torch.randn(2, 8000) * torch.linspace(0, 1, 8000)
    return clean, clean + 0.5 * torch.randn(2, 8000)


@pytest.mark.parametrize("on", [on for on in get_args(LossOn) if on != "ideal_ratio"])
def test_the_error_falls_towards_the_clean_signal(on: LossOn) -> None:
    clean, noisy = signals()
    errors = [float(squared_error(clean + share * (noisy - clean), clean, noisy, on)) for share in (1.0, 0.5, 0.0)]
    assert errors[0] > errors[1] > errors[2] == 0


@pytest.mark.parametrize(("speech", "noise", "gain"), [(1.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 1.0, 0.5**0.5)])
def test_the_ideal_ratio_is_the_gain_that_is_wanted(speech: float, noise: float, gain: float) -> None:
    torch.manual_seed(0)
    one = torch.randn(1, 16000)
    # Noise that is the speech turned by a quarter of a period has its spectrum's magnitudes, and adds up in power.
    quarter = torch.fft.irfft(torch.fft.rfft(one) * 1j)
    clean, mixture = speech * one, speech * one + noise * quarter
    errors = {tried: float(squared_error(tried * mixture, clean, mixture, "ideal_ratio")) for tried in (0.0, gain, 1.0)}
    assert errors[gain] < 0.01 and all(errors[tried] > 0.05 for tried in (0.0, 1.0) if tried != gain)


@pytest.mark.parametrize("on", get_args(LossOn))
def test_the_error_does_not_depend_on_the_recording_level(on: LossOn) -> None:
    clean, noisy = signals()
    one, two = (float(squared_error(0.7 * noisy * gain, clean * gain, noisy * gain, on)) for gain in (1.0, 0.1))
    assert one == pytest.approx(two, rel=1e-3)


@pytest.mark.parametrize(("on", "hears_phase"), [
    ("compressed", False), ("magnitude", False), ("ideal_ratio", False), ("spectrum", True), ("waveform", True),
])
def test_only_spectra_and_waveforms_have_a_phase(on: LossOn, hears_phase: bool) -> None:
    clean, noisy = signals()
    flipped, right = (squared_error(sign * clean, clean, noisy, on) for sign in (-1, 1))
    assert bool(flipped > right + 1e-6) == hears_phase
