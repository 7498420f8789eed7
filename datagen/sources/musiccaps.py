"""Source `musiccaps`: MusicCaps (Agostinelli et al., 2023, arXiv 2301.11325), captions by musicians for 5,521 clips.

    https://www.kaggle.com/datasets/googleai/musiccaps      musiccaps-public.csv
        ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id,is_balanced_subset,is_audioset_eval
        -0Gj8-vB1q4,30,40,"/m/0140xf,/m/02cjck,/m/04rlf","['low quality', 'sustained strings melody', …]",
        "The low quality recording features a ballad song that contains sustained strings, …",4,False,True

    $DATAGEN_DATA/musiccaps/ or ./data/musiccaps/     (--annotations a file or the folder, --audio another folder)
      musiccaps-public.csv
      ontology.json or class_labels_indices.csv       optional, beside it: adds AudioSet's classes to the labels
      audio/-0Gj8-vB1q4.wav                           any folder below, any name that `youtube` knows

The aspects are the clip's labels. The captions are CC-BY-SA-4.0; the rights in the sound stay with whoever made the
videos, so `license` is left empty. Audio is not distributed: take a mirror, or
https://github.com/nateraw/download-musiccaps-dataset (yt-dlp).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datagen.errors import RowError
from datagen.sources import ontology
from datagen.sources.tables import Csv, number, text, texts
from datagen.sources.youtube import Segment, YouTubeCorpus, video

__all__ = ["Musiccaps"]

COLUMNS = ("ytid", "start_s", "end_s", "audioset_positive_labels", "aspect_list", "caption")


class Musiccaps(YouTubeCorpus):
    """MusicCaps: 10 s of music in AudioSet's videos, a caption and aspects each."""

    name, file = "musiccaps", "musiccaps-public.csv"
    cure = (
        "put musiccaps-public.csv (from https://www.kaggle.com/datasets/googleai/musiccaps) and a mirror's audio, "
        "named like -0Gj8-vB1q4.wav or [-0Gj8-vB1q4]-[30-40].wav, there"
    )
    origin = (
        "MusicCaps (https://www.kaggle.com/datasets/googleai/musiccaps), CC-BY-SA-4.0 captions by musicians of "
        "stretches of 10 s of YouTube videos of AudioSet."
    )

    def table(self, file: Path) -> Csv:
        """See COLUMNS; reads the names of the classes where they are."""
        self.names = ontology.names(file.parent)
        return Csv(file, COLUMNS, "use MusicCaps' own musiccaps-public.csv")

    def parse(self, cells: Mapping[str, Any]) -> Segment:
        """A clip with a caption; its labels are the aspects, then the classes."""
        mids = text(cells, "audioset_positive_labels").split(",")
        labels = texts([*_aspects(cells), *(self.names.get(mid) for mid in mids)])
        start, end = number(cells, "start_s"), number(cells, "end_s")
        return Segment(video(text(cells, "ytid")), start, end, labels, (text(cells, "caption"),))


def _aspects(cells: Mapping[str, Any]) -> list[Any]:
    try:
        found = ast.literal_eval(text(cells, "aspect_list"))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        found = None
    if not isinstance(found, list):
        raise RowError(f"aspect_list is {cells['aspect_list'][:200]!r}, no list of texts")
    return found
