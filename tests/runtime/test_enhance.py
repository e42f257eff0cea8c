"""Files, folders and pipes: the output fits the input in rate, length, form; a bad file is one clear line."""

import errno
import io
import os
import sys

import numpy as np
import pytest
import soundfile as sf
import soxr
from conftest import HOP, RATE

from sottovoce.errors import DataError, SottovoceError
from sottovoce.runtime import audio, enhance
from sottovoce.runtime.blocks import enhanced_share, resampled
from sottovoce.runtime.enhance import enhance_file, enhance_paths, enhance_pcm


def tone(frames, rate, channels=1):
    """A tone that swells, another pitch in each channel, [frames, channels]."""
    time = np.arange(frames)[:, None] / rate
    return (
        0.3
        * np.sin(2 * np.pi * (300 + 50 * np.arange(channels)) * time)
        * np.sin(np.pi * time / time[-1:]) ** 2
    )


def write(path, samples, rate=RATE, **form):
    sf.write(path, samples, rate, **form)
    return path


def read(path):
    return sf.read(path, dtype="float32", always_2d=True)[0]


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000, 96_000])
def test_the_output_is_aligned_and_as_long_as_the_input(wire, tmp_path, rate, channels):
    samples = tone(rate // 3 + 7, rate, channels)
    source = write(tmp_path / "in.wav", samples, rate, subtype="FLOAT")
    result = enhance_file(wire, source, tmp_path / "out.wav")
    assert sf.info(result.target).samplerate == rate
    assert read(result.target).shape == samples.shape
    np.testing.assert_allclose(read(result.target), samples, atol=1e-4)


def test_a_file_read_in_many_blocks_is_enhanced_as_one_waveform(session, tmp_path, speech, monkeypatch):
    monkeypatch.setattr(enhance, "BLOCK", 1_000)
    source = write(tmp_path / "in.wav", speech, subtype="FLOAT")
    enhance_file(session, source, tmp_path / "out.wav")
    np.testing.assert_allclose(read(tmp_path / "out.wav")[:, 0], session.run(speech), atol=1e-6)


def test_each_channel_is_enhanced_on_its_own(session, tmp_path, speech):
    source = write(tmp_path / "in.wav", np.stack([speech, speech[::-1]], axis=1), subtype="FLOAT")
    enhance_file(session, source, tmp_path / "out.wav")
    expected = session.run(np.stack([speech, speech[::-1]])).T
    np.testing.assert_allclose(read(tmp_path / "out.wav"), expected, atol=1e-6)


def test_a_share_of_the_input_stays_in_the_output(session, speech, tmp_path):
    source = write(tmp_path / "in.wav", speech, subtype="FLOAT")
    enhance_file(session, source, tmp_path / "out.wav", wet=0.25)
    np.testing.assert_allclose(
        read(tmp_path / "out.wav")[:, 0], 0.25 * session.run(speech) + 0.75 * speech, atol=1e-6
    )


@pytest.mark.parametrize(
    ("wet", "limit", "share"), [(1, None, 1), (0.3, None, 0.3), (1, 0, 0), (1, 20, 0.9), (0.5, 20, 0.45)]
)
def test_shares(wet, limit, share):
    assert enhanced_share(wet, limit) == pytest.approx(share)


def test_what_the_model_removes_is_attenuated_by_the_limit_and_no_more(session, tmp_path):
    noise = np.sin(2 * np.pi * 12_000 * np.arange(9_600)[:, None] / 48_000) * 0.5
    source = write(tmp_path / "in.wav", noise, 48_000, subtype="FLOAT")
    enhance_file(session, source, tmp_path / "out.wav", attenuation_limit_db=12)
    kept = read(tmp_path / "out.wav")[1_000:-1_000].std() / noise[1_000:-1_000].std()
    assert 20 * np.log10(kept) == pytest.approx(-12, abs=0.01)


def test_above_the_band_of_the_model_nothing_is_left(wire, tmp_path):
    low = tone(9_600, 48_000)
    high = np.sin(2 * np.pi * 12_000 * np.arange(9_600)[:, None] / 48_000) * 0.3
    source = write(tmp_path / "in.wav", low + high, 48_000, subtype="FLOAT")
    enhance_file(wire, source, tmp_path / "out.wav")
    np.testing.assert_allclose(read(tmp_path / "out.wav")[500:-500], low[500:-500], atol=1e-3)


@pytest.mark.parametrize(
    "wrong", [{"wet": -0.1}, {"wet": 1.5}, {"wet": float("nan")}, {"attenuation_limit_db": -3}]
)
def test_impossible_shares_are_named(session, tmp_path, wrong):
    with pytest.raises(SottovoceError, match=r"expected (a share in 0\.\.1|0 dB or more), got"):
        enhance_paths(session, [tmp_path], tmp_path / "out", **wrong)


@pytest.mark.parametrize(
    ("suffix", "form"),
    [
        (".wav", {"subtype": "PCM_U8"}),
        (".wav", {"subtype": "PCM_16"}),
        (".wav", {"subtype": "PCM_24"}),
        (".wav", {"subtype": "FLOAT", "format": "WAVEX"}),
        (".flac", {"subtype": "PCM_16"}),
        (".flac", {"subtype": "PCM_24"}),
        (".ogg", {"subtype": "VORBIS"}),
        (".mp3", {"subtype": "MPEG_LAYER_III"}),
        (".aiff", {"subtype": "PCM_24"}),
        (".w64", {"subtype": "PCM_32"}),
    ],
)
def test_container_and_subtype_stay(wire, tmp_path, suffix, form):
    source = write(tmp_path / f"in{suffix}", tone(16_000, RATE), **form)
    result = enhance_file(wire, source, tmp_path / f"out{suffix}")
    before, after = sf.info(source), sf.info(result.target)
    assert (after.format, after.subtype, after.frames) == (before.format, before.subtype, before.frames)
    assert result.note == ""


def test_integer_samples_come_back_unchanged_from_an_unenhanced_copy(wire, tmp_path):
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, 5_000).astype(np.int16)
    source = write(tmp_path / "in.wav", samples)
    enhance_file(wire, source, tmp_path / "out.wav", wet=0)
    np.testing.assert_array_equal(sf.read(tmp_path / "out.wav", dtype="int16")[0], samples)


def test_another_form_is_said_in_the_result(wire, tmp_path):
    source = write(tmp_path / "in.mp3", tone(4_000, RATE))
    result = enhance_file(wire, source, tmp_path / "out.wav")
    assert result.note == "written as WAV PCM_16, was MP3 MPEG_LAYER_III"


def test_a_container_that_cannot_be_written_becomes_wav_in_a_folder(wire, tmp_path, monkeypatch):
    source = write(tmp_path / "in.mp3", tone(4_000, RATE))
    opens = audio._opens
    monkeypatch.setattr(audio, "_opens", lambda file, form: form.container != "MP3" and opens(file, form))
    (result,) = enhance_paths(wire, [source], tmp_path / "out")
    assert result.target == tmp_path / "out" / "in.wav"
    assert sf.info(result.target).frames == sf.info(source).frames
    with pytest.raises(DataError, match=r"out\.mp3: expected a suffix that can hold 1 channels at 16000 Hz"):
        enhance_file(wire, source, tmp_path / "out.mp3")


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "VORBIS"])
def test_samples_beyond_full_scale_are_limited_not_wrapped(subtype):
    held = audio.limited(np.array([-3, -1, 0, 1, 3], np.float32), subtype)
    assert (np.diff(held) >= 0).all() and held[0] == -1 and 0.99 < held[-1] <= 1 and held[2] == 0


def test_clipped_input_and_silence_work(session, tmp_path):
    for name, samples in (("clipped", np.sign(tone(8_000, RATE))), ("silent", np.zeros((8_000, 1)))):
        source = write(tmp_path / f"{name}.wav", samples)
        out = read(enhance_file(session, source, tmp_path / f"{name}-out.wav").target)
        assert np.isfinite(out).all() and np.abs(out).max() <= 1
    assert not out.any()


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_a_single_sample_works(session, tmp_path, rate):
    source = write(tmp_path / "in.wav", np.array([0.5]), rate)
    assert read(enhance_file(session, source, tmp_path / "out.wav").target).shape == (1, 1)


def bad_files(folder):
    """Name of a bad file -> what its error says."""
    folder.mkdir(exist_ok=True)
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("Dear diary, today I recorded nothing at all. " * 20)
    write(folder / "nothing.wav", np.zeros(0))
    write(folder / "nan.wav", np.where(np.arange(5_000) == 4_000, np.nan, 0.1), subtype="FLOAT")
    write(folder / "inf.wav", np.where(np.arange(5_000) == 0, np.inf, 0.1), subtype="FLOAT")
    write(folder / "slow.wav", np.zeros(100), 4_000)
    write(folder / "wide.wav", np.zeros((100, 65)))
    noise = np.random.default_rng(0).standard_normal(32_000) * 0.1
    flac = write(folder / "cut.flac", noise).read_bytes()
    (folder / "cut.flac").write_bytes(flac[: len(flac) // 2])
    return {
        "empty.wav": "expected an audio file, got an empty one",
        "text.wav": "expected an audio file, got unreadable data (Format not recognised)",
        "nothing.wav": "expected at least one sample, got none",
        "nan.wav": "expected samples in -1..1, got nan at 0.250 s in channel 1",
        "inf.wav": "expected samples in -1..1, got inf at 0.000 s in channel 1",
        "slow.wav": "expected a sample rate of 8000..192000 Hz, got 4000",
        "wide.wav": "expected 1..64 channels, got 65",
        "cut.flac": "damaged after 0.0 s (flac decoder lost sync)",
    }


def test_bad_files_are_listed_and_good_ones_done(session, tmp_path):
    noisy, out = tmp_path / "noisy", tmp_path / "out"
    errors = bad_files(noisy)
    (noisy / "deep").mkdir()
    write(noisy / "deep" / "good.wav", tone(3_000, RATE))
    write(noisy / "better.flac", tone(3_000, RATE))
    (noisy / "notes.txt").write_text("not audio and not named so")
    results = enhance_paths(session, [noisy, tmp_path / "missing.wav"], out)
    failed = {result.source.name: result.error for result in results if result.error}
    missing = f"{tmp_path / 'missing.wav'}: expected an audio file, got no such file"
    assert failed == {name: f"{noisy / name}: {text}" for name, text in errors.items()} | {
        "missing.wav": missing
    }
    written = sorted(path for path in out.rglob("*") if path.is_file())
    assert written == [out / "better.flac", out / "deep" / "good.wav"]
    assert sorted(result.target for result in results if not result.error) == written


def test_a_file_shorter_than_its_header_says_is_refused(session, tmp_path, monkeypatch):
    source = write(tmp_path / "in.wav", tone(3_000, RATE))
    monkeypatch.setattr(sf.SoundFile, "frames", property(lambda file: 4_000))
    with pytest.raises(DataError, match=r"in\.wav: expected 4000 samples as its header says, got 3000"):
        enhance_file(session, source, tmp_path / "out.wav")


def test_a_folder_without_audio_is_an_error_of_its_own(session, tmp_path):
    (tmp_path / "in").mkdir()
    (result,) = enhance_paths(session, [tmp_path / "in"], tmp_path / "out")
    assert result.error == f"{tmp_path / 'in'}: expected a folder with audio files, got none in it"
    assert not (tmp_path / "out").exists()


def test_the_input_is_never_overwritten(session, tmp_path):
    source = write(tmp_path / "in.wav", tone(3_000, RATE))
    before = source.read_bytes()
    with pytest.raises(DataError, match="got the input itself"):
        enhance_file(session, source, tmp_path / "." / "in.wav")
    (result,) = enhance_paths(session, [tmp_path], tmp_path)
    assert result.error == f"{source}: expected an output that is no input, got {source}"
    assert source.read_bytes() == before


def test_an_input_of_the_same_batch_is_never_overwritten(session, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "x.wav", tone(3_000, RATE))
    before = (tmp_path / "b" / "x.wav").read_bytes()
    results = enhance_paths(session, [tmp_path / "a", tmp_path / "b"], tmp_path / "b")
    assert all("expected an output that is no input" in result.error for result in results)
    assert (tmp_path / "b" / "x.wav").read_bytes() == before


def test_one_file_goes_to_one_file_or_into_a_folder(session, tmp_path):
    source = write(tmp_path / "in.wav", tone(3_000, RATE))
    (to_file,) = enhance_paths(session, [source], tmp_path / "new" / "clean.flac")
    (to_folder,) = enhance_paths(session, [source], tmp_path / "folder")
    assert to_file.target == tmp_path / "new" / "clean.flac" and to_file.target.is_file()
    assert to_folder.target == tmp_path / "folder" / "in.wav" and to_folder.target.is_file()


def test_two_inputs_of_one_name_do_not_overwrite_each_other(session, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "x.wav", tone(3_000, RATE))
    first, second = enhance_paths(session, [tmp_path / "a", tmp_path / "b" / "x.wav"], tmp_path / "out")
    assert first.error == ""
    assert second.error.startswith(f"{tmp_path / 'b' / 'x.wav'}: expected its own output, got")


def test_what_an_earlier_run_wrote_is_not_enhanced_again(session, tmp_path):
    write(tmp_path / "in.wav", tone(3_000, RATE))
    for _ in range(2):
        results = enhance_paths(session, [tmp_path], tmp_path / "out")
        assert [result.source for result in results] == [tmp_path / "in.wav"]


def test_an_output_folder_that_cannot_be_is_named(session, tmp_path):
    source = write(tmp_path / "in.wav", tone(3_000, RATE))
    with pytest.raises(
        SottovoceError, match=r"in\.wav/out: expected a folder to write to, got: Not a directory"
    ):
        enhance_paths(session, [source], source / "out")


def test_a_subfolder_that_cannot_be_made_fails_only_its_own_files(session, tmp_path):
    write(tmp_path / "a.wav", tone(3_000, RATE))
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep" / "b.wav", tone(3_000, RATE))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "deep").touch()
    done, failed = enhance_paths(session, [tmp_path], tmp_path / "out")
    assert done.target == tmp_path / "out" / "a.wav"
    assert failed.error == f"{tmp_path / 'out' / 'deep'}: File exists"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_folder_without_write_permission_is_named(session, tmp_path):
    source = write(tmp_path / "in.wav", tone(3_000, RATE))
    (tmp_path / "out").mkdir(mode=0o500)
    (result,) = enhance_paths(session, [source], tmp_path / "out")
    assert result.error == f"{tmp_path / 'out' / 'in.wav'}: cannot be written: Permission denied"


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_a_full_disk_leaves_nothing_behind(session, tmp_path, monkeypatch, suffix):
    noise = np.random.default_rng(0).standard_normal(160_000) * 0.1
    source = write(tmp_path / f"in{suffix}", noise)
    room, raw_write = 30_000, os.write

    def write_while_there_is_room(descriptor, data):
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = raw_write(descriptor, data[:room])
        room -= written
        return written

    monkeypatch.setattr(os, "write", write_while_there_is_room)
    (result,) = enhance_paths(session, [source], tmp_path / "out")
    assert result.error == f"{tmp_path / 'out' / source.name}: cannot be written: No space left on device"
    assert list((tmp_path / "out").iterdir()) == []


def test_an_interruption_leaves_nothing_behind(session, tmp_path):
    source = write(tmp_path / "in.wav", tone(100_000, RATE))

    def interrupt(path, share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        enhance_paths(session, [source], tmp_path / "out", progress=interrupt)
    assert list((tmp_path / "out").iterdir()) == []


def test_progress_ends_at_one(session, tmp_path):
    source = write(tmp_path / "in.wav", tone(150_000, RATE))
    seen = []
    enhance_file(
        session, source, tmp_path / "out.wav", progress=lambda path, share: seen.append((path, share))
    )
    assert len(seen) == 3 and seen[-1] == (source, 1.0) and seen == sorted(seen)


def pcm(samples):
    return (np.rint(samples * 32768)).clip(-32768, 32767).astype("<i2").tobytes()


@pytest.mark.parametrize("length", [0, 1, 159, 160, 161, 5_000])
def test_a_pipe_gives_what_a_file_gives(session, speech, length):
    samples = np.frombuffer(pcm(speech[:length]), "<i2").astype(np.float32) / 32768
    out = io.BytesIO()
    enhance_pcm(session, io.BytesIO(samples_bytes := pcm(samples)), out)
    assert len(out.getvalue()) == len(samples_bytes)
    np.testing.assert_allclose(np.frombuffer(out.getvalue(), "<i2") / 32768, session.run(samples), atol=2e-5)


def test_a_pipe_answers_each_hop_as_soon_as_the_model_can(session, speech):
    class Source(io.BytesIO):
        def read(self, size=-1):
            heard.append(out.flushed)
            return super().read(min(size, 100))  # as little at a time as pipes may give

    class Target(io.BytesIO):
        flushed = 0

        def flush(self):
            self.flushed = self.tell()

    heard, out = [], Target()
    source = Source(pcm(speech[: 10 * HOP]))
    enhance_pcm(session, source, out)
    at_start_of_hop = heard[::4][:10]  # 320 bytes take four reads
    assert at_start_of_hop == [max(hop - 1, 0) * 2 * HOP for hop in range(10)]
    assert out.flushed == 10 * 2 * HOP


def test_half_a_sample_at_the_end_of_a_pipe_is_named(session, speech):
    out = io.BytesIO()
    with pytest.raises(DataError, match="16-bit samples, got an odd number of bytes"):
        enhance_pcm(session, io.BytesIO(pcm(speech[:1_000]) + b"\x01"), out)
    assert len(out.getvalue()) == 2_000


def test_a_reader_that_goes_away_ends_the_pipe_quietly(session, speech):
    class Closed(io.BytesIO):
        def write(self, data):
            raise BrokenPipeError

    enhance_pcm(session, io.BytesIO(pcm(speech)), Closed())


def test_resampled_blocks_equal_the_whole_resampled():
    samples = tone(20_000, 44_100, 2).astype(np.float32)
    whole = soxr.resample(samples, 44_100, 16_000)
    blocks = np.concatenate([*resampled(np.split(samples, [1, 500, 7_000]), 44_100, 16_000)])
    np.testing.assert_allclose(blocks[: len(whole)], whole[: len(blocks)], atol=1e-5)
    assert abs(len(blocks) - len(whole)) <= 1
