from dataclasses import replace
from pathlib import Path

from tests.conversion.devices import device, ingredients
from umc_cli.conversion.level_quantiles import read_segment_levels
from umc_cli.conversion.measuring.ways import way_back


def test_the_way_back_has_the_weights_that_were_adapted_to_both_devices(tmp_path: Path) -> None:
    known = ingredients(device("a", 0.0, -80.0), device("b", 0.0, -80.0), device("c", 0.0, -80.0))
    adapted = replace(known, targets=("b", "c"), adapted={"b": tmp_path / "refiner.safetensors"})
    backs = {
        target: way_back("refiner", adapted, target, (), lambda _: None, read_segment_levels)
        for target in adapted.targets
    }
    assert {target: (back.source, back.targets) for target, back in backs.items()} == {
        "b": ("b", ("a",)), "c": ("c", ("a",))
    }  # fmt: skip
    assert backs["b"].adapted == {"a": tmp_path / "refiner.safetensors"}
    assert backs["c"].adapted == {}
