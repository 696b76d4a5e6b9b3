"""The settings class of each section of umc.toml; loaded when it is asked for."""

from importlib import import_module

from umc_cli.config import Settings

_CLASSES = {
    "convert": "convert.ConvertSettings",
    "train": "train.TrainSettings",
    "pretrain": "pretrain.PretrainSettings",
    "train-sec": "train_sec.TrainSecSettings",
    "measure-ir": "measure_ir.MeasureIrSettings",
    "make-stimulus": "measure_ir.MakeStimulusSettings",
    "pair": "pair.PairSettings",
    "synth-fr": "synth_fr.SynthFrSettings",
    "simulate": "simulate.SimulateSettings",
    "eval": "eval_sec.EvaluateSecSettings",
    "eval-conversion": "eval_conversion.EvaluateConversionSettings",
    "eval-layers": "eval_layers.EvaluateLayersSettings",
}


def settings_of(section: str) -> type[Settings]:
    """Return the settings class of a section of umc.toml."""
    module, _, name = _CLASSES[section].partition(".")
    schema: type[Settings] = getattr(import_module(f"umc_cli.settings.{module}"), name)
    return schema
