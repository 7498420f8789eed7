"""One model in this process: audio and messages in, texts out, with every audio encoded once.

    sound(samples) ─▶ Sound (features, cropped)        row(messages, sounds) ─▶ Row (token ids)
                        └─▶ encoded once, kept ──▶ generate(rows) ─▶ Said, one a row

The audio's embeddings are put into the prompt's by `generate` itself, so any number of prompts about one clip share one
pass of the audio tower. That is written for the models in ONE_ENCODING; any other model that listens is run by its own
processor, one row at a time, and encodes the audio anew for each.

What a row says is a function of the row: its draws come from a generator of its own, and the audio is encoded alone.
The numbers of a row still move in the last digits with the rows beside it (docs/captioners.md has the figures).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from datagen.errors import PermanentError, UsageError
from datagen.llm.request import Sampling
from datagen.llm.weights import Folder

__all__ = ["LocalModel", "Row", "Said", "Sound", "embedding", "ends", "load_weights"]

CLASSES = {
    "qwen2_5_omni": "Qwen2_5OmniThinkerForConditionalGeneration",
    "qwen3_omni_moe": "Qwen3OmniMoeThinkerForConditionalGeneration",
    "audioflamingo3": "AudioFlamingo3ForConditionalGeneration",
}
"""model_type → class, where AutoModelForMultimodalLM has none or takes a whole Omni, of which the thinker is enough."""
ONE_ENCODING = frozenset({"qwen2_audio", "qwen2_5_omni_thinker", "qwen3_omni_moe_thinker", "audioflamingo3"})
"""model_type of the models whose audio is encoded apart from their prompts."""
TO_LENGTH = frozenset({"qwen2_5_omni_thinker", "qwen3_omni_moe_thinker"})
"""Of these, the ones whose features may be as long as the audio; the others know windows of 30 s only."""
WINDOW = 400
"""Samples of one Fourier window (25 ms): so many zeros must follow for the last frames to be as in a long pad."""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(slots=True)
class Sound:
    """One audio as the model takes it."""

    features: Mapping[str, Any]
    """The processor's tensors, a batch of one: `input_features` (1 or windows, mels, frames) and their mask."""
    tokens: int
    """Places that it takes in the prompt."""
    embedding: Any = None
    """(tokens, hidden), once it was encoded."""


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt with what decides its answer."""

    ids: Any
    """int64 (tokens,)"""
    sounds: Sequence[Sound]
    sampling: Sampling
    seed: int
    whole: Mapping[str, Any] | None = None
    """All the processor made, for a model that is not in ONE_ENCODING."""

    @property
    def length(self) -> int:
        """Prompt tokens."""
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Said:
    """What the model said to one row."""

    text: str
    finish: str
    """`stop` or `length`"""
    tokens: int
    """Generated, the one that ends it included."""


@dataclass
class LocalModel:
    """A folder's model. `sound` and `row` may be called from any thread, `load` and `generate` from one alone.

    `device` is where it runs: the GPU when there is one. `dtype`: bfloat16 there, float32 on the processor.
    """

    folder: Folder
    device: str = ""
    dtype: str = ""
    encodings: int = 0
    """Audios that went through the audio tower so far."""
    stopping: bool = False
    """Set from outside: `generate` ends at the next token."""
    _own: threading.local = field(default_factory=threading.local)

    def __post_init__(self) -> None:
        import torch

        self.device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = self.dtype or ("float32" if self.device == "cpu" else "bfloat16")

    @property
    def type(self) -> str:
        """`model_type` of what runs: of the thinker, for a whole Omni."""
        inner = self.folder.config.get("thinker_config") or {}
        return str(inner.get("model_type") or (f"{self.folder.type}_thinker" if inner else self.folder.type))

    @property
    def one_encoding(self) -> bool:
        """Whether an audio is encoded once for all prompts about it."""
        return self.type in ONE_ENCODING

    # ── from messages to rows, in any thread ─────────────────────────────────────────────────────────────────────────

    @property
    def processor(self) -> Any:
        """The processor, or the tokenizer of a model that hears nothing; each thread has its own.

        A tokenizer changes its own state when it is called, so two threads cannot share one.
        """
        found = getattr(self._own, "processor", None)
        if found is None:
            found = self._own.processor = self._load_processor()
        return found

    def sound(self, samples: Array) -> Sound:
        """`samples`: float32 (n,), mono at the rate of the feature extractor. Raises PermanentError below 25 ms."""
        hears, padded = self.processor.feature_extractor, {}
        if len(samples) < WINDOW:  # of which a model would hear nothing, and caption that
            raise PermanentError(f"audio of {len(samples) / hears.sampling_rate:.4f} s is shorter than 0.025 s")
        if self.type in TO_LENGTH:  # Qwen2.5-Omni's processor pads to 300 s: 0.5 s and 15 MB a clip
            frames = -(-(len(samples) + WINDOW) // hears.hop_length)
            padded["max_length"] = min(frames * hears.hop_length, hears.n_samples)
        made = self._processed(self.processor.audio_token, [samples], padded)
        ids = made.pop("input_ids")[0]
        made.pop("attention_mask")
        tokens = int((ids == self.processor.audio_token_id).sum())
        return Sound(_cropped(made) if self.type in TO_LENGTH else made, tokens)

    def row(self, messages: Sequence[Mapping[str, Any]], sounds: Sequence[Sound], sampling: Sampling, seed: int) -> Row:
        """The prompt in the model's own chat template. Raises PermanentError when a text holds an audio token."""
        text = self._templated(messages, sampling)
        if sounds:
            pieces = text.split(token := self.processor.audio_token)
            if len(pieces) != len(sounds) + 1:
                raise PermanentError(f"the prompt has {len(pieces) - 1} places for {len(sounds)} audios")
            places = [token * sound.tokens for sound in sounds] + [""]
            text = "".join(piece + place for piece, place in zip(pieces, places, strict=True))
        return Row(self._ids(text), sounds, sampling, seed)

    def whole_row(
        self, messages: Sequence[Mapping[str, Any]], audio: Sequence[Array], sampling: Sampling, seed: int
    ) -> Row:
        """The same for a model that is not in ONE_ENCODING: the processor makes all of it."""
        made = self._processed(self._templated(messages, sampling), list(audio), {})
        return Row(made["input_ids"][0], (), sampling, seed, made)

    def rendered(self, messages: Sequence[Mapping[str, Any]], sampling: Sampling) -> str:
        """The prompt as text, one audio token for each audio."""
        return self._templated(messages, sampling)

    def system_prompt(self) -> str | None:
        """What the chat template says as the system where a conversation has no such turn; None when that is nothing.

        Found beside the same conversation with a system turn of ours; None too for a template that takes none.
        """
        import jinja2

        user, mark = {"role": "user", "content": "?"}, "\x00"
        try:
            ours = self._templated([{"role": "system", "content": mark}, user], Sampling())
        except (jinja2.TemplateError, ValueError):
            return None
        before, marked, after = ours.partition(mark)
        theirs = self._templated([user], Sampling())
        around = marked and theirs.startswith(before) and theirs.endswith(after)
        within = around and len(theirs) >= len(before) + len(after)
        return theirs[len(before) : len(theirs) - len(after)] or None if within else None

    def _load_processor(self) -> Any:
        from transformers import AutoProcessor, AutoTokenizer

        found = (AutoProcessor if self.folder.hears else AutoTokenizer).from_pretrained(self.folder.path)
        if not getattr(found, "chat_template", None):
            raise UsageError(f"model {self.folder.path}: has no chat template: use a model that was tuned for chat")
        if self.folder.hears:
            found.feature_extractor.padding_side = "right"  # a left-padded tokenizer must not shift the audio
        return found

    def _processed(self, text: str, audio: list[Array], options: Mapping[str, Any]) -> dict[str, Any]:
        rate = self.processor.feature_extractor.sampling_rate
        made = self.processor(
            text=[text], audio=audio, return_tensors="pt", audio_kwargs={"sampling_rate": rate, **options}
        )
        return dict(made)

    def _templated(self, messages: Sequence[Mapping[str, Any]], sampling: Sampling) -> str:
        chat = [_plain(message) for message in messages] if self.folder.hears else [_text(m) for m in messages]
        options = sampling.extra.get("chat_template_kwargs", {})
        return str(self.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True, **options))

    def _ids(self, text: str) -> Any:
        words = getattr(self.processor, "tokenizer", self.processor)
        add = self.folder.hears and not (words.bos_token and text.startswith(words.bos_token))
        return words(text, add_special_tokens=add, return_tensors="pt")["input_ids"][0]

    # ── the model, in one thread ─────────────────────────────────────────────────────────────────────────────────────

    def load(self) -> None:
        """Loads the weights, unless they are there. Raises UsageError for weights that do not fit the configuration."""
        _ = self._model

    def generate(self, rows: Sequence[Row]) -> list[Said]:
        """One answer a row. Raises torch.OutOfMemoryError; no state is left behind by that."""
        import torch

        with torch.inference_mode():
            if rows[0].whole is not None:
                return [self._generate_whole(row) for row in rows]
            embeddings, mask = self._embed(rows)
            made = self._run(rows, inputs_embeds=embeddings, attention_mask=mask)
        return [self._said(row, ids) for row, ids in zip(rows, made.tolist(), strict=True)]

    def log_probabilities(self, rows: Sequence[Row]) -> Any:
        """float32 (rows, vocabulary) of each row's first token; for measuring."""
        import torch

        with torch.inference_mode():
            embeddings, mask = self._embed(rows)
            places = (mask.cumsum(-1) - 1).clamp(min=0)
            if self.type in TO_LENGTH:  # time, height and width: all the same without images
                places = places.expand(3, -1, -1)
            logits = self._model(inputs_embeds=embeddings, attention_mask=mask, position_ids=places).logits[:, -1]
            return torch.log_softmax(logits.float(), -1).cpu()

    @cached_property
    def _model(self) -> Any:
        import transformers

        model = load_weights(self.folder, self.dtype)
        # A checkpoint's own temperature, top_k or repetition penalty must not stand in for what a request leaves out.
        model.generation_config = transformers.GenerationConfig(
            eos_token_id=ends(model, self.processor), pad_token_id=_pad(self.processor), do_sample=False
        )
        return model.to(self.device).eval()

    def _embed(self, rows: Sequence[Row]) -> tuple[Any, Any]:
        """(rows, longest, hidden) with the audio in its places, padded on the left, and the mask."""
        import torch

        model, longest = self._model, max(row.length for row in rows)
        table = model.get_input_embeddings()
        width = (len(rows), longest)
        embeddings = torch.zeros(*width, table.weight.shape[1], dtype=model.dtype, device=self.device)
        mask = torch.zeros(*width, dtype=torch.int64, device=self.device)
        for number, row in enumerate(rows):
            ids = row.ids.to(self.device)
            place = embeddings[number, longest - row.length :]
            place.copy_(table(ids))
            mask[number, longest - row.length :] = 1
            if row.sounds:
                place[ids == self.processor.audio_token_id] = torch.cat([self._encoded(s) for s in row.sounds])
        return embeddings, mask

    def _encoded(self, sound: Sound) -> Any:
        if sound.embedding is None:
            self.encodings += 1
            sound.embedding = embedding(self._model, self.type, sound)
        return sound.embedding

    def _generate_whole(self, row: Row) -> Said:
        assert row.whole is not None
        self.encodings += 1
        made = self._run([row], **_on_device(self._model, row.whole))
        return self._said(row, made[0, row.length :].tolist())

    def _run(self, rows: Sequence[Row], **inputs: Any) -> Any:
        start = inputs["input_ids"].shape[1] if "input_ids" in inputs else 0
        return self._model.generate(
            **inputs,
            max_new_tokens=max(row.sampling.max_tokens for row in rows),
            logits_processor=[_Draws(rows, self.device)],
            stopping_criteria=[_Ends(self, rows, start)],
        )

    def _said(self, row: Row, ids: list[int]) -> Said:
        ends = self._model.generation_config.eos_token_id
        ids = ids[: row.sampling.max_tokens]
        count = next((number + 1 for number, id in enumerate(ids) if id in ends), 0)
        words = getattr(self.processor, "tokenizer", self.processor)
        text = words.decode(ids[: count or None], skip_special_tokens=True)
        return Said(text.strip(), "stop" if count else "length", count or len(ids))


def embedding(model: Any, type: str, sound: Sound) -> Any:
    """(tokens, hidden): what the audio tower of a `model` whose `type` is in ONE_ENCODING makes of `sound`."""
    features = _on_device(model, sound.features)
    if type == "qwen2_audio":
        return _encode_qwen2_audio(model.model, **features)
    return model.get_audio_features(**features).pooler_output


def load_weights(folder: Folder, dtype: str) -> Any:
    """The model of a folder, on the processor in `dtype`; of a whole Omni the thinker.

    Raises UsageError for weights that cannot be read or do not fit the configuration.
    """
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    options: dict[str, Any] = {"dtype": getattr(torch, dtype)}
    if folder.type in CLASSES:
        kind = getattr(transformers, CLASSES[folder.type])
    elif folder.hears:
        kind = transformers.AutoModelForMultimodalLM
    else:
        kind = transformers.AutoModelForCausalLM
    if folder.config.get("thinker_config"):
        options["config"] = transformers.AutoConfig.from_pretrained(folder.path).thinker_config
    try:
        model, report = kind.from_pretrained(folder.path, output_loading_info=True, **options)
    except (OSError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split())[:200]
        raise UsageError(f"model {folder.path}: cannot be loaded ({why}): see that the folder is whole") from None
    if missing := sorted(report["missing_keys"]):
        raise UsageError(f"model {folder.path}: {len(missing)} weights such as {missing[0]} are missing: copy it again")
    return model


class _Draws:
    """A logits processor that leaves each row one token: the likeliest at temperature 0, else a draw of its own.

    A draw takes one number of the row's generator and the place where it falls in the cumulated probabilities, in the
    order of the vocabulary; so it is exact, and the same on every device and beside any other rows.
    """

    def __init__(self, rows: Sequence[Row], device: str) -> None:
        import torch

        def column(values: list[float]) -> Any:
            return torch.tensor(values, dtype=torch.float64, device=device)[:, None]

        sampling = [row.sampling for row in rows]
        self.generators = [torch.Generator().manual_seed(row.seed) for row in rows]
        self.greedy = column([s.temperature <= 0 for s in sampling]).bool()
        self.temperature = column([s.temperature if s.temperature > 0 else 1.0 for s in sampling])
        self.top_p = column([s.top_p for s in sampling])
        self.top_k = column([float(s.extra.get("top_k") or 2**31) for s in sampling])
        self.cuts = bool((self.top_p < 1).any() or (self.top_k < 2**31).any())

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        import torch

        if self.greedy.all():
            return scores
        probabilities = torch.softmax(scores.double() / self.temperature, -1)
        if self.cuts:
            probabilities = self._cut(probabilities)
        draws = torch.stack([torch.rand(1, generator=g, dtype=torch.float64) for g in self.generators])
        cumulated = probabilities.cumsum(-1)
        place = draws.to(scores.device) * cumulated[:, -1:]
        drawn = torch.searchsorted(cumulated, place, right=True).clamp(max=scores.shape[-1] - 1)
        chosen = torch.where(self.greedy, scores.argmax(-1, keepdim=True), drawn)
        return torch.full_like(scores, -torch.inf).scatter(-1, chosen, 0.0)

    def _cut(self, probabilities: Any) -> Any:
        """Without what top_p and top_k leave out: the tokens below the least likely one that they let in."""
        import torch

        ordered = probabilities.sort(-1, descending=True).values
        rank = torch.arange(ordered.shape[-1], device=ordered.device)
        kept = ((ordered.cumsum(-1) - ordered < self.top_p) & (rank < self.top_k)).sum(-1, keepdim=True)
        least = ordered.gather(-1, kept.clamp(min=1) - 1)
        return probabilities.where(probabilities >= least, 0.0)


class _Ends:
    """A stopping criterion: each row at its own limit, all of them when the runner is closed."""

    def __init__(self, model: LocalModel, rows: Sequence[Row], start: int) -> None:
        import torch

        self.model = model
        self.limits = torch.tensor([start + row.sampling.max_tokens for row in rows], device=model.device)

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        return (self.limits <= input_ids.shape[1]) | self.model.stopping


def _on_device(model: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` where the model is, floats in its precision."""
    return {
        name: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for name, value in values.items()
    }


def _encode_qwen2_audio(model: Any, input_features: Any, feature_attention_mask: Any) -> Any:
    """(tokens, hidden): what Qwen2AudioModel.forward does with its audio, which it offers under no name."""
    import torch
    from transformers.masking_utils import create_bidirectional_mask

    tower = model.audio_tower
    frames, tokens = tower._get_feat_extract_output_lengths(feature_attention_mask.sum(-1))
    longest = (input_features.shape[-1] - 2) // 2 + 1
    within = torch.arange(longest, device=input_features.device)[None] < frames[:, None]
    shape = torch.zeros(1, longest, 1, dtype=input_features.dtype, device=input_features.device)
    mask = create_bidirectional_mask(config=tower.config, inputs_embeds=shape, attention_mask=within.long())
    hidden = tower(input_features, attention_mask=mask).last_hidden_state
    return model.multi_modal_projector(hidden)[0, : int(tokens[0])]


def _cropped(features: Mapping[str, Any]) -> dict[str, Any]:
    """Without the frames of padding; exact, because these models gather the frames by the mask."""
    frames = int(features["feature_attention_mask"].sum())
    return {name: value[..., :frames] for name, value in features.items()}


def _plain(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message in the form of chat templates; text parts have no key `audio`, for which some templates test."""
    content = message["content"]
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    parts = [part if part["type"] == "text" else {"type": "audio", "audio": ""} for part in content]
    return {"role": message["role"], "content": parts}


def _text(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message["content"]
    if not isinstance(content, str):
        content = "".join(part["text"] for part in content)
    return {"role": message["role"], "content": content}


def ends(model: Any, processor: Any) -> list[int]:
    """Ids that end an answer: the checkpoint's and the tokenizer's."""
    said = model.generation_config.eos_token_id
    ids = {*said} if isinstance(said, list) else {said}
    return sorted({*ids, getattr(processor, "tokenizer", processor).eos_token_id} - {None})


def _pad(processor: Any) -> int:
    words = getattr(processor, "tokenizer", processor)
    return int(words.eos_token_id if words.pad_token_id is None else words.pad_token_id)
