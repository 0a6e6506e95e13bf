"""The composition root: a `Run` in, a ledger row out.

`run(cfg)` does everything; a notebook that wants to look at the parts uses `Experiment`.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm.auto import tqdm

from eclip_lib.backbone import load_clip
from eclip_lib.baselines import probe_scores, zero_shot_scores
from eclip_lib.cache import atomic_path
from eclip_lib.checkpoints import save_checkpoint
from eclip_lib.config import ROOT, Run
from eclip_lib.datasets import load_dataset
from eclip_lib.evaluation import class_scores, embed_events, image_retrieval, recognition
from eclip_lib.inputs import FrameSet, frame_features, image_features, load_frames, summed_count_maps
from eclip_lib.metrics import worst_confusions
from eclip_lib.model import EClip
from eclip_lib.results import LEDGER, append_row, provenance
from eclip_lib.splits import split_dataset
from eclip_lib.training import fit, seed_everything


class Experiment:
    """One run: its data, its model, and what came of it.

    Attributes:
        cfg: the run.
        data, split: the data set and the indices of each side.
        train, val, test: the frames of each side.
        clip, model: the backbone and, for E-CLIP, the model on top of it.
        scores: (N, K) after `evaluate`; the class scores of the test recordings.
        event_emb: (N, D) after `evaluate`; their unit embeddings, where the method has any.
    """

    def __init__(self, cfg: Run):
        self.cfg, self.started = cfg, time.perf_counter()
        self.data = load_dataset(cfg.data)
        self.split = split_dataset(self.data, cfg.data, cfg.train.seed)
        if cfg.method != "clip-zero-shot" and cfg.data.protocol != "zero-shot" and not len(self.split.train):
            raise ValueError("the split leaves nothing to train on")
        seed_everything(cfg.train.seed)
        self.clip = load_clip(cfg.model.backbone, cfg.model.pretrained)
        self.train, self.val, self.test = self._frames()
        self.model = EClip(cfg.model, self.clip, cfg.frames.frames) if cfg.method == "e-clip" else None
        self.scores: Tensor | None = None
        self.event_emb: Tensor | None = None
        self.penalty: float | None = None  # C of a probe, as validation chose it

    def _frames(self) -> tuple[FrameSet, FrameSet, FrameSet]:
        size = self.clip.visual.image_size[0]
        if self.cfg.frames.size != size:
            raise ValueError(
                f"FrameConfig.size = {self.cfg.frames.size}, but {self.cfg.model.backbone} sees {size} pixels"
            )
        sides = (self.split.train, self.split.val, self.split.test)
        return tuple(load_frames(self.data, side, self.cfg.frames) for side in sides)

    def _image_emb(self, side: np.ndarray) -> Tensor:
        normalization = self.cfg.model.clip_normalization if self.model is not None else True  # as `frame_features`
        return image_features(self.clip, self.data, side, normalization)

    def fit(self, watch: bool = True) -> Iterator[dict[str, float]]:
        """Train E-CLIP, one record an epoch; nothing for zero-shot and for the other methods.

        With `watch`, every record has the accuracy on the validation part; the weights are the same without.
        """
        self.started = time.perf_counter()
        if self.model is not None and len(self.split.train):
            stills = self._image_emb(self.split.train)
            val = self.val if watch else None
            yield from fit(self.model, self.train, val, stills, self.data.class_names, self.cfg.train, self.cfg.loss)

    def evaluate(self) -> dict:
        """Score the test recordings and return the ledger row, not yet written."""
        self.event_emb, self.scores = self._score()
        metrics = recognition(self.scores, self.test.labels)
        if self.event_emb is not None:
            stills = self._image_emb(self.split.test)[:, 0]
            metrics |= image_retrieval(stills, self.event_emb, self.test.labels)
        return self._row(metrics)

    def _score(self) -> tuple[Tensor | None, Tensor]:
        if self.cfg.method == "e-clip":
            event_emb = embed_events(self.model, self.test)
            return event_emb, class_scores(self.model, event_emb, self.data.class_names)
        if self.cfg.method == "count-map-probe":
            return None, self._probe([summed_count_maps(self.data, s) for s in self._sides()])
        features = [frame_features(self.clip, side) for side in (self.train, self.val, self.test) if len(side)]
        if self.cfg.method == "linear-probe":
            return features[-1], self._probe([part.numpy() for part in features])
        names, template = self.data.class_names, self.cfg.model.template
        return features[-1], zero_shot_scores(self.clip, features[-1], names, template)

    def _sides(self) -> tuple[np.ndarray, ...]:
        return self.split.train, self.split.val, self.split.test

    def _probe(self, features: list[np.ndarray]) -> Tensor:
        train, val, test = features
        labelled = (train, self.train.labels.numpy()), (val, self.val.labels.numpy())
        scores, self.penalty = probe_scores(*labelled, test, len(self.data.class_names))
        return scores

    def save(self, folder: str, row: dict) -> None:
        """Keep E-CLIP's own weights and what is known of them (half precision), in a folder of the project."""
        facts = {name: row[name] for name in ("run_id", "dataset", "metrics", "split_hash", "provenance")}
        save_checkpoint(ROOT / folder, self.model, self.cfg, self.data.class_names, facts, half=True)

    def retrieve(self, queries: Sequence[str], most: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find the test recordings that score best for each free text; after `evaluate` of E-CLIP.

        Returns:
            rows of the test set, their class names, and whether that is the text asked for; each (Q, most), best first.
        """
        scores = class_scores(self.model, self.event_emb, queries)
        rows = scores.topk(most, dim=0).indices.t().numpy()
        names = self.names(self.test.labels.numpy()[rows])
        return rows, names, names == np.array(queries)[:, None]

    def show(self, rows: np.ndarray) -> np.ndarray:
        """Return the first frame of test rows of any shape, `(..., 3, S, S)` in [0, 1]."""
        return self.test.pixels[rows, 0] / np.float32(255)

    def names(self, labels: np.ndarray | Tensor) -> np.ndarray:
        """Return the class names of labels of any shape."""
        return np.array(self.data.class_names)[np.asarray(labels)]

    def confusions(self, most: int = 8) -> tuple[list[tuple], np.ndarray]:
        """Return the worst confusions by name, and one misread recording of each; after `evaluate`."""
        predicted, labels = self.scores.argmax(1), self.test.labels
        pairs = worst_confusions(predicted, labels, most)
        rows = [int(((labels == true) & (predicted == other)).nonzero()[0]) for true, other, *_ in pairs]
        return [(*self.names([true, other]), *rest) for true, other, *rest in pairs], self.show(np.array(rows, int))

    def _row(self, metrics: dict[str, float]) -> dict:
        cfg = self.cfg
        return {
            "run_id": f"{cfg.id}-{cfg.method}-{cfg.train.seed}",
            "experiment": cfg.experiment,
            "method": cfg.method,
            "dataset": cfg.data.subset or cfg.data.dataset,
            "simulated": self.data.simulated,
            "protocol": cfg.data.protocol,
            "shots": cfg.data.shots,
            "seed": cfg.train.seed,
            "fold": cfg.data.fold,
            "recipe": cfg.model.recipe if cfg.method == "e-clip" else None,
            "backbone": cfg.model.backbone,
            "preset": None,
            "variant": None,
            "smoke": cfg.smoke,
            "metrics": metrics | {"n": len(self.test)} | ({"probe_c": self.penalty} if self.penalty else {}),
            "split_hash": self.split.hash(self.data),
            "predictions": f"predictions/{cfg.id}.npz",
            "config": cfg.to_dict(),
            "provenance": provenance(time.perf_counter() - self.started),
        }

    def write(self, row: dict, ledger: Path = LEDGER) -> dict:
        """Write the per-sample predictions beside the ledger, then the row; returns the row."""
        with atomic_path(ledger.parent / row["predictions"]) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                ids=np.array([self.data.ids[i] for i in self.split.test]),
                labels=self.test.labels.numpy(),
                predicted=self.scores.argmax(1).numpy(),
                scores=self.scores.half().numpy(),
            )
        append_row(row, ledger)
        return row


def run_all(runs: Iterable[Run], ledger: Path = LEDGER) -> list[dict]:
    """Do several runs behind one progress bar and return their rows."""
    return [run(cfg, ledger) for cfg in tqdm(list(runs), desc="runs")]


def run(cfg: Run, ledger: Path = LEDGER) -> dict:
    """Do one run from data to ledger and return its row.

    Raises:
        ValueError, FileNotFoundError: something about the config or the data is wrong; nothing was written.
    """
    experiment = Experiment(cfg)
    for _ in experiment.fit(watch=False):
        pass
    return experiment.write(experiment.evaluate(), Path(ledger))
