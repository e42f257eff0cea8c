"""Error rates of transcripts, of one utterance each; `statistics.Rate` says how they are averaged."""

import jiwer

from sottovoce.errors import SottovoceError
from sottovoce.metrics.statistics import Rate


def error_rate(metric: str, heard: str, said: str) -> Rate:
    """Substituted, deleted and inserted words (`wer`), phones (`per`) or characters (`cer`) in % of those said.

    Phones are written as words, apart. Raises SottovoceError where nothing was said: nothing can be a share of it.
    """
    if not said.strip():
        raise SottovoceError(f"{metric}: expected a transcript with words to compare with, got an empty one")
    counts = (jiwer.process_characters if metric == "cer" else jiwer.process_words)(said, heard)
    wrong = counts.substitutions + counts.deletions
    return Rate(wrong + counts.insertions, wrong + counts.hits)
