"""Hybrid text prompts: a handcrafted template and learnable context, both shifted by content prompts.

class names (and the embedding of an event or still) -> text embeddings (K, D) or (B, K, D).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float, Int
from open_clip.model import CLIP
from torch import Tensor, nn

from eclip_lib.config import ModelConfig, filled
from eclip_lib.model.text_encoder import encode_prompts, suffix_tokens


class ContentPrompt(nn.Module):
    """The MLP that turns an event or image embedding into a shift of every context vector.

    Linear(D, D/16), ReLU, Linear(D/16, text width). `start` is the standard deviation of the last layer, which 0 leaves
    silent at first; None is PyTorch's own. Source: E-CLIP, content prompts (CoCoOp's meta-net).
    """

    def __init__(self, embed_dim: int, text_width: int, start: float | None):
        super().__init__()
        hidden = max(1, embed_dim // 16)
        self.inner, self.outer = nn.Linear(embed_dim, hidden), nn.Linear(hidden, text_width)
        if start is not None:
            nn.init.normal_(self.outer.weight, std=start) if start else nn.init.zeros_(self.outer.weight)
            nn.init.zeros_(self.outer.bias)

    def forward(self, emb: Float[Tensor, "B D"]) -> Float[Tensor, "B d"]:
        """Return delta, the content prompt of each embedding."""
        return self.outer(F.relu(self.inner(emb)))


class PromptBranch(nn.Module):
    """One kind of prompt: context vectors before the class name, fixed (a template) or learnable."""

    start: Tensor
    context: Tensor
    known_emb: Tensor | None

    def __init__(self, clip: CLIP, cfg: ModelConfig, learnable: bool):
        super().__init__()
        before, after = ("", ".") if learnable else filled(cfg.template).split("{}")
        self.after, self.learnable = after, learnable
        self.known_names: tuple[str, ...] = ()  # of which `known_emb` holds the text without content
        self.register_buffer("known_emb", None, persistent=False)
        start = torch.tensor([clip.tokenizer.sot_token_id])
        self.register_buffer("start", clip.token_embedding(start).detach(), persistent=False)
        if learnable:
            self.context = nn.Parameter(0.02 * torch.randn(cfg.context_length, clip.token_embedding.embedding_dim))
        else:
            tokens = torch.tensor(clip.tokenizer.encode(before), dtype=torch.long)
            self.register_buffer("context", clip.token_embedding(tokens).detach(), persistent=False)
        self.content = None
        if cfg.content_prompts != "none":
            dims = clip.text_projection.shape[1], clip.token_embedding.embedding_dim
            self.content = ContentPrompt(*dims, start=self._content_start(cfg, learnable))

    def set_context(self, context: Float[Tensor, "n d"]) -> None:
        """Replace a template's words by trained vectors, which are saved with the model from here on.

        Source: our choice: the official code trains its handcrafted context, unlike the paper.
        """
        if context.shape[-1] != self.context.shape[-1]:
            raise ValueError(
                f"the context has shape {tuple(context.shape)}, but the text tower's width is {self.context.shape[-1]}"
            )
        self.register_buffer("context", context)
        self.known_names, self.known_emb = (), None

    def remember(self, names: Sequence[str], text_emb: Float[Tensor, "K D"]) -> None:
        """Take the unit text embeddings of names in the template from a cache; without content they never change.

        Raises:
            ValueError: the context is learnable.
        """
        if self.learnable:
            raise ValueError("the text of a learnable context changes with every step; nothing of it can be kept")
        self.known_names, self.known_emb = tuple(names), text_emb

    @staticmethod
    def _content_start(cfg: ModelConfig, learnable: bool) -> float | None:
        """Return how strong the content prompts start.

        The learnable branch of an interpolated mix is hidden at first (a = 0), so it needs no zero; with one its MLP
        would have no gradient until the third step. Its start is small beside the context's 0.02.
        """
        if cfg.additions == "full":
            return None
        hidden = learnable and cfg.text_prompts == "hybrid" and cfg.text_mix == "interpolated"
        return 1e-3 if hidden else 0.0

    def prefix(self, content_emb: Float[Tensor, "B D"] | None) -> Float[Tensor, "P n d"]:
        """Return start token and context for each content embedding, or once without any."""
        if content_emb is None or self.content is None:
            return torch.cat([self.start, self.context])[None]
        context = self.context[None] + self.content(content_emb)[:, None]
        return torch.cat([repeat(self.start, "n d -> b n d", b=len(context)), context], dim=1)

    def encode(
        self, clip: CLIP, names: Sequence[str], content_emb: Tensor | None, classes: Int[Tensor, "#B U"] | None
    ) -> Float[Tensor, "P K D"]:
        """Encode the names after the prefix, all of them or for each row only `classes`; unit length."""
        plain = content_emb is None or self.content is None
        if plain and self.known_emb is not None and self.known_names == tuple(names):
            return self.known_emb[None] if classes is None else self.known_emb[classes]
        prefix = self.prefix(content_emb)
        suffix = suffix_tokens(clip, [name + self.after for name in names], clip.context_length - prefix.shape[1])
        suffix = suffix[None] if classes is None else suffix[classes]
        if len(prefix) == 1 and len(suffix) > 1:  # one prompt for all, so each class needs encoding once
            once = F.normalize(encode_prompts(clip, prefix, suffix.flatten(0, 1)[None]), dim=-1)
            return rearrange(once, "1 (b u) d -> b u d", b=len(suffix))
        return F.normalize(encode_prompts(clip, prefix, suffix), dim=-1)


class HybridPrompts(nn.Module):
    """The text side of E-CLIP: handcrafted and learnable branch, and how they are mixed.

    average: normalize((f_h + f_l) / 2), the paper. interpolated: normalize(f_h + a (f_l - f_h)) with a learnable a that
    starts at 0, so that training begins at CLIP's own handcrafted prompts (our choice).
    Source: E-CLIP, hybrid text prompts.
    """

    def __init__(self, clip: CLIP, cfg: ModelConfig):
        super().__init__()
        self.handcrafted = None if cfg.text_prompts == "learnable" else PromptBranch(clip, cfg, learnable=False)
        self.learnable = None if cfg.text_prompts == "handcrafted" else PromptBranch(clip, cfg, learnable=True)
        hybrid = cfg.text_prompts == "hybrid"
        self.mix = nn.Parameter(torch.zeros(())) if hybrid and cfg.text_mix == "interpolated" else None

    def forward(
        self,
        clip: CLIP,
        names: Sequence[str],
        content_emb: Float[Tensor, "B D"] | None = None,
        classes: Int[Tensor, "#B U"] | None = None,
    ) -> Float[Tensor, "P K D"]:
        """Encode class names to unit embeddings, both kinds of text mixed; see `branches` for the arguments."""
        return self.mixed(*self.branches(clip, names, content_emb, classes))

    def branches(
        self,
        clip: CLIP,
        names: Sequence[str],
        content_emb: Float[Tensor, "B D"] | None = None,
        classes: Int[Tensor, "#B U"] | None = None,
    ) -> tuple[Float[Tensor, "P K D"], ...]:
        """Encode class names to the unit embeddings of each kind of text there is: handcrafted, learnable.

        Args:
            clip: gives the text tower and the tokenizer.
            names: the class names.
            content_emb: unit embeddings that condition the prompts, or None.
            classes: for each row, or in one row for all, which names to encode, as indices; None encodes all.

        Returns:
            Of each kind (1, K, D) without any content, (B, K, D) with content, (B, U, D) with `classes`.
        """
        branches = [branch for branch in (self.handcrafted, self.learnable) if branch is not None]
        return tuple(branch.encode(clip, names, content_emb, classes) for branch in branches)

    def mixed(
        self, handcrafted: Float[Tensor, "P K D"], learnable: Float[Tensor, "P K D"] | None = None
    ) -> Float[Tensor, "P K D"]:
        """Mix the two kinds of text to unit length; one kind alone stays as it is."""
        if learnable is None:
            return handcrafted
        share = 0.5 if self.mix is None else self.mix
        return F.normalize(handcrafted + share * (learnable - handcrafted), dim=-1)
