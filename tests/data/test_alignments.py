"""Alignments: every frame has a state of what is said, what broke off is gone on with, and rare states are pooled."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import toy

from sottovoce.data.aligner import Aligner
from sottovoce.data.alignments import ALIGNED, LEFT_OUT, STATES, Alignments, inventory, kept_alignments
from sottovoce.data.corpora import load_corpus
from sottovoce.data.pool import Pool
from sottovoce.data.vocabulary import hmms, words_of
from sottovoce.decoding.hmms import Hmms, read_hmms
from sottovoce.errors import DataError

LEAST = 10


@pytest.fixture(scope="module")
def pool() -> Pool:
    """Three utterances of the sample with a text, and one without."""
    cuts = list(load_corpus(toy.ROOT / "sample" / "speech.jsonl", {}))
    with_text = sorted((cut for cut in cuts if cut.supervisions[0].text), key=lambda cut: cut.duration)
    return Pool([*with_text[:3], next(cut for cut in cuts if not cut.supervisions[0].text)])


@pytest.fixture(scope="module")
def definition() -> Hmms:
    return read_hmms(hmms())


@pytest.fixture(scope="module")
def folder(pool: Pool, definition: Hmms, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kept") / "alignments"
    kept_alignments(path, [pool], definition.kinds, LEAST)
    return path


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / ALIGNED).read_text().splitlines()]


def test_every_frame_has_a_state_of_what_is_said(pool: Pool, folder: Path, definition: Hmms) -> None:
    alignments = kept_alignments(folder, [pool], definition.kinds, LEAST)
    assert len(lines(folder)) == 3
    for found in lines(folder):
        cut = pool.cuts[pool.index[found["id"]]]
        assert alignments.text(cut.id) == " ".join(words_of(cut.supervisions[0].text))
        states = alignments.of(cut.id)
        assert abs(len(states) - 100 * cut.duration) <= 1 and 0 <= states.min() and states.max() < alignments.states
        phones = [phone for phone, _ in found["phones"] for _ in range(3)]
        assert [definition.kinds[code].split(".")[0] for code, _ in found["senones"]] == phones
        for part in ("words", "phones"):
            assert sum(frames for _, frames in found[part]) == len(states) - 1
    assert np.exp(alignments.log_priors).sum() == pytest.approx(1)


def test_states_are_those_of_phones_in_their_context(folder: Path, definition: Hmms) -> None:
    for found in lines(folder):
        spoken = [phone for phone, _ in found["phones"]]
        states = np.array(found["senones"])[:, 0].reshape(-1, 3)
        for before, phone, after, three in zip(spoken, spoken[1:], spoken[2:], states[1:], strict=False):
            around = (definition.phones.index(name) for name in (phone, before, after))
            assert three.tolist() in definition.senones[(slice(None), *around)].tolist()


def test_what_was_broken_off_is_gone_on_with(
    pool: Pool, folder: Path, definition: Hmms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / STATES).unlink()
    whole = (copy / ALIGNED).read_text()
    (copy / ALIGNED).write_text(whole[: len(whole) * 9 // 10])
    asked, aligner = [], Aligner()
    monkeypatch.setattr("sottovoce.data.alignments._aligner", lambda: asked.append(1) or aligner)
    again = kept_alignments(copy, [pool], definition.kinds, LEAST, workers=0)
    assert (copy / ALIGNED).read_text() == whole and len(asked) == 1
    assert again.digest == kept_alignments(folder, [pool], definition.kinds, LEAST).digest
    assert (copy / LEFT_OUT).read_text() == f"utterance,reason\n{pool.cuts[3].id},without text\n"


def test_what_cannot_be_is_said(pool: Pool, folder: Path, definition: Hmms, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"states.json: expected states of .*'least': 11.* got .*'least': 10"):
        kept_alignments(folder, [pool], definition.kinds, 11)
    with pytest.raises(DataError, match=r"aligned.jsonl: expected speech to train on, got none"):
        kept_alignments(tmp_path / "none", [Pool(pool.cuts[3:])], definition.kinds, LEAST)
    with pytest.raises(DataError, match="expected utterance other, it is not there"):
        kept_alignments(folder, [pool], definition.kinds, LEAST).of("other")
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / STATES).write_text("{}")
    with pytest.raises(DataError, match=r"states.json: expected states, got damaged data"):
        kept_alignments(copy, [pool], definition.kinds, LEAST)
    (copy / ALIGNED).write_text("nonsense\n")
    with pytest.raises(DataError, match=r"aligned.jsonl: expected alignments, got damaged data"):
        kept_alignments(copy, [pool], definition.kinds, LEAST)


def test_other_words_are_not_heard(pool: Pool) -> None:
    aligner, cut = Aligner(), pool.cuts[0]
    wave = pool.read(cut.id, 0.0, cut.duration)
    for samples in (wave[:0], wave[:1600], np.zeros(16_000, np.float32)):
        with pytest.raises(DataError):
            aligner.aligned(samples, ["hello", "world"])
    assert aligner.aligned(wave, words_of(cut.supervisions[0].text)).words                # and it still aligns


def test_rare_states_are_pooled() -> None:
    kinds = ["A.0", "A.0", "A.0", "B.0", "B.0", "+N.0", "C.0"]
    states = inventory(np.array([50, 6, 7, 20, 3, 0, 1]), kinds, 10)
    assert [(state["name"], state["senones"], state["frames"]) for state in states] == [
        ("A.0/0", [0], 50), ("A.0", [1, 2], 13), ("B.0/3", [3, 4], 23), ("C.0", [6], 1),
    ]
    assert Alignments(Path(), states).state_of.tolist() == [0, 1, 1, 2, 2, 0, 3]
