"""The texts that pre-training sees: names in templates, cut to what they need."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from eclip_lib.pretraining.stills import PretrainData
from eclip_lib.pretraining.vocabulary import used_merges, write_merges

# Every template some recipe or notebook uses, so that the tiny CLIP has met them; "{}" is the bare name.
TEMPLATES = (
    "{}",
    "a {}.",
    "an icon of a {}.",
    "a drawing of a {}.",
    "a picture of a {}.",
    "a photo of a {}.",
    "A sketch image of a {}.",
    "A drafted image of a {}.",
    "a point cloud image of a {}.",
    "image of a {}.",
)


def write_vocabulary(path: Path, data: PretrainData) -> None:
    """Write the merge list that the captions, the class names and the templates need."""
    texts = [text for names in data.texts for text in names] + list(TEMPLATES) + list("abcdefghijklmnopqrstuvwxyz")
    write_merges(path, used_merges(texts))


class TextSampler:
    """Draw a name and a template for a still; tokenized once, since the texts are few."""

    def __init__(self, tokenizer: SimpleTokenizer, names: list[list[str]], classes: list[str]):
        """Tokenize every name in every template."""
        self.names, self.classes, self.rows = names, classes, {}
        for name in {name for options in names for name in options} | set(classes):
            self.rows[name] = tokenizer([template.format(name) for template in TEMPLATES])

    def of_stills(self, picks: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Draw one text for each still, `(B, L)`, cut to the longest."""
        options = [self.names[i] for i in picks]
        names = [o[0] if rng.random() < 0.5 else o[int(rng.integers(len(o)))] for o in options]
        return _cut(torch.stack([self.rows[name][self._template(rng)] for name in names]))

    def of_classes(self, rng: np.random.Generator) -> Tensor:
        """Draw one template and fill in every basic class, `(K, L)`."""
        template = self._template(rng)
        return _cut(torch.stack([self.rows[name][template] for name in self.classes]))

    @staticmethod
    def _template(rng: np.random.Generator) -> int:
        return 0 if rng.random() < 0.25 else int(rng.integers(1, len(TEMPLATES)))


def _cut(tokens: Tensor) -> Tensor:
    """Drop the columns that are padding in every row; exact, since the text tower is causal."""
    return tokens[:, : int(tokens.argmax(1).max()) + 1]


def encode_short_text(clip: CLIP, tokens: Tensor) -> Tensor:
    """Encode texts shorter than the context `(B, L) -> (B, D)`, as `clip.encode_text` does for the padded ones."""
    length = tokens.shape[1]
    x = clip.token_embedding(tokens) + clip.positional_embedding[:length]
    x = clip.transformer(x, attn_mask=clip.attn_mask[:length, :length])
    x = clip.ln_final(x)[torch.arange(len(x)), tokens.argmax(1)]
    return F.normalize(x @ clip.text_projection, dim=-1)
