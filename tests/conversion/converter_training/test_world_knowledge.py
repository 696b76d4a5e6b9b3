"""What is known of a simulated world, and that it was not learned from what is converted."""

import numpy as np
import pytest
import torch

from tests.samples import noise
from umc_cli.conversion.converter_training.pretraining import draw_batch
from umc_cli.conversion.converter_training.pretraining_world import TrainingWorld, WorldSettings, make_training_world
from umc_cli.conversion.converter_training.world_knowledge import exact_knowledge, ways_of_knowing
from umc_cli.response.device import N_BANDS
from umc_cli.simulation.simulated_device import SimulatedDeviceSettings, build_device
from umc_cli.simulation.world import World, record_segments

RESPONSES_DB = np.stack([np.zeros(N_BANDS), np.linspace(-5, 5, N_BANDS)])
SOUNDS = [noise(1.0, seed=index) * np.linspace(1, 0, 22_050, dtype=np.float32) for index in range(14)]


@pytest.fixture(scope="module")
def world() -> TrainingWorld:
    return make_training_world(SOUNDS, RESPONSES_DB, WorldSettings(3, 14, "wide"), 0, ["a", "b"] * 7)


def test_ways_of_knowing_serve_the_segments_of_the_other_half(world: TrainingWorld) -> None:
    assert world.learned_from.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    for way in range(8):
        assert set(world.half[world.rows_for(way)].tolist()) == {1 - int(world.learned_from[way])}


def test_a_batch_holds_no_segment_that_its_tables_were_learned_from(world: TrainingWorld) -> None:
    batch = draw_batch(world, 64, np.random.default_rng(0))
    for row in range(64):
        same = (world.log_mel.float() == batch.source[row]).flatten(2).all(dim=2)
        half = int(world.half[int(same.nonzero()[0, 1])])
        tables = (world.quantiles_db == batch.source_quantiles_db[row]).flatten(2).all(dim=2)
        assert {int(world.learned_from[way]) for way in tables.nonzero()[:, 0]} == {1 - half}


def plain_world(gain_db: float) -> World:
    """Two devices that differ by a gain and in nothing else."""
    devices = []
    for name, sensitivity_db in (("a", 0.0), ("b", gain_db)):
        settings = SimulatedDeviceSettings(
            id=name,
            microphone_db=(0.0,) * N_BANDS,
            sensitivity_db=sensitivity_db,
            noise_level_dbfs=-90.0,
            noise_slope_db_per_octave=0.0,
        )
        devices.append(build_device(settings))
    sounds = [0.1 * sound for sound in SOUNDS]
    log_mels = [record_segments(device, sounds, np.random.default_rng(0)).half() for device in devices]
    owners = torch.repeat_interleave(torch.arange(14), len(log_mels[0]) // 14)
    return World(torch.stack(log_mels), [device.record for device in devices], owners)


def test_exact_knowledge_is_the_records_and_the_quantiles_of_the_rows() -> None:
    world = plain_world(6.0)
    rows = np.arange(4)
    known = exact_knowledge(world, [rows, rows])
    torch.testing.assert_close(known.level_db[1] - known.level_db[0], torch.full((80, 1), 6.0), atol=0.05, rtol=0)
    levels = world.log_mel[0, :4, 30].float().flatten().numpy()
    assert known.quantiles_db[0, 30, 0] == pytest.approx(np.quantile(levels, 0.025), abs=1e-4)


def test_every_way_finds_the_gain_within_its_errors() -> None:
    world = plain_world(6.0)
    gains, floors = [], []
    for seed in range(15):
        for known in ways_of_knowing(world, np.arange(0, 14, 2), np.random.default_rng(seed)):
            gains.append((known.level_db[1] - known.level_db[0]).mean().item())
            floors.append(known.floor_db[0].mean().item())
    assert np.mean(gains) == pytest.approx(6, abs=0.7)
    assert 0.5 < np.std(gains) < 3  # it is not known exactly
    assert np.std(floors) > 1
