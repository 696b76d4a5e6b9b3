"""What the augmentations of `umc train-sec` may know of a run."""

import numpy as np

from umc_cli.audio.feature_settings import segment_shape
from umc_cli.config import Workspace
from umc_cli.conversion.chosen.targets import Targets
from umc_cli.response.device import N_BANDS, DeviceRegistry
from umc_cli.sec.augmentations.contract import AugmentationMaterial
from umc_cli.settings.train_sec import TrainSecSettings


def augmentation_material(
    workspace: Workspace, settings: TrainSecSettings, targets: Targets, mean_db: float, std_db: float
) -> AugmentationMaterial:
    """Return what augmentations may know: the responses of the targets, never of devices that are not named."""
    registry = DeviceRegistry(workspace.devices)
    known = [registry.get(name) for name in targets.ids if name in registry]
    own = registry.get(settings.source) if settings.source in registry else None
    return AugmentationMaterial(
        responses_db=np.array([device.frequency_response_db for device in known]).reshape(-1, N_BANDS),
        mean_db=mean_db,
        std_db=std_db,
        source_response_db=np.array(own.frequency_response_db) if own else None,
        sample_rate_hz=settings.cut.read_rate_hz,
        shape=segment_shape(settings.cut),
    )
