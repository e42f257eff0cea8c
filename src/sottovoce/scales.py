"""How metrics are read: what they are called, how they are written, and which way is better."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """How one metric is read."""

    label: str
    unit: str = ""
    decimals: int = 2                    # a difference gets one more
    meaning: str = ""
    lower_is_better: bool = False

    def worse(self, before: float, after: float) -> float:
        """How much worse a value is than the one before; below 0 where it is better."""
        return after - before if self.lower_is_better else before - after


METRICS = {
    "pesq_wb": Metric("PESQ-WB", meaning="wide band, 1 to 4.6"),
    "pesq_nb": Metric("PESQ-NB", meaning="narrow band, 1 to 4.6"),
    "stoi": Metric("STOI", "%", 1, "intelligibility, 0 to 100 %"),
    "si_sdr": Metric("SI-SDR", "dB", 2, "signal to distortion, free of scale"),
    "sdr": Metric("SDR", "dB", 2, "signal to distortion, free of a short filter"),
    "dnsmos": Metric("DNSMOS", meaning="overall, 1 to 5"),
    "wer": Metric("WER", "%", 1, "word errors, 0 % is none", lower_is_better=True),
    "cer": Metric("CER", "%", 1, "character errors, 0 % is none", lower_is_better=True),
    "fer": Metric("FER", "%", 1, "frames of wrong states, 0 % is none", lower_is_better=True),
    "per": Metric("PER", "%", 1, "phone errors, 0 % is none", lower_is_better=True),
}


def metric(name: str) -> Metric:
    """The metric's way of being read; one we do not know is shown under its own name, and better when higher."""
    return METRICS.get(name, Metric(name))
