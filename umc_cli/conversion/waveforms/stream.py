"""Recordings of any sample rate and length, block by block: what comes in goes out, as long as it was.

A copy at 22,050 Hz is given the levels that the converter decides on. What that adds or takes away is brought back to
the recording's own rate. Above 11,025 Hz, where converters see nothing, gain and noise of the highest bin go on.

    out = gain(t) in + level(t) noise + up(followed - gain(t) down(in) - level(t) down(noise))

So a conversion that changes nothing gives back its input, whatever the resampler does at the edge of its band.
"""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS, SAMPLE_RATE_HZ
from umc_cli.audio.mel_scale import mel_band_edges_hz
from umc_cli.conversion.waveforms.blending import SEGMENT_HOP, ConvertSegments, blended
from umc_cli.conversion.waveforms.following import Followed, KnownTarget, follow, source_of
from umc_cli.conversion.waveforms.spectrum import HOP, N_BINS, WINDOW

Samples = NDArray[np.float32]

_CHUNK_FRAMES = 32 * SEGMENT_HOP
"""Frames that are converted at once: 15 s."""
_AROUND_FRAMES = 3 * SEGMENT_HOP
"""Computed before and after them and thrown away: what lies further off does not reach a chunk."""
_BEYOND = WINDOW // HOP - 1
"""Frames before the first and after the last one that samples reach into."""
_USED_BAND = 0.9
"""Share of the band of a recording below 22,050 Hz that its own filter leaves alone."""


def convert_blocks(
    blocks: Iterable[Samples],
    rate_hz: int,
    convert: ConvertSegments,
    known: Mapping[str, KnownTarget],
    seed: np.random.SeedSequence,
) -> Iterator[dict[str, Samples]]:
    """Yield what every target would have recorded, block by block.

    Shape: blocks [n] float32, mono, full scale 1, at `rate_hz` -> for each target [m] at the same rate; together as
    long as what came in. `seed`: of the noise. Memory does not depend on the length, and no sample on the blocks' size.
    """
    # Noise of power 1 at 22,050 Hz, and as strong per Hz at the recording's own rate.
    random, deviation = np.random.default_rng(seed), np.float32(np.sqrt(rate_hz / SAMPLE_RATE_HZ))
    source, noise = _Signal(rate_hz), _Signal(rate_hz)
    followers = {target: _Follower(rate_hz) for target in known}
    reachable, edge_bin = _reachable_bands(rate_hz), _edge_bin(rate_hz)

    def chunk(done: int, end: int, stop: int) -> dict[str, Samples]:
        """Convert the frames from `done` to `end`, as what lies before `stop` wants it."""
        first = max(0, done - _AROUND_FRAMES)
        frames = range(first - _BEYOND, stop + _BEYOND)
        part = source_of(source.frames(frames), noise.frames(frames), reachable)
        wanted_db = blended(part.levels_db[_BEYOND:-_BEYOND], convert, tuple(known))
        for target, levels_db in wanted_db.items():
            followed = follow(part, _with_ends(levels_db, part.levels_db), known[target], edge_bin)
            followers[target].add(followed, frames.start, range(done, end), source, noise)
        taken = {target: follower.take(source, noise) for target, follower in followers.items()}
        for signal in (source, noise):
            signal.high.forget(min(follower.taken for follower in followers.values()))
        return taken

    done = 0

    def whole_chunks() -> Iterator[dict[str, Samples]]:
        nonlocal done
        while source.low.end >= (stop := done + _CHUNK_FRAMES + _AROUND_FRAMES) * HOP + WINDOW:
            yield chunk(done, done + _CHUNK_FRAMES, stop)
            done += _CHUNK_FRAMES
            for signal in (source, noise):
                signal.low.forget((done - _AROUND_FRAMES - _BEYOND) * HOP - WINDOW)

    for samples in blocks:
        source.add(samples)
        noise.add(deviation * random.standard_normal(len(samples), np.float32))
        yield from whole_chunks()
    source.finish()
    noise.finish()
    yield from whole_chunks()
    if source.high.end:
        n_frames = max(1, -(-source.low.end // HOP))
        results = chunk(done, n_frames, n_frames)
        yield {
            target: np.concatenate([samples, followers[target].rest(source, noise)])
            for target, samples in results.items()
        }


class _Line:
    """Samples that are added at the end and forgotten at the beginning."""

    def __init__(self) -> None:
        self._samples = np.empty(0, np.float32)
        self._first = 0

    @property
    def end(self) -> int:
        """Return how many samples were ever added."""
        return self._first + len(self._samples)

    def add(self, samples: Samples) -> None:
        self._samples = np.concatenate([self._samples, samples]) if len(self._samples) else samples

    def part(self, start: int, stop: int) -> Samples:
        """Return samples by their place; zeros before the first and after the last one."""
        inside = self._samples[max(0, start - self._first) : max(0, stop - self._first)]
        before = max(0, min(self._first, stop) - start)
        after = stop - start - before - len(inside)
        return np.pad(inside, (before, after)) if before or after else inside

    def forget(self, first: int) -> None:
        """Forget what lies before `first`."""
        if first > self._first:
            self._samples, self._first = self._samples[first - self._first :].copy(), first


class _Signal:
    """A signal at the recording's own rate (high), and at 22,050 Hz (low)."""

    def __init__(self, rate_hz: int) -> None:
        self.high, self.low = _Line(), _Line()
        self._to_low = _Resampler(rate_hz, SAMPLE_RATE_HZ)

    def add(self, samples: Samples) -> None:
        self.high.add(samples)
        self.low.add(self._to_low(samples))

    def finish(self) -> None:
        self.low.add(self._to_low.rest())

    def frames(self, frames: range) -> Tensor:
        """Return the samples of consecutive frames. Shape: [256 (n - 1) + 1024]."""
        start = frames.start * HOP - WINDOW // 2
        return torch.from_numpy(self.low.part(start, start + (len(frames) - 1) * HOP + WINDOW))


class _Follower:
    """Brings what a target's levels made of the copy back to the recording's own rate."""

    def __init__(self, rate_hz: int) -> None:
        self._frames_per_sample = SAMPLE_RATE_HZ / rate_hz / HOP
        self._to_high = _Resampler(SAMPLE_RATE_HZ, rate_hz)
        self._change = _Line()
        self._edges = np.empty((0, 2), np.float32)
        """[n, 2]: gain and noise of each frame from `_first_edge` on, and of the one after the last."""
        self._first_edge = 0
        self.taken = 0
        """Samples that were returned."""

    def add(self, followed: Followed, first: int, frames: range, source: _Signal, noise: _Signal) -> None:
        """Note a chunk of `frames`; `followed` begins with frame `first`."""
        edges = torch.stack([followed.edge_gain, followed.edge_noise], dim=1).numpy()
        own = edges[frames.start - first : frames.stop - first + 1]
        self._edges = np.concatenate([self._edges[: frames.start - self._first_edge], own])
        start, stop = frames.start * HOP, min(frames.stop * HOP, source.low.end)
        offset = start - first * HOP + WINDOW // 2
        change = followed.samples[offset : offset + stop - start].numpy()
        self._change.add(self._to_high(change - self._edge(start, stop, 1 / HOP, source.low, noise.low)))

    def take(self, source: _Signal, noise: _Signal) -> Samples:
        """Return the samples that are ready."""
        return self._up_to(min(self._change.end, source.high.end), source, noise)

    def rest(self, source: _Signal, noise: _Signal) -> Samples:
        """Return the samples up to the end of the recording."""
        self._change.add(self._to_high.rest())
        return self._up_to(source.high.end, source, noise)

    def _up_to(self, stop: int, source: _Signal, noise: _Signal) -> Samples:
        start, self.taken = self.taken, stop
        result = self._edge(start, stop, self._frames_per_sample, source.high, noise.high)
        result += self._change.part(start, stop)
        self._change.forget(stop)
        passed = int(stop * self._frames_per_sample) - self._first_edge
        self._edges, self._first_edge = self._edges[passed:], self._first_edge + passed
        return result

    def _edge(self, start: int, stop: int, frames_per_sample: float, source: _Line, noise: _Line) -> Samples:
        """Return source and noise as the edge's gain and level scale them."""
        places = np.arange(start, stop) * frames_per_sample - self._first_edge
        gain, level = (np.interp(places, np.arange(len(self._edges)), edge) for edge in self._edges.T)
        scaled: Samples = gain.astype(np.float32) * source.part(start, stop)
        if level.any():
            scaled += level.astype(np.float32) * noise.part(start, stop)
        return scaled


class _Resampler:
    """soxr as it resamples recordings, or nothing where the rates are the same."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        same = from_hz == to_hz
        self._stream = None if same else soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")

    def __call__(self, samples: Samples) -> Samples:
        return samples if self._stream is None else self._stream.resample_chunk(np.ascontiguousarray(samples))

    def rest(self) -> Samples:
        nothing = np.empty(0, np.float32)
        return nothing if self._stream is None else self._stream.resample_chunk(nothing, last=True)


def _with_ends(wanted_db: Tensor, levels_db: Tensor) -> Tensor:
    """Return the levels that are wanted of the frames before and after a part too: with the gain of its outermost.

    Shape: [n, 80] and [n + 6, 80] -> [n + 6, 80].
    """
    before, inner, after = levels_db[:_BEYOND], levels_db[_BEYOND:-_BEYOND], levels_db[-_BEYOND:]
    return torch.cat([before + (wanted_db[0] - inner[0]), wanted_db, after + (wanted_db[-1] - inner[-1])])


def _reachable_bands(rate_hz: int) -> Tensor:
    """Tell which mel bands a recording of this rate can hold. Shape: [80], 1 or 0."""
    edges = torch.tensor(mel_band_edges_hz(LOG_MEL_SETTINGS.n_mels))
    return (edges[2:] <= min(rate_hz, SAMPLE_RATE_HZ) / 2 + 1).float()  # 1 Hz: the last edge is rounded


def _edge_bin(rate_hz: int) -> int:
    """Return the highest bin that a recording of this rate holds whole."""
    if rate_hz >= SAMPLE_RATE_HZ:
        return N_BINS - 1
    return int(_USED_BAND * rate_hz / 2 / SAMPLE_RATE_HZ * WINDOW)
