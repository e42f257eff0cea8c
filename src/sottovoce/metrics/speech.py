"""Scores of one utterance: pure functions (estimate, reference, sample_rate) -> float.

Waveforms are [samples], full scale +-1, of equal length. What is decided the same way for all of them:

- An input that is empty, not one-dimensional or not finite, or a pair of unequal lengths: SottovoceError.
- A silent reference, or an utterance too short for the metric, has no score: NaN, which `statistics` counts.
- A silent estimate of a reference that is not silent is a failure of the model: the bottom of the scale.
  Were it NaN, a model that fell silent on the hardest utterances would look the better for it.
"""

import warnings
from collections.abc import Callable, Iterable
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sottovoce.errors import SottovoceError

# The packages behind the scores are imported where they are used: they come with the train extra, and some
# take more than a second.
if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Array = NDArray[np.float64]
Function = Callable[[ArrayLike, ArrayLike, int], float]

PESQ_BOTTOM = 1.0
RATIO_LIMIT = 100.0                  # dB, to both sides; float32 audio resolves no more
SDR_TAPS = 512
DNSMOS_RATE = 16000
DNSMOS_SECONDS = 9.01                # what its network takes
DNSMOS_SAMPLES = 144160
DNSMOS_OVERALL = (-0.06766283, 1.11546468, 0.04602535)     # network output -> MOS, highest power first


def pesq_wb(estimate: ArrayLike, reference: ArrayLike, sample_rate: int = 16000) -> float:
    """Wide-band PESQ (ITU-T P.862.2), MOS-LQO 1.0 .. 4.64; 16 kHz only. NaN below 1/4 s or without speech."""
    if sample_rate != 16000:
        raise SottovoceError(f"pesq_wb: expected 16000 Hz, got {sample_rate} Hz")
    return _pesq(estimate, reference, sample_rate, "wb")


def pesq_nb(estimate: ArrayLike, reference: ArrayLike, sample_rate: int = 16000) -> float:
    """Narrow-band PESQ (ITU-T P.862, mapped by P.862.1), MOS-LQO 1.0 .. 4.55; 8 or 16 kHz. NaN as `pesq_wb`.

    Material at 16 kHz goes as it is into the ITU's own code, which takes both rates and itself limits the
    band to the telephone's: no resampler enters the score. At 8 kHz a pair scores 0.05 to 0.1 higher.
    """
    if sample_rate not in (8000, 16000):
        raise SottovoceError(f"pesq_nb: expected 8000 or 16000 Hz, got {sample_rate} Hz")
    return _pesq(estimate, reference, sample_rate, "nb")


def stoi(estimate: ArrayLike, reference: ArrayLike, sample_rate: int = 16000) -> float:
    """Short-time objective intelligibility (Taal et al. 2011), percent. NaN below 0.4 s of speech."""
    from pystoi import stoi as measured

    estimate, reference = _pair(estimate, reference)
    if _silent(reference):
        return np.nan
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)
        try:
            return 100 * float(measured(reference, estimate, sample_rate))
        except (RuntimeWarning, np.exceptions.AxisError):  # the latter where there is not even one frame
            return np.nan


def si_sdr(estimate: ArrayLike, reference: ArrayLike, sample_rate: int = 16000) -> float:
    """Scale-invariant signal-to-distortion ratio (Le Roux et al. 2019), dB, zero-mean, within +-100 dB."""
    from fast_bss_eval.numpy import si_sdr as measured  # the one at the package's door breaks without torch

    estimate, reference = _pair(estimate, reference)
    if _silent(reference):
        return np.nan
    if _silent(estimate):
        return -RATIO_LIMIT
    # The package takes a norm below 1e-6 for silence, so a quiet signal needs its scale before it gets there.
    ratio = measured(_loud(reference)[None], _loud(estimate)[None], zero_mean=True, clamp_db=RATIO_LIMIT)
    return float(ratio[0])


def sdr(estimate: ArrayLike, reference: ArrayLike, sample_rate: int = 16000) -> float:
    """Signal-to-distortion ratio of BSS-eval 3 (Vincent et al. 2006), dB, zero-mean, within +-100 dB.

    Whatever a filter of 512 taps can make of the reference counts as signal. NaN for fewer samples than that.
    """
    from fast_bss_eval.numpy import sdr as measured

    estimate, reference = _pair(estimate, reference)
    if _silent(reference) or len(reference) < SDR_TAPS:
        return np.nan
    if _silent(estimate):
        return -RATIO_LIMIT
    # The load on the diagonal is for references that leave part of the band empty: their matrix has no inverse.
    ratio = measured(_loud(reference)[None], _loud(estimate)[None], filter_length=SDR_TAPS, zero_mean=True,
                     clamp_db=RATIO_LIMIT, load_diag=1e-10)
    return float(ratio[0])


def dnsmos(estimate: ArrayLike, reference: ArrayLike | None = None, sample_rate: int = 16000) -> float:
    """Overall score that DNSMOS P.835 predicts (Reddy et al. 2022), 1 .. 5; 16 kHz; of the estimate alone.

    Windows of 9.01 s every second, a shorter signal repeated, peaks over full scale clipped as a file clips
    them. Unlike the others it depends on the level, and it gives silence a score of its own.
    """
    if sample_rate != DNSMOS_RATE:
        raise SottovoceError(f"dnsmos: expected {DNSMOS_RATE} Hz, got {sample_rate} Hz")
    signal = np.clip(_waveform(estimate, "estimate"), -1, 1).astype(np.float32)
    length = len(signal)
    while length < DNSMOS_SAMPLES:                       # by doubling, which sets how many windows there are
        length *= 2
    windows = range(max(1, length // DNSMOS_RATE - 9))
    # Of a repeated signal many windows are the same again, and nothing here costs more than the network.
    starts = [second * DNSMOS_RATE % len(signal) for second in windows if _whole(second)]
    scores = {start: _overall(signal, start) for start in dict.fromkeys(starts)}
    return float(np.mean([scores[start] for start in starts]))


METRICS: dict[str, Function] = {
    "pesq_wb": pesq_wb,
    "pesq_nb": pesq_nb,
    "stoi": stoi,
    "si_sdr": si_sdr,
    "sdr": sdr,
    "dnsmos": dnsmos,
}


def known(names: Iterable[str]) -> tuple[str, ...]:
    """The names as a tuple. Raises SottovoceError for one that is not in METRICS."""
    chosen = tuple(names)
    for name in chosen:
        if name not in METRICS:
            raise SottovoceError(f"metrics: expected names among {', '.join(METRICS)}, got {name!r}")
    return chosen


def measure(
    names: Iterable[str], estimate: ArrayLike, reference: ArrayLike, sample_rate: int = 16000
) -> dict[str, float]:
    """The named metrics of one utterance. Raises SottovoceError for a bad input or a missing package."""
    try:
        return {name: METRICS[name](estimate, reference, sample_rate) for name in known(names)}
    except ModuleNotFoundError as error:
        wanted = "expected the packages of sottovoce[train]"
        raise SottovoceError(f"metrics: {wanted}, got none named {error.name}") from error


def _pesq(estimate: ArrayLike, reference: ArrayLike, sample_rate: int, mode: str) -> float:
    from pesq import BufferTooShortError, NoUtterancesError, pesq

    estimate, reference = _pair(estimate, reference)
    if _silent(reference):
        return np.nan
    # The package fails on a silent estimate; whether the reference can be scored at all, it alone knows.
    fallen_silent = _silent(estimate)
    heard = reference if fallen_silent else estimate
    try:
        score = float(pesq(sample_rate, _loud(reference), _loud(heard), mode))
    except (BufferTooShortError, NoUtterancesError):
        return np.nan
    return PESQ_BOTTOM if fallen_silent else score


def _whole(second: int) -> bool:
    """Whether the window from that second counts.

    In the published code rounding makes windows 7 to 23 a sample short, and it leaves them out; so do we, for
    a score is there to be compared.
    """
    return int((second + DNSMOS_SECONDS) * DNSMOS_RATE) - second * DNSMOS_RATE >= DNSMOS_SAMPLES


def _overall(signal: NDArray[np.float32], start: int) -> float:
    """The score of the window at that sample of the endlessly repeated signal."""
    window = signal.take(np.arange(start, start + DNSMOS_SAMPLES), mode="wrap")
    output: Any = _dnsmos_network().run(None, {"input_1": window[None]})[0]
    return float(np.polyval(DNSMOS_OVERALL, float(output[0, 2])))


@cache
def _dnsmos_network() -> "InferenceSession":
    # speechmos's own wrapper needs librosa for a second score that is not wanted here, and uses every core.
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    network = files("speechmos").joinpath("dnsmos_models", "sig_bak_ovr.onnx").read_bytes()
    return InferenceSession(network, options, providers=["CPUExecutionProvider"])


def _pair(estimate: ArrayLike, reference: ArrayLike) -> tuple[Array, Array]:
    estimated, wanted = _waveform(estimate, "estimate"), _waveform(reference, "reference")
    if len(estimated) != len(wanted):
        length = f"expected {len(wanted)} samples, as in the reference, got {len(estimated)}"
        raise SottovoceError(f"estimate: {length}")
    return estimated, wanted


def _waveform(signal: ArrayLike, name: str) -> Array:
    values = np.asarray(signal, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise SottovoceError(f"{name}: expected a waveform [samples], got shape {list(values.shape)}")
    if bad := np.count_nonzero(~np.isfinite(values)):
        raise SottovoceError(f"{name}: expected finite samples, got {bad} of {len(values)} NaN or infinite")
    return values


def _silent(signal: Array) -> bool:
    return bool(np.ptp(signal) == 0)


def _loud(signal: Array) -> Array:
    """Scaled to peak 1."""
    scaled: Array = signal / np.abs(signal).max()
    return scaled
