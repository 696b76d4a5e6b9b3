"""Makes the odd files of the tests: what phones write, and headers that are wrong. No other program is needed.

`python -m tests.audio.odd_files FOLDER` writes all of them, for a look with other programs.
"""

import struct
import sys
from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import soundfile

RATE_HZ = 44_100
N_SAMPLES = 3 * RATE_HZ
"""All files hold these three seconds, but for what their codings add."""


def sound(n_samples: int = N_SAMPLES, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Return a chirp with noise, quiet first and loud then. Shape: [n] float32."""
    time_s = np.arange(n_samples) / rate_hz
    chirp = 0.4 * np.sin(2 * np.pi * (200 + 400 * time_s) * time_s)
    noise = 0.02 * np.random.default_rng(0).standard_normal(n_samples)
    return ((chirp + noise) * np.where(np.arange(n_samples) < n_samples / 3, 0.01, 1)).astype(np.float32)


def encoded(container: str, codec: str, rate_hz: int = RATE_HZ, n_channels: int = 1, **options: Any) -> bytes:
    """Return `sound()` as FFmpeg codes it. `options`: those of the container; `q` and `b` go to the codec."""
    texts = {name: str(value) for name, value in options.items()}
    codec_options = {name: texts.pop(name) for name in ("q", "b") if name in texts}
    layout = {1: "mono", 2: "stereo"}[n_channels]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "coded"
        with av.open(path, "w", format=container, options=texts) as output:
            stream: Any = output.add_stream(codec, rate=rate_hz, layout=layout, options=codec_options)
            samples = np.tile(sound(round(N_SAMPLES / RATE_HZ * rate_hz), rate_hz), (n_channels, 1))
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
            codec_context = stream.codec_context
            codec_context.open()
            parts = av.AudioResampler(codec_context.format, layout, rate_hz, frame_size=codec_context.frame_size)
            for part in [*parts.resample(frame), *parts.resample(None)]:
                output.mux(stream.encode(part))
            output.mux(stream.encode(None))
        return path.read_bytes()


def film(with_sound: bool) -> bytes:
    """Return a film of three seconds, with `sound()` or mute."""
    file = BytesIO()
    with av.open(file, "w", format="mp4") as output:
        video: Any = output.add_stream("mpeg4", rate=10, width=64, height=48, pix_fmt="yuv420p")
        audio: Any = output.add_stream("aac", rate=RATE_HZ, layout="mono") if with_sound else None
        for index in range(30):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 * index, np.uint8))
            picture.pts = index
            output.mux(video.encode(picture))
        output.mux(video.encode(None))
        if audio:
            for start in range(0, N_SAMPLES, 1024):
                frame = av.AudioFrame.from_ndarray(sound()[None, start : start + 1024], format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, start, Fraction(1, RATE_HZ)
                output.mux(audio.encode(frame))
            output.mux(audio.encode(None))
    return file.getvalue()


def written(file_format: str, subtype: str | None = None, rate_hz: int = RATE_HZ) -> bytes:
    """Return `sound()` as libsndfile writes it."""
    file = BytesIO()
    samples = sound(round(N_SAMPLES / RATE_HZ * rate_hz), rate_hz)
    soundfile.write(file, samples, rate_hz, format=file_format, subtype=subtype)
    return file.getvalue()


def edited(content: bytes, *edits: tuple[int, bytes]) -> bytes:
    """Return `content` with other bytes at some places."""
    result = bytearray(content)
    for place, new in edits:
        result[place : place + len(new)] = new
    return bytes(result)


def wav(riff_size: int, data_size: int, filler: int = 0, behind: bytes = b"") -> bytes:
    """Return a WAV file whose header says other sizes than its own; `filler`: Apple's chunk, of so many bytes."""
    pcm = np.round(sound() * 32767).astype("<i2").tobytes()
    form = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    chunk = b"FLLR" + struct.pack("<I", filler) + bytes(filler) if filler else b""
    return b"RIFF" + struct.pack("<I", riff_size) + form + chunk + b"data" + struct.pack("<I", data_size) + pcm + behind


def flac(said: int) -> bytes:
    """Return a FLAC file that says that it is `said` samples long."""
    content = written("FLAC")
    fields = int.from_bytes(content[18:26], "big") >> 36 << 36
    return edited(content, (18, (fields | said).to_bytes(8, "big")))


def ogg_pages(content: bytes, change: Callable[[bytearray], None]) -> bytes:
    """Return an Ogg file whose pages `change` has edited, with right checksums."""
    result, position = b"", 0
    while position < len(content):
        n_lacing = content[position + 26]
        size = 27 + n_lacing + sum(content[position + 27 : position + 27 + n_lacing])
        page = bytearray(content[position : position + size])
        change(page)
        page[22:26] = bytes(4)
        page[22:26] = struct.pack("<I", _ogg_checksum(page))
        result, position = result + page, position + size
    return result


def no_end_flag(page: bytearray) -> None:
    """Edit a page as Android's recorder leaves it."""
    page[5] &= ~4


def _ogg_checksum(data: bytes | bytearray) -> int:
    checksum = 0
    for byte in data:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ 0x04C11DB7 if checksum >> 31 else checksum << 1) & 0xFFFFFFFF
    return checksum


def mp3(**options: Any) -> bytes:
    """Return an MP3 file; `write_xing=0`: without the frame that says how long it is."""
    return encoded("mp3", "libmp3lame", **options)


def half(content: bytes) -> bytes:
    """Return what an interrupted copy leaves."""
    return content[: len(content) // 2]


def _place(content: bytes, name: bytes) -> int:
    return content.index(name) + len(name)


def unfinished_caf(size: int) -> bytes:
    """Return a Core Audio file whose data chunk says `size` (-1: up to the end, 0: never finished)."""
    content = written("CAF", "PCM_16")
    return edited(content, (_place(content, b"data"), struct.pack(">q", size)))


def unfinished_au(size: int) -> bytes:
    """Return an AU file whose header says `size` bytes."""
    return edited(written("AU", "PCM_16"), (8, struct.pack(">I", size)))


def unfinished_rf64() -> bytes:
    """Return an RF64 file whose long sizes are zero."""
    content = written("RF64", "PCM_16")
    return edited(content, (_place(content, b"ds64") + 4, bytes(24)))


AAC_PADDING = 2048
"""Without an edit list nobody knows how much of the first and last blocks is padding."""

GOOD: dict[str, tuple[Callable[[], bytes], int, int]] = {
    # name: maker, sample rate, most frames beyond the three seconds (fewer only where that is negative)
    "phone.m4a": (lambda: encoded("ipod", "aac"), RATE_HZ, 0),
    "stereo.m4a": (lambda: encoded("ipod", "aac", n_channels=2), RATE_HZ, 0),
    "wideband.m4a": (lambda: encoded("ipod", "aac", 16_000), 16_000, 0),
    "lossless.m4a": (lambda: encoded("ipod", "alac"), RATE_HZ, 0),
    "index-first.m4a": (lambda: encoded("ipod", "aac", movflags="faststart"), RATE_HZ, 0),
    "fragments.mp4": (lambda: encoded("mp4", "aac", movflags="empty_moov+frag_keyframe"), RATE_HZ, AAC_PADDING),
    "phone.3gp": (lambda: encoded("3gp", "aac", 16_000), 16_000, AAC_PADDING),
    "phone.aac": (lambda: encoded("adts", "aac"), RATE_HZ, AAC_PADDING),
    "film.mp4": (lambda: film(with_sound=True), RATE_HZ, 1024),
    "opus.mp4": (lambda: encoded("mp4", "libopus", 48_000), 48_000, 0),
    "chat.opus": (lambda: encoded("ogg", "libopus", 48_000), 48_000, 0),
    "browser.webm": (lambda: encoded("webm", "libopus", 48_000), 48_000, 0),
    "tape.mka": (lambda: encoded("matroska", "aac"), RATE_HZ, AAC_PADDING),
    "flac.oga": (lambda: encoded("ogg", "flac"), RATE_HZ, 0),
    "vorbis.ogg": (lambda: written("OGG"), RATE_HZ, 0),
    "windows.wma": (lambda: encoded("asf", "wmav2", b=128_000), RATE_HZ, -1228),  # FFmpeg's coder loses its last block
    "lossless.caf": (lambda: encoded("caf", "alac"), RATE_HZ, 0),
    "ima.caf": (lambda: encoded("caf", "adpcm_ima_qt"), RATE_HZ, 63),
    "plain.w64": (lambda: written("W64", "PCM_16"), RATE_HZ, 0),
    "plain.au": (lambda: written("AU", "PCM_16"), RATE_HZ, 0),
    "plain.aifc": (lambda: written("AIFF", "ULAW"), RATE_HZ, 0),
    "plain.wave": (lambda: written("WAV"), RATE_HZ, 0),
    "telephone.wav": (lambda: written("WAV", "GSM610", 8_000), 8_000, 320),
    "with-length.mp3": (lambda: mp3(), RATE_HZ, 0),
    "constant.mp3": (lambda: mp3(write_xing=0, b=128_000), RATE_HZ, 3 * 1152),
    "variable.mp3": (lambda: mp3(write_xing=0, q=4), RATE_HZ, 3 * 1152),
    "layer2.mp2": (lambda: encoded("mp2", "mp2", b=192_000), RATE_HZ, 2 * 1152),
    "two-recordings.mp3": (lambda: mp3() + mp3(), RATE_HZ, N_SAMPLES + 3 * 1152),
    "two-recordings.ogg": (lambda: 2 * written("OGG"), RATE_HZ, N_SAMPLES + 1024),
    "two-recordings.opus": (lambda: 2 * encoded("ogg", "libopus", 48_000), 48_000, 3 * 48_000 + 1024),
    "android.opus": (lambda: ogg_pages(encoded("ogg", "libopus", 48_000), no_end_flag), 48_000, 2 * 960),
    "android.ogg": (lambda: ogg_pages(written("OGG"), no_end_flag), RATE_HZ, 0),
    "zero.wav": (lambda: wav(0, 0), RATE_HZ, 0),
    "zero-data.wav": (lambda: wav(36 + 2 * N_SAMPLES, 0), RATE_HZ, 0),
    "apple.wav": (lambda: wav(4088, 0, filler=4008), RATE_HZ, 0),
    "pipe.wav": (lambda: wav(0xFFFF_FFFF, 0xFFFF_FFFF), RATE_HZ, 0),
    "sox-pipe.wav": (lambda: wav(0x7FFF_F024, 0x7FFF_F000), RATE_HZ, 0),
    "pipe.flac": (lambda: flac(0), RATE_HZ, 0),
    "twice.flac": (lambda: flac(2 * N_SAMPLES), RATE_HZ, 0),
    "half-said.flac": (lambda: flac(N_SAMPLES // 2), RATE_HZ, 0),
    "absurd.flac": (lambda: flac((1 << 36) - 1), RATE_HZ, 0),
    "to-the-end.caf": (lambda: unfinished_caf(-1), RATE_HZ, 0),
    "zero.caf": (lambda: unfinished_caf(0), RATE_HZ, 0),
    "pipe.au": (lambda: unfinished_au(0xFFFF_FFFF), RATE_HZ, 0),
}
"""What must be read: as long as it is, to the sample where its container says so."""

REFUSED: dict[str, tuple[Callable[[], bytes], str, str]] = {
    # name: maker, what the message says, what the hint says
    "no-index.m4a": (lambda: half(encoded("ipod", "aac")), "truncated: the index .* is missing", "copy it again"),
    "cut.m4a": (
        lambda: half(encoded("ipod", "aac", movflags="faststart")),
        "truncated: it ends earlier than its index says",
        "copy or record it again",
    ),
    "cut.opus": (lambda: half(encoded("ogg", "libopus", 48_000)), "is truncated", "copy or record it again"),
    "cut.mp3": (lambda: half(mp3()), "is truncated", "copy or record it again"),
    "cut.flac": (lambda: half(flac(N_SAMPLES)), "is truncated: it ends after 1", "copy or record it again"),
    "cut.w64": (lambda: half(written("W64")), "is truncated", "copy or record it again"),
    "cut.caf": (lambda: half(written("CAF")), "is truncated", "copy or record it again"),
    "cut.au": (lambda: half(written("AU")), "is truncated", "copy or record it again"),
    "zero.rf64": (unfinished_rf64, "header was never finished", "repair"),
    "zero.au": (lambda: unfinished_au(0), "header that was never finished", "sox --ignore-length"),
    "mute.mp4": (lambda: film(with_sound=False), "holds no sound, only pictures", "leave it out"),
    "protected.m4a": (
        lambda: encoded("ipod", "aac").replace(b"mp4a\0\0", b"drms\0\0", 1),
        "protected|codec that cannot be decoded",
        "recording of your own|export",
    ),
    "two-rates.aac": (
        lambda: encoded("adts", "aac") + encoded("adts", "aac", 16_000),
        "changes its sample rate from 44100 to 16000 Hz after 3",
        "at one sample rate",
    ),
    "playlist.m4a": (lambda: b"#EXTM3U\n#EXTINF:3,\nfile:///etc/passwd\n", "cannot be decoded", "record it again"),
}
"""What must be refused, in words that name cause and cure."""


def main(folder: Path) -> None:
    """Write all files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (make, *_) in (GOOD | REFUSED).items():
        (folder / name).write_bytes(make())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
