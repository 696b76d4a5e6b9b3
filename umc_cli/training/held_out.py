"""Which recordings are validated on instead of trained on."""

import hashlib
from collections.abc import Sequence

from umc_cli.audio.manifest import Clip


def held_out_recordings(clips: Sequence[Clip], share: float) -> frozenset[str]:
    """Choose recordings by a hash of their name, so that neither order nor number of files changes the choice.

    Returns none for a share of 0, else at least one and never all.
    """
    recordings = {clip.recording for clip in clips}
    ranked = sorted(recordings, key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())
    count = min(max(1, round(share * len(ranked))), len(ranked) - 1) if share > 0 else 0
    return frozenset(ranked[: max(count, 0)])
