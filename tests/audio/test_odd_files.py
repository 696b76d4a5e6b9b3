import io
from contextlib import suppress
from functools import cache
from pathlib import Path

import av
import h5py
import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.audio import odd_files
from tests.audio.odd_files import GOOD, N_SAMPLES, RATE_HZ, REFUSED, sound
from tests.samples import SOURCE, TARGET
from umc_cli.audio.channels import read_channel
from umc_cli.audio.files import AudioHeader, read_header, read_samples
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.audio.segments import segment_starts
from umc_cli.errors import InputError

WITHOUT_DELAY = [name for name, (_, _, extra) in GOOD.items() if extra in (0, 63)]


@cache
def content(name: str) -> bytes:
    return (GOOD | REFUSED)[name][0]()


@pytest.fixture
def odd(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / request.param
    path.write_bytes(content(request.param))
    return path


@pytest.mark.parametrize("odd", GOOD, indirect=True)
def test_the_length_is_true(odd: Path) -> None:
    """Against what was written, and against a second decoder's count or the first's."""
    _, rate_hz, extra = GOOD[odd.name]
    header = read_header(odd)
    assert header.sample_rate_hz == rate_hz
    wanted = N_SAMPLES * rate_hz // RATE_HZ
    assert min(wanted, wanted + extra) <= header.frames <= wanted + max(0, extra)
    whole = read_samples(odd, header, 0, header.n_samples)
    assert np.abs(whole[-22_050:-4096]).max() > 0.1, "the loud end"
    if extra < N_SAMPLES:
        assert len(segment_starts(header.n_samples, SegmentSettings())) == 3


@pytest.mark.parametrize("odd", GOOD, indirect=True)
def test_a_part_equals_the_same_part_of_the_whole(odd: Path) -> None:
    header = read_header(odd)
    whole = read_samples(odd, header, 0, header.n_samples)
    for start, stop in [(0, 1), (20_480, 40_960), (30_001, header.n_samples), (header.n_samples - 5, header.n_samples)]:
        np.testing.assert_allclose(read_samples(odd, header, start, stop), whole[start:stop], atol=1e-5)


@pytest.mark.parametrize("odd", WITHOUT_DELAY, indirect=True)
def test_no_sample_is_early_or_late(odd: Path) -> None:
    """Encoder delay and pre-skip are left out where the container tells them."""
    header = read_header(odd)
    read = read_samples(odd, header, 0, 65_536)
    written = soxr.resample(sound(3 * header.sample_rate_hz, header.sample_rate_hz), header.sample_rate_hz, 22_050)
    correlation = np.fft.irfft(np.fft.rfft(read) * np.conj(np.fft.rfft(written[:65_536])))
    assert correlation.argmax() == 0
    assert correlation[0] / np.linalg.norm(read) / np.linalg.norm(written) > 0.97


@pytest.mark.parametrize("name", ["zero.wav", "apple.wav", "twice.flac", "flac.oga", "zero.caf", "lossless.m4a"])
def test_lossless_files_are_read_to_the_bit(tmp_path: Path, name: str) -> None:
    """FFmpeg's integers become the floats that libsndfile makes of them."""
    path, plain = tmp_path / name, tmp_path / "plain.wav"
    path.write_bytes(content(name))
    pcm = av.open(str(path)) if name.endswith(("m4a", "oga")) else None
    if pcm:
        with pcm:
            samples = np.concatenate([frame.to_ndarray().reshape(-1) for frame in pcm.decode(audio=0)])
    else:
        samples = np.round(sound() * 32767).astype(np.int16) if name.endswith("wav") else soundfile_int16(name)
    soundfile.write(plain, samples, RATE_HZ, subtype="PCM_16" if samples.dtype == np.int16 else "PCM_32")
    headers = read_header(path), read_header(plain)
    assert headers[0] == headers[1]
    np.testing.assert_array_equal(read_samples(path, headers[0], 0, 66_150), read_samples(plain, headers[1], 0, 66_150))


def soundfile_int16(name: str) -> np.ndarray:
    whole = odd_files.written("FLAC") if name.endswith("flac") else odd_files.written("CAF", "PCM_16")
    return soundfile.read(io.BytesIO(whole), dtype="int16")[0]


@pytest.mark.parametrize("odd", REFUSED, indirect=True)
def test_what_cannot_be_read_is_refused_in_words(odd: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _, reason, remedy = REFUSED[odd.name]
    with pytest.raises(InputError, match=reason) as refusal:
        read_header(odd)
    assert refusal.match(remedy)
    assert capfd.readouterr().err == ""


def test_a_folder_of_odd_files_is_converted(workspace: Path, convert) -> None:
    for name in GOOD | REFUSED:
        folder = workspace / f"data/{SOURCE}/{'good' if name in GOOD else 'bad'}"
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content(name))
    run = convert()
    assert run.exit_code == 1
    sources = set()
    for shard in (workspace / "converted" / TARGET).glob("*.h5"):
        with h5py.File(shard) as file:
            sources |= {Path(path.decode()).name for path in file["source_path"][:] if b"/good/" in path}
    assert sources == set(GOOD)
    failed = (workspace / "converted/failed.csv").read_text()
    assert all(name in failed for name in REFUSED)
    assert len(failed.splitlines()) == 1 + len(REFUSED)


def test_measurements_take_what_phones_write(tmp_path: Path) -> None:
    path = tmp_path / "sweep.m4a"
    path.write_bytes(content("lossless.m4a"))
    samples, rate_hz = read_channel(path, None)
    assert rate_hz == RATE_HZ
    np.testing.assert_allclose(samples, sound(), atol=1e-4)


def test_a_file_of_other_content_than_planned_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "phone.aac"
    path.write_bytes(content("phone.aac"))
    with pytest.raises(InputError, match="another sample rate than the 48000 Hz"):
        read_samples(path, AudioHeader(48_000, 1, 144_000), 0, 1000)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_read_or_refused_and_nothing_else(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever the bytes: a length that can be read, or an error of ours; never another one, never less than said."""
    name = data.draw(st.sampled_from(sorted(GOOD | REFUSED)))
    damaged = bytearray(content(name))
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, min(len(damaged) - 1, 4000)) | st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path / f"damaged-{name}"
    path.write_bytes(damaged[: data.draw(st.none() | st.integers(1, len(damaged)))])
    with suppress(InputError):
        header = read_header(path)
        assert 0 < header.n_samples < 1e9
        read_samples(path, header, max(0, header.n_samples - 1000), header.n_samples)


@pytest.mark.parametrize(
    ("magic", "first_byte", "frame_bytes", "rate_hz"),
    [
        (b"#!AMR\n", 0x3C, 32, 8_000),
        (b"#!AMR-WB\n", 0x44, 61, 16_000),
    ],
)
def test_speech_coders_of_phones(tmp_path: Path, magic: bytes, first_byte: int, frame_bytes: int, rate_hz: int) -> None:
    """AMR has no coder here, but any bits are speech: 150 frames of 20 ms, and one that the recorder did not finish."""
    bits = np.random.default_rng(0).integers(0, 256, (150, frame_bytes), np.uint8)
    bits[:, 0] = first_byte
    path = tmp_path / "phone.amr"
    path.write_bytes(magic + bits.tobytes() + bytes([first_byte, 1, 2]))
    header = read_header(path)
    assert header.sample_rate_hz == rate_hz
    assert abs(header.frames - 3 * rate_hz) <= rate_hz // 50
    assert read_samples(path, header, 0, header.n_samples).any()
