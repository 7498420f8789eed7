"""Captioner `yamnet`: AudioSet tags by YAMNet in ONNX, with when each is heard. Extra `[yamnet]`.

YAMNet (https://github.com/tensorflow/models/tree/master/research/audioset/yamnet) names 521 classes of AudioSet.
`yamnet=MODEL` is the `.onnx` file that takes log-mel patches of (1, 1, 96, 64) and gives 521 logits, as Qualcomm AI Hub
exports it, float or uint8 (the scale and zero point are read from the file), or its folder; the class map of YAMNet,
`yamnet_class_map.csv` with `index,mid,display_name`, stands beside it. Nothing of both comes with this package.

The input is made as YAMNet's own code makes it: mono at 16 kHz, windows of 25 ms (Hann, periodic) every 10 ms,
magnitudes of an FFT of 512, 64 mel bands (HTK) from 125 to 7500 Hz, log(x + 0.001). A patch is 96 windows = 0.975 s, a
new one begins every 0.48 s, the last is filled up with silence. A class scores its highest sigmoid over the patches.

Tags are guesses, wrong more often than right on hard sounds (docs/captioners.md): the caption says so and gives scores.
Hence they carry no facts, and the writer `rules`, which asks about facts and labels alone, never asks about a tag.
"""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datagen.errors import UsageError
from datagen.plugins import needs
from datagen.records import Caption, Clip, Failure

if TYPE_CHECKING:
    from datagen.audio import Audio
    from datagen.plugins import Context

__all__ = ["YAMNet", "patches"]

Array = npt.NDArray[Any]

RATE, WINDOW, STEP, FFT, BANDS, FRAMES = 16_000, 400, 160, 512, 64, 96
PATCH, HOP = WINDOW + (FRAMES - 1) * STEP, FRAMES // 2 * STEP
"""Samples."""
THRESHOLD = 0.3
"""Least score of a tag. The scores of the 8-bit model are coarse here: 0.18, 0.32, 0.5, 0.68 …"""
TAGS = 5
"""Most tags of a clip."""
NO_EVENT = {"Silence"}
BROAD = {
    "Animal", "Domestic animals, pets", "Drum kit", "Echo", "Effects unit", "Environmental noise", "Field recording",
    "Hands", "Inside, large room or hall", "Inside, public space", "Inside, small room", "Keyboard (musical)",
    "Livestock, farm animals, working animals", "Mechanisms", "Music", "Musical instrument", "Noise",
    "Outside, rural or natural", "Outside, urban or manmade", "Percussion", "Plucked string instrument", "Radio",
    "Reverberation", "Sound effect", "Speech", "Television", "Tools", "Vehicle", "Wild animals",
}  # fmt: skip
"""Classes that stand above others or tell of the recording; they rank behind the rest, whatever they score."""


class YAMNet:
    """Tags of AudioSet, most likely first and broad classes last, each with its score and time (aspect "events").

    A clip in which no class reaches THRESHOLD has no caption; that is no failure.
    """

    def __init__(self, context: Context) -> None:
        if context.model is None:
            raise UsageError(
                "captioner 'yamnet' has no model: use yamnet=FOLDER with an .onnx and yamnet_class_map.csv"
            )
        needs("yamnet", "onnx", "onnxruntime")
        file = _model_file(Path(context.model))
        self._model = _Model(file)
        self.names = _class_map(file.with_name("yamnet_class_map.csv"), self._model.classes)
        self._broad = np.array([name in BROAD for name in self.names])
        self._events = np.array([name not in NO_EVENT for name in self.names])

    async def caption(self, clip: Clip, audio: Audio) -> Sequence[Caption | Failure]:
        """One caption, or none."""
        scores = await asyncio.to_thread(self.scores, audio)
        best = scores.max(axis=0)
        tags = [
            f"{self.names[index]} ({best[index]:.2f}, {_when(scores[:, index], audio.duration)})"
            for index in self.ranked(scores)
            if best[index] >= THRESHOLD
        ]
        if not tags:
            return []
        text = f"Guesses of an automatic tagger, each with its score from 0 to 1: {'; '.join(tags[:TAGS])}."
        return [Caption(clip.id, 0, text, "yamnet", "events")]

    def scores(self, audio: Audio) -> Array:
        """float32 (patches, classes): the sigmoid of the logits."""
        logits = np.stack([self._model.logits(patch) for patch in patches(audio.mono)])
        scores: Array = 1 / (1 + np.exp(-logits.clip(-80, 80)))
        return scores

    def ranked(self, scores: Array) -> list[int]:
        """Classes by their highest score, those with the higher mean first among equals, and the broad ones last."""
        order = np.lexsort((-scores.mean(axis=0), -scores.max(axis=0), self._broad))
        return [int(index) for index in order if self._events[index]]


def patches(mono: Array) -> Iterator[Array]:
    """float32 (96, 64) log-mel patches of float (samples,) at 16 kHz, one for each HOP until the end is covered."""
    for start in range(0, max(len(mono) - PATCH + HOP, HOP), HOP):
        samples = np.zeros(PATCH, np.float32)
        part = mono[start : start + PATCH]
        samples[: len(part)] = part
        windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::STEP]
        yield np.log(np.abs(np.fft.rfft(windows * _hann(), FFT)) @ _mel() + 0.001).astype(np.float32)


@cache
def _hann() -> Array:
    hann: Array = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    return hann


@cache
def _mel() -> Array:
    """float64 (FFT bins, bands): triangles that are straight in mel, of height 1; nothing of bin 0."""
    low, high, *bins = 1127 * np.log1p(np.array([125, 7500, *np.arange(FFT // 2 + 1) * RATE / FFT]) / 700)
    edges = np.linspace(low, high, BANDS + 2)
    rising = (np.array(bins)[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - np.array(bins)[:, None]) / (edges[2:] - edges[1:-1])
    weights: Array = np.minimum(rising, falling).clip(0)
    weights[0] = 0
    return weights


def _when(scores: Array, duration: float) -> str:
    """From the first patch that reaches THRESHOLD to the last one, in seconds."""
    found = np.flatnonzero(scores >= THRESHOLD)
    end = min((found[-1] * HOP + PATCH) / RATE, duration)
    return f"{found[0] * HOP / RATE:.1f}–{end:.1f} s"


class _Model:
    """The ONNX file. Raises UsageError for one that is no YAMNet of patches."""

    def __init__(self, file: Path) -> None:
        import onnx
        import onnxruntime
        from google.protobuf.message import DecodeError
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf, RuntimeException

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # clips run beside each other
        options.log_severity_level = 3
        try:
            graph = onnx.load(file, load_external_data=False).graph
            self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except (OSError, DecodeError, Fail, InvalidGraph, InvalidProtobuf, RuntimeException) as error:
            raise UsageError(f"yamnet={file}: {_first_line(error)}: name the .onnx file of YAMNet") from None
        given, told = self._session.get_inputs(), self._session.get_outputs()
        if len(given) != 1 or given[0].shape[-2:] != [FRAMES, BANDS] or len(told[0].shape) != 2:
            shapes = f"{[i.shape for i in given]} → {[o.shape for o in told]}"
            raise UsageError(f"yamnet={file}: takes and gives {shapes}: it must be [1, 1, 96, 64] → [1, classes]")
        self._input, self._shape = given[0].name, [1] * (len(given[0].shape) - 2) + [FRAMES, BANDS]
        self.classes = int(told[0].shape[-1])
        self._in = _quantization(graph, "DequantizeLinear", given[0].name)
        self._out = _quantization(graph, "QuantizeLinear", told[0].name)

    def logits(self, patch: Array) -> Array:
        """float32 (classes,) of one float32 (96, 64) patch."""
        data = patch.reshape(self._shape)
        if self._in:
            scale, zero = self._in
            data = np.clip(np.rint(data / scale) + zero, 0, 255).astype(np.uint8)
        logits: Array = self._session.run(None, {self._input: data})[0][0].astype(np.float32)
        if self._out:
            scale, zero = self._out
            logits = (logits - zero) * scale
        return logits


def _quantization(graph: Any, kind: str, name: str) -> tuple[np.float32, np.float32] | None:
    """Scale and zero point of the node `kind` at an 8-bit input or output of the graph; None where there is none."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == kind and name in (node.input[0], node.output[0]):
            scale, zero = (np.float32(numpy_helper.to_array(constants[key])) for key in node.input[1:3])
            return scale, zero
    return None


def _model_file(path: Path) -> Path:
    """The file itself, or the only .onnx of a folder."""
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.onnx"))
    if len(found) != 1:
        raise UsageError(f"yamnet={path}: holds {len(found)} .onnx files: name the file")
    return found[0]


def _class_map(file: Path, classes: int) -> list[str]:
    """`display_name` of each class, by `index`."""
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            names = {int(row["index"]): row["display_name"] for row in csv.DictReader(lines)}
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise UsageError(f"{file}: {error!r}: put YAMNet's class map there, beside the model") from None
    if sorted(names) != list(range(classes)):
        raise UsageError(f"{file}: {len(names)} classes, and the model has {classes}: they do not belong together")
    return [names[index] for index in range(classes)]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
