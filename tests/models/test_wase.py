"""The extractor: its sizes, its enrolment, what it says of presence, and settings that cannot be."""

import pytest
import torch
import toy

from sottovoce.models import build
from sottovoce.models.wase import Extracted, WaseConfig


def test_one_stack_run_three_times_has_the_published_size() -> None:
    with torch.device("meta"):
        model = build("wase")
    model.stacks[1] = model.stacks[2] = model.stacks[0]
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_293_010


def extracted(variant: int, enrolments: int = 2, mixed: bool = False) -> Extracted:
    """What a tiny model makes of one mixture for as many enrolments."""
    model = toy.built("wase", toy.MODEL_SETTINGS["wase"][variant])
    torch.manual_seed(1)
    mixture, voices = torch.randn(1, 1601).expand(enrolments, -1), torch.randn(enrolments, 3000)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        outputs = model(mixture, voices)
    assert isinstance(outputs, Extracted)
    return outputs


@pytest.mark.parametrize("variant", [0, 1])
@pytest.mark.parametrize("mixed", [False, True])
def test_two_waveforms_and_the_probability_at_every_site_and_frame(variant: int, mixed: bool) -> None:
    outputs, sites, hop = extracted(variant, mixed=mixed), (3, 2)[variant], (8, 16)[variant]
    assert outputs.voice.shape == outputs.other.shape == (2, 1601)
    assert outputs.presence.shape == (2, sites, -(-1601 // hop) + 1) and outputs.presence.dtype == torch.float32
    assert 0 < outputs.presence.min() and outputs.presence.max() < 1


@pytest.mark.parametrize("variant", [0, 1])
def test_the_enrolment_changes_what_is_heard(variant: int) -> None:
    voice = extracted(variant).voice
    assert (voice[0] - voice[1]).abs().max() > 1e-5 * voice.abs().max()          # untrained: little, but something


def test_windows_are_as_long_at_every_rate_unless_given() -> None:
    sizes = [(config.window, config.voice_window) for config in (
        WaseConfig(), WaseConfig(rate=16_000), WaseConfig(rate=16_000, window=20))]
    assert sizes == [(16, 256), (32, 512), (20, 512)]


@pytest.mark.parametrize(("settings", "message"), [
    ({"rate": 44_100}, "rate must be 8000 or 16000, got 44100"),
    ({"window": 15}, "window must be a multiple of 2 samples up to 65536, got 15"),
    ({"voice_window": 250}, "voice_window must be a multiple of 4"),
    ({"stacks": 0}, r"stacks must be 1..16 and blocks 1..12, got 0 and 8"),
    ({"middle": 0}, r"middle must be 1..16384, got 0"),
    ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
])
def test_settings_that_cannot_be_are_named(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WaseConfig(**settings)       # type: ignore[arg-type]
