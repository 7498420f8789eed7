"""Source `audioset`: AudioSet (Gemmeke et al., ICASSP 2017), 2 million stretches of 10 s of YouTube videos.

    https://research.google.com/audioset/download.html      three lists, with three lines before the first row:
        # Segments csv created Sun Mar  5 10:54:31 2017
        # num_ytids=22160, num_segs=22160, num_unique_labels=527, num_positive_labels=52882
        # YTID, start_seconds, end_seconds, positive_labels
        --PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"

    $DATAGEN_DATA/audioset/ or ./data/audioset/     (--annotations a file or the folder, --audio another folder)
      balanced_train_segments.csv                   or eval_…, unbalanced_train_segments.csv, by --annotations
      ontology.json or class_labels_indices.csv     beside it: the names of the classes, see `ontology`
      audio/Y--PJHxphWEs.wav                        any folder below, any name that `youtube` knows

The lists are CC-BY-4.0; the rights in the sound stay with whoever made the videos, so `license` is left empty. Audio is
not distributed: take a mirror (agkphysics/AudioSet on the Hub, PANNs' packs), or yt-dlp.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datagen.errors import RowError, UsageError
from datagen.sources import ontology
from datagen.sources.tables import Csv, number, text
from datagen.sources.youtube import Segment, YouTubeCorpus, video

__all__ = ["Audioset"]

COLUMNS = ("YTID", "start_seconds", "end_seconds", "positive_labels")


class Audioset(YouTubeCorpus):
    """AudioSet: 10 s of YouTube videos, one or more labels each."""

    name, file = "audioset", "balanced_train_segments.csv"
    cure = (
        "put balanced_train_segments.csv (from https://research.google.com/audioset/download.html), ontology.json "
        "(from https://github.com/audioset/ontology) and a mirror's audio, named like Y--PJHxphWEs.wav, there"
    )
    origin = (
        "AudioSet (https://research.google.com/audioset), stretches of 10 s of YouTube videos; its lists are "
        "CC-BY-4.0, the rights in the sound stay with the videos' makers."
    )

    def table(self, file: Path) -> Csv:
        """See COLUMNS; reads the names of the classes first."""
        self.names = ontology.names(file.parent)
        if not self.names:
            raise UsageError(
                f"--annotations {file}: neither {' nor '.join(ontology.FILES)} beside it: "
                "put ontology.json of https://github.com/audioset/ontology there, as the list names classes by number"
            )
        return Csv(file, COLUMNS, "use one of AudioSet's own lists of segments", header=False, comment="#")

    def parse(self, cells: Mapping[str, Any]) -> Segment:
        """A clip with the names of its classes."""
        mids = text(cells, "positive_labels").split(",")
        unknown = [mid for mid in mids if mid not in self.names]
        if unknown:
            raise RowError(f"positive_labels has {', '.join(map(repr, unknown))}, no class of the ontology")
        labels = tuple(dict.fromkeys(self.names[mid] for mid in mids))
        start, end = number(cells, "start_seconds"), number(cells, "end_seconds")
        return Segment(video(text(cells, "YTID")), start, end, labels)
