"""What a step of pre-training minimizes: contrast, class texts and the features of a teacher."""

from functools import reduce

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor, nn

from eclip_lib.clip import PretrainConfig, normalize_images
from eclip_lib.model import symmetric_cross_entropy
from eclip_lib.pretraining.stills import PretrainData
from eclip_lib.pretraining.texts import encode_short_text


def relation_loss(student: Tensor, teacher: Tensor, temperature: float = 0.1) -> Tensor:
    """Return the KL divergence between the in-batch similarities, row by row, of teacher and student.

    Their features, (B, P) and (B, D), are of unit length; the similarity of a still to itself is left out.
    """
    off = ~torch.eye(len(student), dtype=torch.bool)
    mine, theirs = ((z @ z.t())[off].view(len(z), -1) / temperature for z in (student, teacher))
    return F.kl_div(F.log_softmax(mine, 1), F.softmax(theirs, 1), reduction="batchmean")


def pretrain_losses(
    clip: CLIP, head: nn.Module, data: PretrainData, picks: np.ndarray, views: Tensor, texts: tuple, cfg: PretrainConfig
) -> dict[str, Tensor]:
    """Return every weighted term of one step and their total.

    Args:
        clip: the student.
        head: from the student's embeddings to the teacher's features.
        data: all that a step can draw from.
        picks: (B,) the stills of the step, as indices into `data`.
        views: (B, 3, S, S) in [0, 1], a random view of each.
        texts: tokens (B, L) of the stills, and (K, L) of the basic classes.
        cfg: the weights.
    """
    image_emb = F.normalize(clip.visual(normalize_images(clip, views)), dim=-1)
    text_emb, class_emb = (encode_short_text(clip, tokens) for tokens in texts)
    scale = clip.logit_scale.exp().clamp(max=100)
    same = torch.from_numpy(data.group[picks][:, None] == data.group[picks][None])
    logits = scale * image_emb @ text_emb.t()
    label = torch.from_numpy(data.label[picks])
    known = label >= 0
    target = data.targets[torch.from_numpy(picks)]
    losses = {
        "contrast": symmetric_cross_entropy(logits, same),
        "class": cfg.class_weight
        * F.cross_entropy(scale * image_emb[known] @ class_emb.t(), label[known], label_smoothing=0.1),
        "teacher": cfg.teacher_weight * (1 - F.cosine_similarity(head(image_emb), target).mean()),
        "text_teacher": cfg.text_teacher_weight
        * (1 - F.cosine_similarity(head(text_emb), data.prototypes[torch.from_numpy(data.group[picks])]).mean()),
        "relation": cfg.relation_weight * relation_loss(image_emb, target),
    }
    losses["total"] = reduce(torch.add, losses.values())
    return losses
