"""What the towers are fed, computed once: frames of recordings, features of their stills, count maps.

`EventData` and indices -> arrays in the order of the indices, memory-mapped from the cache.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from open_clip.model import CLIP
from safetensors.torch import save
from torch import Tensor

from eclip_lib.cache import cached_array, content_key, parallel_map, scratch_array
from eclip_lib.clip import normalize_images
from eclip_lib.config import FrameConfig
from eclip_lib.data.recordings import EventData
from eclip_lib.frames import VERSION as FRAMES_VERSION
from eclip_lib.frames import count_maps, event_frames

CHUNK = 256
CPU = torch.device("cpu")


@dataclass(frozen=True)
class FrameSet:
    """The frames of some recordings, kept at 8 bits (an error of at most 1/510) so that a data set fits in memory."""

    pixels: np.ndarray  # (N, T, 3, S, S) uint8
    valid: Bool[Tensor, "N T"]
    labels: Int[Tensor, " N"]
    device: torch.device = CPU  # on which frames and `valid` are; labels stay on the CPU

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.labels)

    def frames(self, rows: Tensor | slice) -> Float[Tensor, "B T 3 S S"]:
        """Return the frames of some rows, in [0, 1]."""
        chosen = self.pixels[rows.numpy() if isinstance(rows, Tensor) else rows]
        return torch.from_numpy(np.array(chosen)).to(self.device).float() / 255

    def batches(
        self, batches: Sequence[Int[Tensor, " _"]], seed: int, epoch: int, device: torch.device
    ) -> Iterator[tuple[Float[Tensor, "B T 3 S S"], Bool[Tensor, "B T"]]]:
        """Yield the frames of batches of rows and which are valid; seed and epoch matter to `EventStream` alone."""
        there = self.to(device)
        for rows in batches:
            yield there.frames(rows), there.valid[rows]

    def to(self, device: torch.device) -> "FrameSet":
        """Return the same recordings, their frames on a device when asked for."""
        return replace(self, valid=self.valid.to(device), device=device)

    def select(self, rows: Int[Tensor, " M"]) -> "FrameSet":
        """Return some of the recordings."""
        return replace(self, pixels=self.pixels[rows.numpy()], valid=self.valid[rows], labels=self.labels[rows])


def load_frames(data: EventData, indices: np.ndarray, cfg: FrameConfig) -> FrameSet:
    """Return the frames of the recordings at `indices`; records and draws what is not in the cache."""
    pixels = cfg.frames * 3 * cfg.size**2

    def compute() -> np.ndarray:
        rows = scratch_array(len(indices), pixels + cfg.frames)

        def draw(place: int) -> None:
            frames, valid = event_frames(data.recording(int(indices[place])), cfg)
            rows[place, :pixels] = (frames * 255).round().to(torch.uint8).numpy().reshape(-1)
            rows[place, pixels:] = valid.numpy()

        parallel_map(draw, range(len(indices)), f"event frames of {data.name}")
        return rows

    key = {
        "data": data.key,
        "indices": content_key(np.ascontiguousarray(indices).tobytes()),
        "frames": cfg.to_dict(),
        "version": FRAMES_VERSION,
    }
    rows = cached_array("frames", key, compute) if len(indices) else np.zeros((0, pixels + cfg.frames), np.uint8)
    valid = torch.from_numpy(np.array(rows[:, pixels:])).bool()
    shown = rows[:, :pixels].reshape(len(rows), cfg.frames, 3, cfg.size, cfg.size)
    return FrameSet(shown, valid, torch.from_numpy(data.labels[indices]))


def summed_count_maps(data: EventData, indices: np.ndarray) -> np.ndarray:
    """Return log(1 + count map) of each whole recording, flattened to (N, 2 H W) float32."""
    maps = parallel_map(lambda i: count_maps(data.recording(i), None, 1)[0], indices.tolist(), "count maps")
    return np.log1p(np.stack(maps).reshape(len(maps), -1).astype(np.float32))


def windowed_count_maps(data: EventData, indices: np.ndarray, windows: int) -> Float[Tensor, "N C H W"]:
    """Return log(1 + count) of each recording in equal windows, C = 2 x windows."""
    maps = parallel_map(lambda i: count_maps(data.recording(i), None, windows), indices.tolist(), "count maps")
    return torch.from_numpy(np.log1p(np.stack(maps).astype(np.float32))).flatten(1, 2)


def clip_key(clip: CLIP) -> str:
    """Name the image tower by its weights, its activation and its normalization."""
    weights = content_key(save({name: value.contiguous() for name, value in clip.visual.state_dict().items()}))
    return content_key([weights, str(clip.visual.transformer.resblocks[0].mlp), clip.visual.preprocess_cfg])


@torch.no_grad()
def image_features(clip: CLIP, data: EventData, indices: np.ndarray, normalization: bool) -> Float[Tensor, "N 2 D"]:
    """Embed the still of each recording and its mirror image with the frozen image tower, at unit length.

    Args:
        clip: gives the tower and the image size; stills are stretched to a square, as frames are.
        data: gives the stills; a recording without one, as its `has_still` tells, gets zeros.
        indices: which of them.
        normalization: apply CLIP's mean and standard deviation (the paper does not).
    """
    size, device = clip.visual.image_size[0], clip.logit_scale.device
    there = stills_of(data, indices)

    def embed(chunk: np.ndarray) -> Tensor:
        stills = [torch.from_numpy(np.array(data.still(i))).permute(2, 0, 1)[None].float() / 255 for i in chunk]
        images = torch.cat([F.interpolate(x, (size, size), mode="bilinear", antialias=True) for x in stills]).clamp(
            0, 1
        )
        views = torch.stack([images, images.flip(-1)], 1).flatten(0, 1)
        views = normalize_images(clip, views) if normalization else views
        return F.normalize(clip.encode_image(views.to(device)), dim=-1).unflatten(0, (len(chunk), 2)).cpu()

    def compute() -> np.ndarray:
        with_still = indices[there]
        chunks = [with_still[start : start + CHUNK] for start in range(0, len(with_still), CHUNK)]
        features = np.zeros((len(indices), 2, clip.text_projection.shape[1]), np.float32)
        features[there] = torch.cat([embed(chunk) for chunk in chunks]).numpy() if chunks else 0.0
        return features

    ids = [data.ids[i] for i in indices]
    key = {"clip": clip_key(clip), "data": data.key, "ids": ids, "normalization": normalization}
    key |= {} if there.all() else {"stills": content_key(there.tobytes())}
    return torch.from_numpy(np.array(cached_array("image_features", key, compute)))


@torch.no_grad()
def text_features(clip: CLIP, texts: Sequence[str]) -> Float[Tensor, "K D"]:
    """Embed texts with the frozen text tower, at unit length; computed once and kept in the cache."""
    tokens, device = clip.tokenizer(list(texts)), clip.logit_scale.device

    def compute() -> np.ndarray:
        chunks = [clip.encode_text(chunk.to(device), normalize=True).cpu() for chunk in tokens.split(CHUNK)]
        return torch.cat(chunks).numpy()

    others = {name: value for name, value in clip.state_dict().items() if not name.startswith("visual.")}
    weights = content_key(save({name: value.contiguous() for name, value in others.items()}))
    key = [weights, str(clip.transformer.resblocks[0].mlp), content_key(tokens.numpy().tobytes())]
    return torch.from_numpy(np.array(cached_array("text_features", key, compute)))


def stills_of(data: EventData, indices: np.ndarray) -> np.ndarray:
    """Return which of some recordings have a still, (N,) bool."""
    has_still = getattr(data, "has_still", None)
    return np.ones(len(indices), bool) if has_still is None else np.asarray(has_still)[indices]


@torch.no_grad()
def frame_features(clip: CLIP, inputs: FrameSet, normalization: bool = True) -> Float[Tensor, "N D"]:
    """Embed each recording as plain CLIP would: the mean over valid frames of the raw features, at unit length.

    Raises:
        ValueError: a recording has no valid frame.
    """
    if not inputs.valid.any(1).all():
        raise ValueError(f"recording {int((~inputs.valid.any(1)).nonzero()[0])} has no valid frame")
    parts, inputs = [], inputs.to(clip.logit_scale.device)
    for start in range(0, len(inputs), CHUNK):
        frames, valid = inputs.frames(slice(start, start + CHUNK)), inputs.valid[start : start + CHUNK]
        frames = normalize_images(clip, frames) if normalization else frames
        features = clip.encode_image(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        weight = valid.float()[..., None]
        parts.append((features * weight).sum(1) / weight.sum(1))
    return F.normalize(torch.cat(parts), dim=-1).cpu()
