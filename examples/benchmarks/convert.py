"""Speed and memory of `umc convert`, every ratio measured side by side in one run.

    python examples/benchmarks/convert.py [--json] [--quick]

Needs the extra `bench`. Prints a table on standard error; with --json one JSON object on standard output. Absolute
figures depend on the machine; the ratios are what to compare. `--quick` checks that everything runs, in a minute.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch

from umc_cli.audio.log_mel import log_mel
from umc_cli.config import find_workspace
from umc_cli.conversion.engines import build_engine
from umc_cli.conversion.generator import Generator
from umc_cli.conversion.generator_checkpoint import save_generator
from umc_cli.conversion.generator_settings import GENERATOR_PRESETS
from umc_cli.conversion.normalisation import Normalisation
from umc_cli.response.device import DeviceRegistry
from umc_cli.response.difference import fr_difference_db
from umc_cli.runtime import cpu_count
from umc_cli.settings.convert import ConvertSettings
from umc_cli.silence import SILENT
from umc_cli.simulation.sound_events import write_sound_events
from umc_cli.workflows.convert import convert

SOURCE = "xperia1v"
TARGETS = ("pixel3", "pixel3-back", "xperia1", "xperia1ii", "xperia1iii", "xperia1iv", "xperia1v-top")
UMC = (sys.executable, "-m", "umc_cli")
BATCH = 32
GENERATOR_FLOP = 2 * 4.7595e9
"""Per segment, ngf 64 and 9 blocks (counted by tests/conversion/test_generator.py)."""

WANTED = {
    "end_to_end_over_generator": 0.90,
    "generator_over_bf16_matmul": 0.75,
    "generator_over_torch_fp32_eager": 6.0,
    "log_mel_over_librosa": 4.0,
    "eq_over_audiomentations": 12.0,
}


def in_turn(first: Callable[[], object], second: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the median seconds of two calls, measured in turn so that both meet the same machine."""
    times: tuple[list[float], list[float]] = ([], [])
    for call in (first, second):
        call()
    for _ in range(repeats):
        for call, taken in zip((first, second), times, strict=True):
            started = time.perf_counter()
            call()
            taken.append(time.perf_counter() - started)
    return statistics.median(times[0]), statistics.median(times[1])


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of a call, after one that does not count."""
    return in_turn(call, lambda: None, repeats)[0]


def measure_log_mel(repeats: int) -> dict[str, float]:
    """Ours and librosa's, both on one core, the same segments."""
    import librosa

    random = np.random.default_rng(0)
    waveforms = (0.1 * random.standard_normal((64, 20_480))).astype(np.float32)
    batch = torch.from_numpy(waveforms)

    def with_librosa() -> None:
        for waveform in waveforms:
            power = librosa.feature.melspectrogram(y=waveform, sr=22_050, n_fft=1024, hop_length=256, n_mels=80)[:, :80]
            10 * np.log10(np.maximum(power, 1e-10))

    torch.set_num_threads(1)
    ours, theirs = in_turn(lambda: log_mel(batch), with_librosa, repeats)
    torch.set_num_threads(cpu_count())
    return {"log_mel_over_librosa": theirs / ours, "log_mel_segments_per_s": 64 / ours}


def measure_generator(repeats: int) -> dict[str, float | str]:
    """The engine that `auto` takes, over the plain torch module and over matrix products."""
    torch.manual_seed(0)
    generator = Generator(GENERATOR_PRESETS["paper"]).eval()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name, engine = build_engine(generator, device=device, threads=cpu_count())
    batch = torch.randn(BATCH, 80, 80, device=device)
    registry = DeviceRegistry()
    difference = torch.from_numpy(fr_difference_db(registry.get(SOURCE), registry.get(TARGETS[0]))).unsqueeze(0)
    with torch.inference_mode():
        gamma, beta = (value.to(device) for value in generator.film_encoder(difference))
        eager = generator.to(device)
        matrix = torch.randn(2048, 2048, device=device)
        ours, plain = in_turn(
            lambda: engine.trunk(engine.stem(batch), gamma, beta),
            lambda: eager(batch, difference.to(device).expand(BATCH, -1)),
            repeats,
        )
        fp32 = 2 * 2048**3 / seconds(lambda: matrix @ matrix, repeats)
        bf16 = bf16_matmul_flops(device)
    flops = GENERATOR_FLOP * BATCH / ours
    return {
        "generator_engine": name,
        "generator_precision": engine.precision.value,
        "generator_segments_per_s": BATCH / ours,
        "generator_over_torch_fp32_eager": plain / ours,
        "generator_over_bf16_matmul": flops / bf16,
        "generator_over_fp32_matmul": flops / fp32,
        "bf16_matmul_gflops": bf16 / 1e9,
        "fp32_matmul_gflops": fp32 / 1e9,
    }


def bf16_matmul_flops(device: torch.device) -> float:
    """Return FLOP/s of the largest square bf16 product, up to 4096, that a processor without bf16 ends in seconds."""
    size, rate = 256, 0.0
    while size <= 4096:
        matrix = torch.randn(size, size, device=device).bfloat16()
        taken = seconds(lambda matrix=matrix: matrix @ matrix, 1)  # type: ignore[misc]
        rate = 2 * size**3 / taken
        if taken > 1.0:
            break
        size *= 2
    return rate


def measure_end_to_end(folder: Path, generator_seconds: float) -> dict[str, float]:
    """Files to finished shards through the generator, over the generator alone on ready tensors.

    The run is as long as keeps the generator alone busy for `generator_seconds`; loading and compiling it count too.
    """
    generator = Generator(GENERATOR_PRESETS["paper"]).eval()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    _, engine = build_engine(generator, device=device, threads=cpu_count())
    ready = torch.randn(BATCH, 80, 80, device=device)
    with torch.inference_mode():
        gamma, beta = (value.to(device) for value in generator.film_encoder(torch.zeros(1, 128)))

    def generator_alone(n_batches: int) -> float:
        """Return segments x targets per second."""
        started = time.perf_counter()
        for _ in range(n_batches):
            stem = engine.stem(ready)
            for _ in TARGETS:
                engine.trunk(stem, gamma, beta)
        return n_batches * BATCH * len(TARGETS) / (time.perf_counter() - started)

    generator_alone(1)
    before = generator_alone(5)
    n_clips = max(1, round(generator_seconds * before / len(TARGETS) / 5))
    write_clips(folder / "data" / SOURCE / "noise", n_clips, 5 * 20_480)
    workspace = find_workspace(folder)
    save_generator(
        workspace.checkpoints / "generator.safetensors", generator, Normalisation(mean_db=-50.0, std_db=20.0)
    )
    settings = ConvertSettings(source=SOURCE, targets=TARGETS, converter="film_gan", batch_size=BATCH, overwrite=True)
    before = generator_alone(5)
    report = convert(workspace, settings, None, SILENT)
    alone = statistics.harmonic_mean([before, generator_alone(5)])
    rate = report.n_segments * len(TARGETS) / report.seconds
    return {
        "end_to_end_over_generator": rate / alone,
        "end_to_end_segments_x_targets_per_s": rate,
        "end_to_end_seconds": report.seconds,
        "end_to_end_peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


RIVAL = """
import sys, time
from pathlib import Path
import librosa, numpy as np, soundfile
from audiomentations import ApplyImpulseResponse

clips, responses, output = (Path(name) for name in sys.argv[1:4])
effects = {path.stem: ApplyImpulseResponse(ir_path=path, p=1.0) for path in sorted(responses.glob("*.wav"))}

def convert(clip):
    samples, rate = soundfile.read(clip, dtype="float32")
    for target, effect in effects.items():
        filtered = effect(samples, sample_rate=rate)
        power = librosa.feature.melspectrogram(y=filtered, sr=rate, n_fft=1024, hop_length=256, n_mels=80)
        np.save(output / f"{clip.stem}-{target}.npy", 10 * np.log10(np.maximum(power, 1e-10)))

names = sorted(clips.glob("*.flac"))
convert(names[0])  # loads what is loaded late
started = time.perf_counter()
for clip in names:
    convert(clip)
print(time.perf_counter() - started)
"""


def measure_eq(folder: Path, n_clips: int, repeats: int) -> dict[str, float]:
    """The same clips to the same seven targets: ours with `eq`, theirs with impulse responses, one process each.

    Both tell how long they worked once their libraries were loaded.
    """
    clips = folder / "data" / SOURCE / "noise"
    write_clips(clips, n_clips, 5 * 20_480)
    responses, theirs_output = folder / "responses", folder / "npy"
    responses.mkdir()
    theirs_output.mkdir()
    registry = DeviceRegistry()
    for target in TARGETS:
        write_impulse_response(
            responses / f"{target}.wav", fr_difference_db(registry.get(SOURCE), registry.get(target))
        )
    ours = [*UMC, "-C", str(folder), "convert", "--source", SOURCE, "--targets", ",".join(TARGETS)]
    ours += ["--converter", "eq", "--overwrite", "--quiet", "--json"]
    theirs = [sys.executable, "-c", RIVAL, str(clips), str(responses), str(theirs_output)]

    def output_of(command: list[str], cores: set[int]) -> str:
        pin = lambda: os.sched_setaffinity(0, cores)  # noqa: E731
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, preexec_fn=pin).stdout

    all_cores = os.sched_getaffinity(0)
    one_core = {min(all_cores)}
    times = [
        (
            json.loads(output_of(ours, all_cores))["seconds"],
            json.loads(output_of(ours, one_core))["seconds"],
            float(output_of(theirs, all_cores)),
        )
        for _ in range(repeats)
    ]
    ours_taken, ours_on_one_core, theirs_taken = (statistics.median(column) for column in zip(*times, strict=True))
    return {
        "eq_over_audiomentations": theirs_taken / ours_taken,
        "eq_on_one_core_over_audiomentations": theirs_taken / ours_on_one_core,
        "eq_segments_x_targets_per_s": 5 * n_clips * len(TARGETS) / ours_taken,
    }


def write_impulse_response(path: Path, difference_db: np.ndarray) -> None:
    """Write a linear-phase filter of 1,024 taps that has the difference as its response."""
    from scipy.signal import firwin2

    centres = np.array(DeviceRegistry().get(SOURCE).band_centres_hz)
    frequencies = np.concatenate([[0], centres, [11_025]])
    gains = 10 ** (np.concatenate([difference_db[:1], difference_db, [-200]]) / 20)
    soundfile.write(path, firwin2(1023, frequencies, gains, fs=22_050), 22_050, subtype="FLOAT")


def measure_memory(folder: Path, counts: tuple[int, int]) -> dict[str, float]:
    """Peak memory of the whole process for few and for many clips."""
    result = {}
    for count in counts:
        workspace = folder / str(count)
        write_clips(workspace / "data" / SOURCE / "noise", count, 20_480)
        command = [*UMC, "-C", str(workspace), "convert", "--source", SOURCE]
        command += ["--targets", ",".join(TARGETS), "--converter", "eq", "--quiet"]
        result[f"peak_rss_mib_{count}_clips"] = peak_rss_mib(command)
        shutil.rmtree(workspace)
    few, many = result.values()
    return {"peak_rss_mib": many, **result, "peak_rss_many_over_few": many / few}


def peak_rss_mib(command: list[str]) -> float:
    """Run a command and return the peak resident memory of its process."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} ended with status {status}")
    return usage.ru_maxrss / 1024


def write_clips(folder: Path, count: int, n_samples: int) -> None:
    """Write FLAC clips: synthesised sounds in noise, cut or repeated to one length."""
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        events = [soundfile.read(path)[0] for path in write_sound_events(Path(scratch), 4, -60.0, seed=0)]
    for index in range(count):
        soundfile.write(folder / f"{index:05d}.flac", np.resize(events[index % len(events)], n_samples), 22_050)


def main() -> None:
    """Measure everything, one thing after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    parser.add_argument("--quick", action="store_true", help="small sizes: checks that it runs")
    options = parser.parse_args()
    quick = options.quick
    figures: dict[str, float | str] = {"machine": platform.processor() or platform.machine(), "cores": cpu_count()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures |= measure_log_mel(2 if quick else 15)
        figures |= measure_eq(folder / "eq", 5 if quick else 300, 1 if quick else 3)
        figures |= measure_memory(folder / "memory", (10, 50) if quick else (500, 5000))
        figures |= measure_generator(1 if quick else 5)
        figures |= measure_end_to_end(folder / "generator", 2 if quick else 100)
    for name, value in figures.items():
        wanted = f"   wanted >= {WANTED[name]}" if name in WANTED else ""
        sys.stderr.write(
            f"{name:40s} {value:>12.3f}{wanted}\n" if isinstance(value, float) else f"{name:40s} {value:>12}\n"
        )
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
