"""Settings of `umc convert`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from umc_cli.audio.names import plain_name
from umc_cli.audio.segment_settings import ChannelSegmentSettings, SegmentSettings
from umc_cli.config import MACHINE, RECORDINGS, RESULT, Names, Option
from umc_cli.conversion.chosen.conversion_settings import ConversionSettings
from umc_cli.errors import did_you_mean
from umc_cli.machine_settings import WorkerSettings
from umc_cli.shards.audio_settings import AudioSettings
from umc_cli.shards.compression import Compression
from umc_cli.shards.part import Part, parse_part
from umc_cli.split_settings import SplitSettings
from umc_cli.splits import SPLIT_NAMES

SECTION = "convert"

Labels = Annotated[Names, AfterValidator(lambda labels: tuple(plain_name(label) for label in labels))]
Channel = Annotated[
    Annotated[int, Field(ge=1)] | None, BeforeValidator(lambda value: None if value == "mix" else value)
]
"""Counted from 1; `mix`, the mean of all, is None."""
RunPart = Annotated[
    Part,
    BeforeValidator(lambda value: parse_part(value) if isinstance(value, str) else value),
    PlainSerializer(str),
]
"""Given as `I/N`."""
KINDS = ("shards", "flac", "wav")


def _known_kinds(kinds: tuple[str, ...]) -> tuple[str, ...]:
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"{kind!r} cannot be written: {did_you_mean(kind, KINDS, 'kinds')}")
    if not kinds:
        raise ValueError(f"name at least one of {', '.join(KINDS)}")
    return tuple(kind for kind in KINDS if kind in kinds)


Kinds = Annotated[Names, AfterValidator(_known_kinds)]


class ConvertSettings(ConversionSettings, SegmentSettings, SplitSettings, WorkerSettings):
    """Settings of `umc convert`; also the section `[convert]` of umc.toml."""

    label: Annotated[Labels, Option(RECORDINGS, is_whole=True, default="all")] = ()
    """Only recordings with this label; may be repeated."""
    split: Annotated[Names, Option(RECORDINGS, words=SPLIT_NAMES, is_whole=True, default="all")] = ()
    """Only this split (train, val, test or train-converter); may be repeated."""
    channel: Annotated[Channel, Option(RECORDINGS, metavar="N", default="mix")] = None
    """Channel of the source's recordings to take, counted from 1, or mix (the mean of all)."""
    output: Annotated[Path | None, Option(RESULT, ("-o",), default="converted")] = None
    """Output folder."""
    write: Annotated[Kinds, Option(RESULT, words=KINDS)] = ("shards",)
    """What to write, comma-separated: shards, and whole recordings as flac or wav."""
    rate: Annotated[
        Annotated[int, Field(ge=4_000, le=655_350)] | None, Option(RESULT, metavar="HZ", default="the recording's own")
    ] = None
    """Sample rate of the audio files, in Hz."""
    bit_depth: Annotated[Literal["16", "24", "float"], Option(RESULT)] = "24"
    """Samples of the audio files: 16 or 24 bit, or float (wav only)."""
    keep_channels: Annotated[bool, Option(RESULT)] = False
    """Audio files have all channels of the recording, each converted on its own."""
    gain_db: Annotated[
        Annotated[float, Field(ge=-120, le=0)] | None,
        Option(RESULT, metavar="DB", default="0, less where it would clip"),
    ] = None
    """Gain of all audio files, in dB."""
    with_source: Annotated[bool, Option(RESULT)] = False
    """Also keep the source's recordings as they are, as shards of their own."""
    update: Annotated[bool, Option(RESULT)] = False
    """Convert only recordings that are new or changed since the earlier run, and leave out those that are gone."""
    overwrite: Annotated[bool, Option(RESULT)] = False
    """Remove the shards of an earlier run with other settings."""
    shard_size: Annotated[int, Field(ge=1), Option(RESULT)] = 1024
    """Maximum segments per shard."""
    dtype: Annotated[Literal["float16", "float32"], Option(RESULT)] = "float16"
    """Number format of the spectrograms: float16 or float32."""
    compression: Annotated[Compression, Option(RESULT)] = "lz4"
    """Of the spectrograms: lz4 (fast, readers need hdf5plugin), or gzip or none (any HDF5 program reads them)."""
    compute_device: Annotated[str, Option(MACHINE, words=("auto", "cpu", "cuda", "cuda:all", "mps"))] = "auto"
    """cpu, cuda, cuda:N, mps (Apple's, never tried), auto (CUDA where there is one), or cuda:all (every GPU, a process
    each)."""
    processes: Annotated[
        Annotated[int, Field(ge=1, le=1024)] | None,
        Option(MACHINE, metavar="N", default="1; one per GPU with cuda:all"),
    ] = None
    """Processes of this machine that make the shards together."""
    batch_size: Annotated[Annotated[int, Field(ge=1)] | None, Option(MACHINE, default="32; 256 on a GPU")] = None
    """Segments to convert at once."""
    reader_timeout_s: Annotated[float, Field(gt=0, le=86_400), Option(MACHINE)] = 300.0
    """Maximum time to read one recording, in s; after that it counts as failed."""
    part: Annotated[RunPart | None, Option(MACHINE, metavar="I/N", default="the whole run")] = None
    """Make only part I (from 1) of N, as one of N processes that write to the same output."""
    cluster: Annotated[str | None, Option(MACHINE, default="this process alone")] = None
    """Let Ray make the shards: auto starts it on this machine, HOST:PORT or ray://HOST:PORT joins a cluster."""
    dry_run: Annotated[bool, Option()] = False
    """Say what would be read, made and kept, how long it takes and how much room it needs; write nothing."""
    strict: Annotated[bool, Option()] = False
    """Refuse to begin if a target of `all` has to be left out."""

    def batch_size_on(self, device: str) -> int:
        """Return how many segments are converted at once on a compute device."""
        return self.batch_size or (256 if device.startswith("cuda") else 32)

    def without_effect(self) -> dict[str, str]:
        """Return the settings that have no effect beside the others, and why."""
        reasons = self.without_network(() if self.converter == "auto" else (self.converter,))
        if "shards" not in self.write:
            reasons |= dict.fromkeys(("dtype", "compression"), "no shards are written (--write)")
        if self.audio is None:
            reasons["bit_depth"] = "no audio files are written (--write shards,flac)"
        return reasons

    @property
    def in_processes(self) -> bool:
        """Tell whether processes of their own make the shards."""
        return self.compute_device == "cuda:all" or (self.processes or 1) > 1

    @property
    def segments(self) -> ChannelSegmentSettings:
        """Return which segments the source's recordings give."""
        fields = self.model_dump(include=set(ChannelSegmentSettings.model_fields))
        return ChannelSegmentSettings.model_validate(fields)

    @property
    def audio(self) -> AudioSettings | None:
        """Return how the audio files are made; None where none are wanted."""
        kinds = tuple(kind for kind in self.write if kind != "shards")
        if not kinds:
            return None
        return AudioSettings(kinds, self.rate, self.bit_depth, self.channel, self.keep_channels)
