"""Settings of `umc train`."""

from typing import Annotated

from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.config import MACHINE, RECORDINGS, RUN, Names, Option
from umc_cli.conversion.converter_training.adversarial_settings import AdversarialSettings
from umc_cli.machine_settings import ComputeDeviceSettings, WorkerSettings
from umc_cli.split_settings import SplitSettings
from umc_cli.training.run_options import RunSettings

SECTION = "train"


class TrainSettings(
    RunSettings, AdversarialSettings, SegmentSettings, SplitSettings, WorkerSettings, ComputeDeviceSettings
):
    """Settings of `umc train`; also the section `[train]` of umc.toml. What is not given comes from the preset."""

    preset: Annotated[str, Option(RUN, words=("paper", "cpu", "smoke"))] = "cpu"
    """paper (as published), cpu (for two processors) or smoke (under a minute; checks that everything works)."""
    name: Annotated[str | None, Option(RUN, default="the preset, or the pair")] = None
    """Name of the run's folder."""
    pair: Annotated[str | None, Option(RUN, metavar="A:B", default="one generator for all devices")] = None
    """Two devices: train one generator from A to B and one from B to A, without conditions (CycleGAN)."""
    devices: Annotated[Names, Option(RECORDINGS, devices=True, default="all with recordings")] = ()
    """Devices to train on, comma-separated."""
    publish: Annotated[
        bool | None, Option(RUN, default="if better on held-out data than the current or shipped weights")
    ] = None
    """Copy the kept weights of a finished run to the workspace's checkpoints, where umc convert takes them."""
    compile: Annotated[bool, Option(MACHINE)] = False
    """Compile the generator (torch.compile; needs a C++ compiler): the first step takes minutes, the others less time.
    On CUDA, which this has never run on, with channels last. Changes results by rounding."""

    def without_effect(self) -> dict[str, str]:
        """Return the settings that have no effect beside the others, and why."""
        if self.pair is None:
            return {}
        return {
            "devices": "--pair names the devices",
            **dict.fromkeys(("film_encoder", "condition"), "generators of a --pair have no condition"),
        }

    @property
    def run_name(self) -> str:
        """Return the name of the run's folder."""
        return self.name or (self.pair.replace(":", "-") if self.pair else self.preset)
