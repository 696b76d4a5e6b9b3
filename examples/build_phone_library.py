"""Build the device records that ship with the package from phone makers' published microphone curves.

    python examples/build_phone_library.py <folder> [output folder]

<folder> holds `metadata.csv` and `curves/*.csv` (columns `frequency_hz,response_db`), the curves that Google
and Sony publish in the device trees of Android for their phones. Run it again whenever a rule of the
response package changes: the records under `umc_cli/assets/devices` are its output and nothing else.
"""

import csv
import hashlib
import sys
from pathlib import Path

from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS
from umc_cli.response.device import N_BANDS, Device, SourceFile, write_device
from umc_cli.response.frequency_response import (
    Curve,
    band_centres_hz,
    band_response_db,
    read_curve,
    white_noise_floor_db,
)

LIBRARY_FOLDER = Path(__file__).resolve().parents[1] / "umc_cli" / "assets" / "devices"

CALIBRATION_SPL_DB = 94.0
"""Sound pressure level (1 Pa) that a sensitivity is stated for."""

# A phone's plain id is its primary microphone, the one at the bottom that recordings are made with.
PHONES = {
    "google_pixel3_blueline__builtin_mic_1_bottom": ("pixel3", "Google Pixel 3, bottom microphone"),
    "google_pixel3_blueline__builtin_mic_2_back": ("pixel3-back", "Google Pixel 3, back microphone"),
    "google_pixel3_blueline__builtin_mic_3_bottom": (
        "pixel3-bottom2",
        "Google Pixel 3, second bottom microphone",
    ),
    "sony_kumano_xperia1_5__builtin_mic_1_bottom": ("xperia1", "Sony Xperia 1 / 5, bottom microphone"),
    "sony_kumano_xperia1_5__builtin_mic_2_top": ("xperia1-top", "Sony Xperia 1 / 5, top microphone"),
    "sony_sm8250_xperia1ii_5ii__builtin_mic_1_bottom": (
        "xperia1ii",
        "Sony Xperia 1 II / 5 II, bottom microphone",
    ),
    "sony_sm8250_xperia1ii_5ii__builtin_mic_2_back": (
        "xperia1ii-back",
        "Sony Xperia 1 II / 5 II, back microphone",
    ),
    "sony_sm8350_xperia1iii_5iii__builtin_mic_1_bottom": (
        "xperia1iii",
        "Sony Xperia 1 III / 5 III, bottom microphone",
    ),
    "sony_sm8350_xperia1iii_5iii__builtin_mic_2_top": (
        "xperia1iii-top",
        "Sony Xperia 1 III / 5 III, top microphone",
    ),
    "sony_nagara_xperia1iv_5iv__builtin_mic_1_bottom": (
        "xperia1iv",
        "Sony Xperia 1 IV / 5 IV, bottom microphone",
    ),
    "sony_nagara_xperia1iv_5iv__builtin_mic_2_top": (
        "xperia1iv-top",
        "Sony Xperia 1 IV / 5 IV, top microphone",
    ),
    "sony_sm8550_xperia1v_5v__builtin_mic_1_bottom": (
        "xperia1v",
        "Sony Xperia 1 V / 5 V, bottom microphone",
    ),
    "sony_sm8550_xperia1v_5v__builtin_mic_2_top": ("xperia1v-top", "Sony Xperia 1 V / 5 V, top microphone"),
}


def build_library(phone_responses: Path, output: Path) -> list[Device]:
    """Write one record per row of `<phone_responses>/metadata.csv` to `output`."""
    with (phone_responses / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    devices = [phone_device(phone_responses / "curves" / row["file"], row) for row in rows]
    for device in devices:
        write_device(device, output)
    return devices


def phone_device(curve_path: Path, row: dict[str, str]) -> Device:
    """Return the record of one microphone from its curve and its row of `metadata.csv`."""
    device_id, name = PHONES[curve_path.stem]
    curve = read_curve(curve_path)
    sensitivity_dbfs = float(row["sensitivity_dbfs"])
    noise_dbfs = sensitivity_dbfs + float(row["min_spl"]) - CALIBRATION_SPL_DB
    return Device(
        id=device_id,
        name=name,
        method="imported curve",
        sources=(
            SourceFile(
                file=curve_path.name,
                sha256=hashlib.sha256(curve_path.read_bytes()).hexdigest(),
                origin=row["source"],
            ),
        ),
        note=(
            f"Magnitude response of {row['mic_id']} as the phone's maker publishes it, "
            f"{curve.frequency_hz[0]:g}-{curve.frequency_hz[-1]:g} Hz, here re 1 kHz; constant beyond its "
            f"ends. The noise floor is an assumption: white noise of {noise_dbfs:.1f} dBFS RMS, which the "
            f"sensitivity makes of the quietest level that the maker states ({row['min_spl']} dB SPL)."
        ),
        sample_rate_hz=0,
        sensitivity_dbfs=sensitivity_dbfs,
        trusted_range_hz=trusted_range_hz(curve),
        band_centres_hz=tuple(round(float(centre), 1) for centre in band_centres_hz()),
        frequency_response_db=tuple(round(float(level), 1) + 0.0 for level in band_response_db(curve)),
        noise_floor_db=(round(white_noise_floor_db(noise_dbfs), 1),) * N_BANDS,
    )


def trusted_range_hz(curve: Curve) -> tuple[float, float]:
    """Return the range that the curve covers, up to the highest frequency of a log-mel spectrogram."""
    return float(curve.frequency_hz[0]), min(float(curve.frequency_hz[-1]), LOG_MEL_SETTINGS.f_max_hz)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    for device in build_library(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else LIBRARY_FOLDER):
        print(f"{device.id:15} {device.name}")
