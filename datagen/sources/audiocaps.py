"""Source `audiocaps`: AudioCaps (Kim et al., NAACL 2019), stretches of 10 s of AudioSet's videos, captioned by people.

    https://github.com/cdjkim/audiocaps/tree/master/dataset        train.csv (49,838 captions), val.csv, test.csv
        audiocap_id,youtube_id,start_time,caption
        91139,r1nicOVtvkQ,130,A woman talks nearby as water pours

    $DATAGEN_DATA/audiocaps/ or ./data/audiocaps/       (--annotations a file or the folder, --audio another folder)
      train.csv                                         read unless --annotations names val.csv or test.csv
      audio/r1nicOVtvkQ_130.wav                         any folder below, any name that `youtube` knows, or 91139.wav

dataset2.0/ of that repository has the same columns (91,256 captions in train). In val and test a clip has five rows, in
any order: they make one clip with five reference captions, which comes where its last row stands. The captions are for
academic purposes only; the rights in the sound stay with whoever made the videos, so `license` is left empty. Audio is
not distributed: take a mirror, or the packages audiocaps-download or aac-datasets (yt-dlp).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datagen.sources.tables import Csv, number, text
from datagen.sources.youtube import Segment, YouTubeCorpus, video

__all__ = ["Audiocaps"]

SECONDS = 10.0
"""Length of every clip."""
COLUMNS = ("audiocap_id", "youtube_id", "start_time", "caption")


class Audiocaps(YouTubeCorpus):
    """AudioCaps: 10 s of AudioSet's videos, one to five captions each."""

    name, file = "audiocaps", "train.csv"
    cure = (
        "put train.csv (from https://github.com/cdjkim/audiocaps) and a mirror's audio, "
        "named like r1nicOVtvkQ_130.wav or 91139.wav, there"
    )
    origin = (
        "AudioCaps (https://github.com/cdjkim/audiocaps), captions by people, for academic purposes only, of stretches "
        "of 10 s of YouTube videos of AudioSet."
    )
    several_rows = True

    def table(self, file: Path) -> Csv:
        """See COLUMNS."""
        return Csv(file, COLUMNS, "use AudioCaps' own train.csv, val.csv or test.csv")

    def parse(self, cells: Mapping[str, Any]) -> Segment:
        """A clip with one caption."""
        start = number(cells, "start_time")
        return Segment(
            video(text(cells, "youtube_id")), start, start + SECONDS,
            captions=(text(cells, "caption"),), names=(text(cells, "audiocap_id"),),
        )  # fmt: skip
