"""What each protocol reports: the target of a transfer, which classes a recording may be taken for, and the metrics.

`Run`, class scores and embeddings -> `(N, K)` scores as the protocol sees them, and a flat dict of metrics. What trains
and tests is in `eclip_lib.data.splits`, one function a protocol.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eclip_lib.config import FITTED, DataConfig, Run
from eclip_lib.data import EventData, base_classes, load_dataset
from eclip_lib.evaluation.metrics import harmonic_mean
from eclip_lib.evaluation.scores import image_retrieval, recognition

TESTED_ALONE = ("base-to-new", "transfer")  # what is tested has classes that nothing was trained on


def check_run(cfg: Run) -> None:
    """Refuse a method that the protocol cannot test.

    Raises:
        ValueError: a probe knows the classes it was fitted on, no others; or a data set is its own target.
    """
    if cfg.method in FITTED and cfg.data.protocol in TESTED_ALONE:
        raise ValueError(
            f"Run: a {cfg.method} knows only the classes it was fitted on, so it has no answer under the protocol "
            f"{cfg.data.protocol!r}; take e-clip or clip-zero-shot"
        )
    same = cfg.data.target == cfg.data.dataset and cfg.data.target_root in (None, cfg.data.root)
    if cfg.data.protocol == "transfer" and same:
        raise ValueError(f"DataConfig: target = {cfg.data.target!r} is the data set that trains; that is fine-tune")


def target_config(cfg: DataConfig) -> DataConfig:
    """Return the config of a transfer's target: all of its classes, tested without training."""
    assert cfg.target is not None  # its protocol is transfer
    return replace(
        cfg,
        dataset=cfg.target,
        root=cfg.target_root,
        stills=None,
        splits=None,
        subset=None,
        protocol="zero-shot",
        shots=None,
        target=None,
        target_root=None,
        fold=cfg.fold if cfg.target == "n-mnist" else None,
    )


def load_target(cfg: DataConfig) -> EventData | None:
    """Open the data set that a transfer is tested on; None under every other protocol.

    Raises:
        FileNotFoundError, ValueError: see `load_dataset`.
    """
    return load_dataset(target_config(cfg)) if cfg.protocol == "transfer" else None


def protocol_scores(scores: Float[Tensor, "N K"], labels: Int[Tensor, " N"], cfg: DataConfig) -> Float[Tensor, "N K"]:
    """Return class scores with minus infinity where the protocol rules a class out.

    Only base-to-new does: a recording of a base class is compared with base classes, one of a new class with new ones.
    """
    if cfg.protocol != "base-to-new":
        return scores
    base = base_classes(scores.shape[1])
    other_half = (labels < base)[:, None] != (torch.arange(scores.shape[1]) < base)[None]
    return scores.masked_fill(other_half, float("-inf"))


def evaluate(
    cfg: DataConfig,
    scores: Float[Tensor, "N K"],
    labels: Int[Tensor, " N"],
    event_emb: Float[Tensor, "N D"] | None = None,
    image_emb: Float[Tensor, "Q D"] | None = None,
    own: Int[Tensor, " Q"] | None = None,
) -> tuple[Float[Tensor, "N K"], dict[str, float]]:
    """Return scores as the protocol sees them, for the file of predictions, and everything it reports.

    Args:
        cfg: gives the protocol.
        scores: of all classes, for the test recordings.
        labels: their classes.
        event_emb: their unit embeddings; None where the method has none.
        image_emb: unit embeddings of the test stills; None leaves image retrieval out.
        own: the test recording each still belongs to; None where still i belongs to recording i.

    Returns:
        scores: see `protocol_scores`.
        metrics: those of `recognition`; under base-to-new those of each half under `base_...` and `new_...`, with
            `harmonic_mean` of the two `top1`; and those of `image_retrieval` where there are embeddings.

    Raises:
        ValueError: base-to-new where one half has no test recording; see also `image_retrieval`.
    """
    scores = protocol_scores(scores, labels, cfg)
    metrics = _halves(scores, labels) if cfg.protocol == "base-to-new" else recognition(scores, labels)
    if event_emb is not None and image_emb is not None:
        metrics |= image_retrieval(image_emb, event_emb, labels, own)
    return scores, metrics


def _halves(scores: Float[Tensor, "N K"], labels: Int[Tensor, " N"]) -> dict[str, float]:
    """Return the metrics of base and of new classes, each among its own."""
    base = base_classes(scores.shape[1])
    halves = {
        "base": (labels < base, scores[:, :base], labels),
        "new": (labels >= base, scores[:, base:], labels - base),
    }
    metrics: dict[str, float] = {}
    for name, (rows, half, half_labels) in halves.items():
        if not rows.any():
            raise ValueError(f"base-to-new: no test recording is of one of the {name} classes")
        found = recognition(half[rows], half_labels[rows]) | {"n": float(rows.sum())}
        metrics |= {f"{name}_{kind}": value for kind, value in found.items()}
    return metrics | {"harmonic_mean": harmonic_mean(metrics["base_top1"], metrics["new_top1"])}
