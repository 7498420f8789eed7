"""Source `vggsound`: VGGSound (Chen et al., ICASSP 2020), some 200,000 stretches of 10 s of YouTube videos.

    https://www.robots.ox.ac.uk/~vgg/data/vggsound      vggsound.csv, no header: YouTube id, start (s), label, split
    https://github.com/hche11/VGGSound/blob/master/data/vggsound.csv
        ---g-f_I2yQ,1,people marching,test

    $DATAGEN_DATA/vggsound/ or ./data/vggsound/         (--annotations a file or the folder, --audio another folder)
      vggsound.csv
      audio/---g-f_I2yQ_000001.wav                      any folder below, any name that `youtube` knows

The list is CC-BY-4.0; the rights in the sound stay with whoever made the videos, so `license` is left empty. Audio: the
authors' page has archives on request, and mirrors have them cut; yt-dlp takes what is still online. Both splits are
read; to leave the test clips out: `grep ',train$' vggsound.csv > train.csv`, then --annotations train.csv.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datagen.sources.tables import Csv, number, text
from datagen.sources.youtube import Segment, YouTubeCorpus, video

__all__ = ["SECONDS", "Vggsound", "segment", "table"]

SECONDS = 10.0
"""Length of every clip."""
COLUMNS = ("id", "start", "label", "split")


def table(file: Path, option: str = "--annotations ") -> Csv:
    """VGGSound's own list."""
    return Csv(file, COLUMNS, "use VGGSound's own vggsound.csv (id,start,label,split)", header=False, option=option)


def segment(cells: Mapping[str, Any]) -> Segment:
    """What a row of the list means. Raises RowError."""
    start = number(cells, "start")
    return Segment(video(text(cells, "id")), start, start + SECONDS, labels=(text(cells, "label"),))


class Vggsound(YouTubeCorpus):
    """VGGSound: 10 s of YouTube videos, one label each."""

    name, file = "vggsound", "vggsound.csv"
    cure = (
        "put vggsound.csv (from https://www.robots.ox.ac.uk/~vgg/data/vggsound) and a mirror's audio, "
        "named like ---g-f_I2yQ_000001.wav, there"
    )
    origin = (
        "VGGSound (https://www.robots.ox.ac.uk/~vgg/data/vggsound), stretches of 10 s of YouTube videos; "
        "its list is CC-BY-4.0, the rights in the sound stay with the videos' makers."
    )

    def table(self, file: Path) -> Csv:
        """See COLUMNS."""
        return table(file)

    def parse(self, cells: Mapping[str, Any]) -> Segment:
        """See `segment`."""
        return segment(cells)
