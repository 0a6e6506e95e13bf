"""Evaluation of a checkpoint without training, and classification of one recording by free words.

checkpoint of ours or of EventBind, data set -> ledger row and predictions; recording, words -> probabilities.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from eclip_lib.cache import content_key
from eclip_lib.clip import load_clip
from eclip_lib.config import DataConfig, FrameConfig, LossConfig, Protocol, Run, filled
from eclip_lib.data import EventData, Split, find_test_part, image_features, load_dataset, load_frames
from eclip_lib.evaluation import class_scores, embed_events, evaluate, write_predictions
from eclip_lib.events import Recording
from eclip_lib.experiments.paper_presets import NAMES, preset
from eclip_lib.frames import event_frames
from eclip_lib.ledger import LEDGER, append_row, provenance
from eclip_lib.model import EClip, load_eventbind_checkpoint
from eclip_lib.paths import ASSETS, find_path
from eclip_lib.training import load_checkpoint

EMBEDDED = "eclip-tiny-events"  # among the names of checkpoints


@dataclass(frozen=True)
class Checkpoint:
    """A model that is evaluated.

    Attributes:
        path: its folder or file.
        model: in eval mode.
        frames: how events become its frames.
        run: what trained it; None for a file of the official EventBind code, which does not tell.
        preset: the preset whose frames it takes, if any.
    """

    path: Path
    model: EClip
    frames: FrameConfig
    run: Run | None
    preset: str | None = None


def open_checkpoint(
    name: str = EMBEDDED, preset_name: str | None = None, dataset: str | None = None, clip_file: str | None = None
) -> Checkpoint:
    """Open a checkpoint of ours (a folder) or of the official EventBind code (a file).

    Args:
        name: its path, or "eclip-tiny-events" for the embedded one.
        preset_name: preset whose windows cut the events, for EventBind; None takes the official code's of `dataset`.
        dataset: what it will be evaluated on.
        clip_file: weights of CLIP for a checkpoint of ours; None takes those that its run names.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: it is damaged, or nothing tells how an EventBind checkpoint's frames were made.
    """
    path = ASSETS / "eclip_tiny_events" if name == EMBEDDED else find_path(name)
    if path.is_dir():
        if preset_name:
            raise ValueError(f"{name} says itself how its frames are made; leave the preset {preset_name!r} out")
        clip = None if clip_file is None else load_clip(_backbone(path), clip_file)
        model, run, _ = load_checkpoint(path, clip)
        return Checkpoint(path, model, run.frames, run)
    preset_name = preset_name or f"eventbind-code-{dataset}"
    if preset_name not in NAMES:
        raise ValueError(
            f"{name} does not say how its frames are made; name a preset that does: {', '.join(NAMES)} "
            f"({preset_name!r} is none of them)"
        )
    model = load_eventbind_checkpoint(path)
    frames, size = preset(preset_name).frames, model.clip.visual.image_size[0]
    time_embedding = model.event_encoder.time_embedding
    assert time_embedding is not None  # EventBind always has one
    frames = replace(frames, size=size, frames=len(time_embedding))
    return Checkpoint(path, model, frames, None, preset_name)


def _backbone(folder: Path) -> str:
    from eclip_lib.training import read_description

    return Run.from_dict(read_description(folder)["run"]).model.backbone


def reported_config(trained: DataConfig | None, tested: DataConfig, protocol: Protocol | None) -> DataConfig:
    """Return the config that the row of an evaluation has: the protocol under which the checkpoint meets the data.

    Args:
        trained: what trained the checkpoint; None where it is not known, and the given protocol is believed.
        tested: the data set, its folder, and shots if they are given.
        protocol: None takes the checkpoint's own on the data set that trained it, transfer on another.

    Raises:
        ValueError: the protocol would name the result wrongly, or the test part may have trained the checkpoint.
    """
    if trained is None or trained.protocol == "zero-shot":
        if protocol == "transfer":
            raise ValueError("protocol 'transfer': the checkpoint does not say what trained it; take 'zero-shot'")
        shots = tested.shots if protocol not in (None, "zero-shot", "fine-tune") else None
        return replace(tested, protocol=protocol or "zero-shot", shots=shots)
    if trained.dataset != tested.dataset or (tested.dataset == "folder" and tested.root != trained.root):
        if protocol not in (None, "transfer", "zero-shot", "retrieval"):
            raise ValueError(
                f"protocol {protocol!r}: the checkpoint was trained on {trained.dataset}, not on {tested.dataset}; "
                "take 'transfer', 'zero-shot' or 'retrieval'"
            )
        if protocol in ("zero-shot", "retrieval"):
            return replace(tested, protocol=protocol, shots=None)
        source = replace(trained, protocol="transfer", target=tested.dataset, target_root=tested.root)
        return replace(source, fold=tested.fold if tested.dataset == "n-mnist" else trained.fold)
    if (trained.fold, trained.splits) != (tested.fold, tested.splits):
        raise ValueError(
            f"the checkpoint was trained on {trained.dataset} with fold {trained.fold} and splits {trained.splits}; "
            f"with fold {tested.fold} and splits {tested.splits}, recordings that trained it would test it"
        )
    own = "few-shot" if trained.protocol == "transfer" and trained.shots else trained.protocol
    own = "fine-tune" if own == "transfer" else own
    if protocol not in (None, own, "retrieval"):
        raise ValueError(
            f"protocol {protocol!r}: the checkpoint was trained on {trained.dataset} under {own!r}; take that, or "
            "'retrieval'"
        )
    return replace(tested, protocol=protocol or own, shots=trained.shots)


def evaluate_checkpoint(
    checkpoint: Checkpoint, tested: DataConfig, protocol: Protocol | None = None, device: str = "cpu"
) -> tuple[dict, EventData, np.ndarray, np.ndarray]:
    """Score the test part of a data set, without any training.

    Args:
        checkpoint: from `open_checkpoint`.
        tested: the data set and its folder.
        protocol: see `reported_config`.
        device: of the model.

    Returns:
        the ledger row, not yet written; the data set; the indices of its test recordings; their scores (N, K).

    Raises:
        ValueError, FileNotFoundError: see `reported_config` and `load_dataset`.
    """
    started = time.perf_counter()
    trained = checkpoint.run.data if checkpoint.run else None
    cfg = reported_config(trained, tested, protocol)
    data = load_dataset(tested)
    test = find_test_part(data)
    inputs = load_frames(data, test, checkpoint.frames)
    own = np.flatnonzero(data.has_still[test])
    model = checkpoint.model.to("cpu")
    normalization = filled(model.cfg.clip_normalization)
    stills = image_features(model.clip, data, test[own], normalization)[:, 0] if len(own) else None
    event_emb = embed_events(model.to(device), inputs)
    scores = class_scores(model, event_emb, data.class_names)
    scores, metrics = evaluate(cfg, scores, inputs.labels, event_emb, stills, torch.from_numpy(own))
    row = _row(checkpoint, cfg, tested, metrics | {"n": len(test)}) | {"simulated": data.simulated}
    row["split_hash"] = Split(test[:0], test[:0], test).hash(data)
    row["provenance"] = provenance(time.perf_counter() - started, device) | {"checkpoint": str(checkpoint.path)}
    return row, data, test, scores.numpy()


def _row(checkpoint: Checkpoint, cfg: DataConfig, tested: DataConfig, metrics: dict) -> dict:
    recipe = checkpoint.model.cfg.recipe
    run = checkpoint.run or Run(model=checkpoint.model.cfg, loss=LossConfig(recipe=recipe))
    run = replace(run, experiment="eval", method="e-clip", data=cfg, frames=checkpoint.frames)
    name = content_key([run.to_dict(), str(checkpoint.path)])[:8]
    return {
        "run_id": f"eval-{name}",
        "experiment": "eval",
        "method": "e-clip",
        "dataset": tested.subset or tested.dataset,
        "protocol": cfg.protocol,
        "shots": cfg.shots,
        "seed": run.train.seed if checkpoint.run else None,
        "fold": cfg.fold,
        "recipe": recipe,
        "backbone": checkpoint.model.cfg.backbone,
        "preset": checkpoint.preset,
        "variant": None,
        "smoke": run.smoke,
        "metrics": metrics,
        "predictions": f"predictions/eval-{name}.npz",
        "config": run.to_dict(),
    }


def write_evaluation(
    row: dict, data: EventData, test: np.ndarray, scores: np.ndarray, ledger: Path | str = LEDGER
) -> None:
    """Write the file of predictions beside the ledger, then the row."""
    ids = [data.ids[i] for i in test]
    write_predictions(Path(ledger).parent / row["predictions"], ids, data.labels[test], scores)
    append_row(row, Path(ledger))


def classify_recording(checkpoint: Checkpoint, recording: Recording, words: Sequence[str]) -> pd.DataFrame:
    """Return how well each word fits one recording, best first.

    Args:
        checkpoint: gives model and frames.
        recording: any sensor's; its frames are stretched to the model's size.
        words: names of things, each once; the model's template is put around them.

    Returns:
        A row a word: `word`, `probability` among the words (they sum to 1), `cosine` of event and text.

    Raises:
        ValueError: fewer than two words, one twice or empty, or the recording has no events.
    """
    words = [word.strip() for word in words]
    if len(words) < 2 or not all(words) or len(set(words)) < len(words):
        raise ValueError(f"words {', '.join(map(repr, words))}: give at least two different ones, none empty")
    frames, valid = event_frames(recording, checkpoint.frames)
    if not valid.any():
        raise ValueError(f"the recording has {len(recording)} events and none in its windows, so there is no frame")
    model = checkpoint.model.eval()
    with torch.no_grad():
        logits = model.classify(frames[None], valid[None], words)[0]
    table = pd.DataFrame(
        {
            "word": words,
            "probability": logits.double().softmax(0).numpy(),
            "cosine": (logits / model.logit_scale).detach().double().numpy(),
        }
    )
    return table.sort_values("probability", ascending=False, ignore_index=True, kind="stable")
