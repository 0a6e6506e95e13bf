"""E-CLIP: the three towers under one roof, and the only place where embeddings are L2-normalized.

frames, stills, class names -> unit embeddings of one space, and class logits.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from open_clip.model import CLIP
from torch import Tensor, nn

from eclip_lib.clip import normalize_images
from eclip_lib.config import ModelConfig
from eclip_lib.model.event_encoder import EventEncoder
from eclip_lib.model.losses import cosine_logits
from eclip_lib.model.text_prompts import HybridPrompts

HANDCRAFTED = "prompts.handcrafted.context"  # among the weights only where it was trained, as EventBind's code does


class EClip(nn.Module):
    """CLIP with a third tower for events.

    CLIP's image and text towers are frozen and stay in eval mode; the event tower, the prompts and the content MLPs
    train.

    Args:
        cfg: which parts there are; see `ModelConfig`.
        clip: from `load_clip`.
        frames: T, the frames of a recording and the length of the temporal embedding.
    """

    def __init__(self, cfg: ModelConfig, clip: CLIP, frames: int = 3):
        super().__init__()
        self.cfg = cfg
        self.clip = clip.eval().requires_grad_(False)
        self.event_encoder = EventEncoder(clip.visual, cfg, frames)
        self.prompts = HybridPrompts(clip, cfg)

    def train(self, mode: bool = True) -> "EClip":
        """Switch the mode of what is trained; the frozen towers stay in eval mode."""
        super().train(mode)
        self.clip.eval()
        return self

    def trained_state(self) -> dict[str, Tensor]:
        """Return the weights that are E-CLIP's own, without the frozen CLIP."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("clip.")}

    def load_trained_state(self, state: dict[str, Tensor]) -> None:
        """Load what `trained_state` returned.

        Raises:
            ValueError: a weight is missing, unknown or of another shape.
        """
        if HANDCRAFTED in state and self.prompts.handcrafted is not None:
            self.prompts.handcrafted.set_context(state[HANDCRAFTED])
        own = self.trained_state()
        odd = sorted(set(own) ^ set(state)) or [k for k in own if own[k].shape != state[k].shape]
        if odd:
            raise ValueError(f"the weights do not belong to this model: {len(odd)} differ, the first is {odd[0]}")
        self.load_state_dict(state, strict=False)

    @torch.no_grad()
    def encode_image(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D"]:
        """Embed stills in [0, 1] with the frozen image tower, at unit length."""
        return F.normalize(self.clip.encode_image(self._prepare(images)), dim=-1)

    def encode_events(self, frames: Float[Tensor, "B T 3 S S"], valid: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        """Embed event frames in [0, 1], at unit length; invalid frames take no part.

        Raises:
            ValueError: a value is not in [0, 1], or a recording has no valid frame.
        """
        if not valid.any(1).all():
            raise ValueError(f"recording {int((~valid.any(1)).nonzero()[0])} of the batch has no valid frame")
        return F.normalize(self.event_encoder(self._prepare(frames), valid), dim=-1)

    def encode_text(
        self, class_names: Sequence[str], content_emb: Float[Tensor, "B D"] | None = None
    ) -> Float[Tensor, "K D"] | Float[Tensor, "B K D"]:
        """Embed class names at unit length; with the unit embeddings of B events or stills, once for each of them."""
        text_emb = self.prompts(self.clip, class_names, content_emb)
        return text_emb[0] if content_emb is None else text_emb.expand(len(content_emb), -1, -1)

    def encode_class_text(
        self, class_names: Sequence[str], classes: Int[Tensor, "#B U"], content_emb: Float[Tensor, "B D"] | None
    ) -> Float[Tensor, "P U D"]:
        """Embed class names at unit length, of each event or still only those U that its row of `classes` indexes.

        A single row of `classes` serves all of them. P is B, or 1 where neither argument has more rows.
        """
        return self.prompts(self.clip, class_names, content_emb, classes)

    def encode_class_branches(
        self, class_names: Sequence[str], classes: Int[Tensor, "#B U"], content_emb: Float[Tensor, "B D"] | None
    ) -> tuple[Float[Tensor, "P U D"], ...]:
        """Embed as `encode_class_text`, each kind of text apart (handcrafted, learnable), for EventBind's MSE."""
        return self.prompts.branches(self.clip, class_names, content_emb, classes)

    def classify(
        self, frames: Float[Tensor, "B T 3 S S"], valid: Bool[Tensor, "B T"], class_names: Sequence[str]
    ) -> Float[Tensor, "B K"]:
        """Score every class: CLIP's logit scale times the cosine to the text conditioned on the event.

        Source: E-CLIP, inference.
        """
        return self.score(self.encode_events(frames, valid), class_names)

    def score(
        self, event_emb: Float[Tensor, "B D"], class_names: Sequence[str], rescore: int | None = None
    ) -> Float[Tensor, "B K"]:
        """Score every class for event embeddings, as `classify` does for frames.

        Args:
            event_emb: unit embeddings.
            class_names: the K classes.
            rescore: None scores every class exactly. A number m scores in two stages: the prompts without content,
                shared by all events, choose m classes for each event; these get their exact score, the others -inf.
                What the shared prompts pass over is lost. Without event prompts, every score is exact as it is.

        Raises:
            ValueError: `rescore` is less than 1.

        Source: E-CLIP, inference; two stages are our choice, for many classes.
        """
        if rescore is not None and rescore < 1:
            raise ValueError(f"rescore is {rescore}; give at least 1, or None to score every class exactly")
        content = event_emb if self.cfg.content_prompts in ("event", "both") else None
        if rescore is None or content is None or rescore >= len(class_names):
            text_emb = self.prompts(self.clip, class_names, content)
            return cosine_logits(event_emb, text_emb.expand(len(event_emb), -1, -1), self.logit_scale)
        shared = cosine_logits(event_emb, self.encode_text(class_names), self.logit_scale)
        classes = shared.topk(rescore, dim=1).indices  # (B, m)
        text_emb = self.encode_class_text(class_names, classes, content)
        exact = cosine_logits(event_emb, text_emb, self.logit_scale)
        return torch.full_like(shared, float("-inf")).scatter(1, classes, exact)

    @property
    def logit_scale(self) -> Tensor:
        """CLIP's own inverse temperature."""
        return self.clip.logit_scale.exp()

    def _prepare(self, images: Tensor) -> Tensor:
        low, high = images.amin(), images.amax()
        if low < -1e-4 or high > 1 + 1e-4:
            raise ValueError(f"images and frames lie in [0, 1]; these span [{low:.3g}, {high:.3g}]: divide by 255?")
        return normalize_images(self.clip, images) if self.cfg.clip_normalization else images
