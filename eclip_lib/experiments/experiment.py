"""One experiment in its parts: a `Run` in, a ledger row out.

`run(cfg)` does everything; a notebook that wants to look at the parts uses `Experiment`. Under `torchrun` both do the
same in many processes: each trains and tests its part, the first one writes.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from eclip_lib.clip import load_clip
from eclip_lib.config import Run, filled
from eclip_lib.data import (
    EventData,
    EventStream,
    FrameSet,
    image_features,
    load_dataset,
    load_frames,
    split_dataset,
    stills_of,
    text_features,
)
from eclip_lib.evaluation import check_run, class_scores, evaluate, load_target, worst_confusions, write_predictions
from eclip_lib.events import augments
from eclip_lib.experiments.paper_presets import preset_name
from eclip_lib.experiments.rival_scores import RIVALS
from eclip_lib.ledger import LEDGER, append_row, provenance
from eclip_lib.model import TERMS, EClip
from eclip_lib.paths import ROOT
from eclip_lib.training import (
    Keeper,
    describe,
    device_name,
    first_alone,
    fit,
    make_fabric,
    save_checkpoint,
    seed_everything,
    shared_scores,
)

MOST_KEPT = 16 * 2**30  # bytes of training frames that are kept in the cache; more are drawn anew in every epoch


class Experiment:
    """One run: its data, its model, and what came of it.

    Args:
        cfg: the run.
        fabric: from `make_fabric`; None makes it as `cfg.train` says.

    Attributes:
        cfg: the run.
        data, split: the data set and the indices of each side.
        tested: the data set that the test side indexes; another one than `data` under the protocol transfer.
        train, val, test: the frames of each side; training frames that are drawn anew in every epoch are a stream.
        clip, model: the backbone and, for E-CLIP, the model on top of it.
        scores: (N, K) after `evaluate`; the class scores of the test recordings.
        event_emb: (N, D) after `evaluate`; their unit embeddings, where the method has any.
    """

    def __init__(self, cfg: Run, fabric: Fabric | None = None):
        check_run(cfg)
        self.cfg, self.started = cfg, time.perf_counter()
        self.fabric = fabric or make_fabric(cfg.train)
        self.data, target = load_dataset(cfg.data), load_target(cfg.data)
        self.tested = target or self.data
        self.split = split_dataset(self.data, cfg.data, cfg.train.seed, target)
        self.split_hash = self.split.hash(self.data, target)
        if cfg.method != "clip-zero-shot" and cfg.data.protocol != "zero-shot" and not len(self.split.train):
            raise ValueError("the split leaves nothing to train on")
        seed_everything(cfg.train.seed)
        self.clip = load_clip(cfg.model.backbone, cfg.model.pretrained)
        with first_alone(self.fabric):
            self.train, self.val, self.test = self._frames()
        self.model = EClip(cfg.model, self.clip, cfg.frames.frames) if cfg.method == "e-clip" else None
        (self.clip if self.model is None else self.model).to(self.fabric.device)
        self._remember_text()
        self.scores: Tensor  # there after `evaluate`
        self.event_emb: Tensor | None = None
        self.chosen: dict[str, float] = {}  # what validation chose for a rival
        self.losses: dict[str, float] = {}  # the terms of the last epoch, unweighted

    @property
    def eclip(self) -> EClip:
        """Return the model of a run of E-CLIP."""
        assert self.model is not None
        return self.model

    def _frames(self) -> tuple[FrameSet | EventStream, FrameSet, FrameSet]:
        size = self.clip.visual.image_size[0]
        if self.cfg.frames.size != size:
            raise ValueError(
                f"FrameConfig.size = {self.cfg.frames.size}, but {self.cfg.model.backbone} sees {size} pixels"
            )
        train, sides = self._training_frames(), ((self.data, self.split.val), (self.tested, self.split.test))
        val, test = (load_frames(data, side, self.cfg.frames) for data, side in sides)
        return train, val, test

    def _training_frames(self) -> FrameSet | EventStream:
        """Return kept frames, or a stream of those that are too many or change in every epoch."""
        cfg, side = self.cfg, self.split.train
        kept = len(side) * cfg.frames.frames * 3 * cfg.frames.size**2
        if cfg.method == "e-clip" and len(side) and (augments(cfg.train) or kept > MOST_KEPT):
            labels = torch.from_numpy(self.data.labels[side])
            return EventStream(self.data, side, cfg.frames, cfg.train, labels)
        return load_frames(self.data, side, cfg.frames)

    def _remember_text(self) -> None:
        """Give the handcrafted prompts their text from the cache, where no content changes it."""
        if self.model is None or self.model.prompts.handcrafted is None or self.cfg.model.content_prompts != "none":
            return
        with first_alone(self.fabric):
            text_emb = self.text_emb(self.data.class_names)
        self.model.prompts.handcrafted.remember(self.data.class_names, text_emb.to(self.fabric.device))

    def _image_emb(self, data: EventData, side: np.ndarray) -> Tensor:
        cfg = self.cfg.model
        normalization = True if self.model is None else filled(cfg.clip_normalization)  # as `frame_features`
        with first_alone(self.fabric):
            return image_features(self.clip, data, side, normalization)

    def fit(self, watch: bool = True, keeper: Keeper | None = None) -> Iterator[dict[str, float]]:
        """Train E-CLIP, one record an epoch; nothing for zero-shot and for the other methods.

        With `watch`, every record has the accuracy on the validation part; the weights are the same without. A
        `keeper` makes the training one that goes on after an interruption.
        """
        self.started = time.perf_counter()
        cfg, side = self.cfg.train, self.split.train
        if self.model is not None and len(side):
            for record in fit(
                self.model,
                self.train,
                self.val if watch or cfg.select == "val" else None,
                self._image_emb(self.data, side),
                self.data.class_names,
                cfg,
                self.cfg.loss,
                test=self.test,
                has_still=torch.from_numpy(stills_of(self.data, side)),
                ids=[self.data.ids[index] for index in side],
                fabric=self.fabric,
                keeper=keeper,
            ):
                self.losses = {name: record[name] for name in TERMS if name in record}
                yield record

    def keeper(self, folder: Path, resume: bool = True) -> Keeper:
        """Return what keeps this run's states in a folder of its own."""
        facts = {"split_hash": self.split_hash}
        known = describe(self.clip, self.cfg, self.data.class_names, facts)
        return Keeper(folder, known, resume, self.fabric.is_global_zero)

    def evaluate(self) -> dict:
        """Score the test recordings and return the ledger row, not yet written."""
        self.event_emb, scores = self._score()
        image_emb = own = None
        if self.event_emb is not None:
            there = np.flatnonzero(stills_of(self.tested, self.split.test))
            own = torch.from_numpy(there) if len(there) < len(self.split.test) else None
            image_emb = self._image_emb(self.tested, self.split.test[there])[:, 0] if len(there) else None
        self.scores, metrics = evaluate(self.cfg.data, scores, self.test.labels, self.event_emb, image_emb, own)
        return self._row(metrics)

    def _score(self) -> tuple[Tensor | None, Tensor]:
        """Return unit embeddings of the test recordings, where the method has any, and their class scores."""
        if self.model is not None:
            return shared_scores(self.model, self.test, self.tested.class_names, self.fabric)
        scored = RIVALS[self.cfg.method](self)
        self.chosen = scored.chosen
        return scored.event_emb, scored.scores

    def text_emb(self, names: Sequence[str]) -> Tensor:
        """Return CLIP's own unit embeddings (K, D) of class names in the template."""
        return text_features(self.clip, [filled(self.cfg.model.template).format(name) for name in names])

    def save(self, folder: str, row: dict) -> None:
        """Keep E-CLIP's own weights and what is known of them (half precision), in a folder of the project."""
        facts = {name: row[name] for name in ("run_id", "dataset", "metrics", "split_hash", "provenance")}
        save_checkpoint(ROOT / folder, self.eclip, self.cfg, self.data.class_names, facts, half=True)

    def retrieve(self, queries: Sequence[str], most: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find the test recordings that score best for each free text; after `evaluate` of E-CLIP.

        Returns:
            rows of the test set, their class names, and whether that is the text asked for; each (Q, most), best first.
        """
        assert self.event_emb is not None  # `evaluate` of E-CLIP gives them
        scores = class_scores(self.eclip, self.event_emb, queries)
        rows = scores.topk(most, dim=0).indices.t().numpy()
        names = self.names(self.test.labels.numpy()[rows])
        return rows, names, names == np.array(queries)[:, None]

    def show(self, rows: np.ndarray) -> np.ndarray:
        """Return the first frame of test rows of any shape, `(..., 3, S, S)` in [0, 1]."""
        return self.test.pixels[rows, 0] / np.float32(255)

    def names(self, labels: np.ndarray | Tensor) -> np.ndarray:
        """Return the class names of test labels of any shape."""
        return np.array(self.tested.class_names)[np.asarray(labels)]

    def confusions(self, most: int = 8) -> tuple[list[tuple], np.ndarray]:
        """Return the worst confusions by name, and one misread recording of each; after `evaluate`."""
        predicted, labels = self.scores.argmax(1), self.test.labels
        pairs = worst_confusions(predicted, labels, most)
        rows = [int(((labels == true) & (predicted == other)).nonzero()[0]) for true, other, *_ in pairs]
        named = [(*self.names(np.array([true, other])), *rest) for true, other, *rest in pairs]
        return named, self.show(np.array(rows, int))

    def _row(self, metrics: dict[str, float]) -> dict:
        cfg = self.cfg
        return {
            "run_id": run_id(cfg),
            "experiment": cfg.experiment,
            "method": cfg.method,
            "dataset": cfg.data.target or cfg.data.subset or cfg.data.dataset,  # that is tested
            "simulated": self.tested.simulated,
            "protocol": cfg.data.protocol,
            "shots": cfg.data.shots,
            "seed": cfg.train.seed,
            "fold": cfg.data.fold,
            "recipe": cfg.model.recipe if cfg.method == "e-clip" else None,
            "backbone": cfg.model.backbone,
            "preset": preset_name(cfg),
            "variant": cfg.variant,
            "smoke": cfg.smoke,
            "metrics": metrics | {"n": len(self.test)} | self.chosen,
            "losses": self.losses,
            "split_hash": self.split_hash,
            "predictions": f"predictions/{cfg.id}.npz",
            "config": cfg.to_dict(),
            "provenance": provenance(time.perf_counter() - self.started, device_name(self.fabric)),
        }

    def write(self, row: dict, ledger: Path = LEDGER, once: bool = False) -> dict:
        """Write the predictions of each test recording beside the ledger, then the row; returns the row.

        With `once`, nothing is added where the ledger has the row already (see `append_row`).
        """
        if self.fabric.is_global_zero:
            ids = [self.tested.ids[index] for index in self.split.test]
            path = ledger.parent / row["predictions"]
            write_predictions(path, ids, self.test.labels.numpy(), self.scores.numpy())
            append_row(row, ledger, once)
        return row


def run_id(cfg: Run) -> str:
    """Name a run by its config, its method and its seed."""
    return f"{cfg.id}-{cfg.method}-{cfg.train.seed}"
