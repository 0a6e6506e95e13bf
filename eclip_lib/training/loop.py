"""Training: `fit` yields one record an epoch, on one process or many, and goes on where an earlier one was stopped.

model, frames, still embeddings, `TrainConfig`, `LossConfig` -> a dict an epoch; the model is trained in place.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace

import torch
from jaxtyping import Bool, Float
from lightning_fabric import Fabric
from torch import Tensor, nn

from eclip_lib.config import LossConfig, TrainConfig
from eclip_lib.data import EventStream, FrameSet
from eclip_lib.evaluation import topk_accuracy
from eclip_lib.frames import move_frames
from eclip_lib.model import STILL_TERMS, EClip
from eclip_lib.training.checkpoints import trained_weights
from eclip_lib.training.distributed import make_fabric, own_rows
from eclip_lib.training.keeper import Keeper
from eclip_lib.training.objective import BatchLosses
from eclip_lib.training.schedule import parameter_groups, schedule, seed_everything
from eclip_lib.training.scoring import shared_scores


@dataclass
class Progress:
    """Where a training stands; plain values that JSON can hold."""

    epoch: int = 1  # that is under way
    batch: int = 0  # batches done of it
    step: int = 0  # steps of the optimizer, of all epochs
    sums: dict[str, float] = field(default_factory=dict)  # of each term over the recordings of this epoch
    counts: dict[str, int] = field(default_factory=dict)  # of these recordings
    records: list[dict] = field(default_factory=list)  # of the epochs that are done
    best: float | None = None  # accuracy that selects


def fit(
    model: EClip,
    train: FrameSet | EventStream,
    val: FrameSet | None,
    image_emb: Float[Tensor, "N 2 D"],
    class_names: Sequence[str],
    cfg: TrainConfig,
    loss: LossConfig,
    *,
    test: FrameSet | None = None,
    has_still: Bool[Tensor, " N"] | None = None,
    ids: Sequence[str] | None = None,
    fabric: Fabric | None = None,
    keeper: Keeper | None = None,
) -> Iterator[dict[str, float]]:
    """Train a model in place; yields a record after every epoch.

    Each record has `epoch`, the mean `loss`, the mean of each term, and of the frames that are watched `val_top1` and
    `test_top1`. By default the last epoch is the result, and what is watched is for the eye alone.

    Args:
        model: trained in place.
        train: frames that train.
        val: frames that are watched; None saves the time.
        image_emb: unit embeddings of the training stills and of their mirror images.
        class_names: the class list that labels index.
        cfg: how to train; with `select` other than "last", the model is in the end the one of the epoch with the
            highest accuracy, the first of equals.
        loss: what to minimize.
        test: frames of which only `select = "best-epoch-on-test"` takes notice.
        has_still: which training recordings have a still; None: all.
        ids: names of the training recordings, for messages.
        fabric: from `make_fabric`; under it `cfg.batch_size` is the number of all processes together.
        keeper: keeps the last and the best state; with one that an interrupted run has left, the training goes on
            from there. The records of the epochs before come first.

    Raises:
        FloatingPointError: the loss or a gradient is not finite; the message names the recordings of the batch.
        ValueError: `cfg` asks for what is not there: frames to select by, or a still for every recording.
    """
    seed_everything(cfg.seed)
    fabric = fabric or make_fabric(cfg)
    watched = {"val": val, "test": test if cfg.select == "best-epoch-on-test" else None}
    training = _Training(model, train, image_emb, class_names, cfg, loss, fabric, keeper)
    training.watched = {name: one for name, one in watched.items() if one is not None}
    training.has_still = None if has_still is None or has_still.all() else has_still
    training.ids = ids
    training.check()
    training.restore()
    yield from training.epochs()


class _Training:
    """What `fit` holds while it trains."""

    def __init__(self, model, train, image_emb, class_names, cfg, loss, fabric, keeper):
        self.model, self.train, self.image_emb, self.class_names = model, train, image_emb, class_names
        self.cfg, self.loss, self.fabric, self.keeper = cfg, loss, fabric, keeper
        self.watched: dict[str, FrameSet] = {}
        self.has_still: Tensor | None = None
        self.ids: Sequence[str] | None = None
        self.progress, self.order, self.best_weights = Progress(), None, None
        self.rng = torch.Generator().manual_seed(cfg.seed)
        self.optimizer = torch.optim.AdamW(parameter_groups(model, cfg))
        self.losses, self.stepper = fabric.setup(BatchLosses(model, class_names, loss, fabric), self.optimizer)
        batches = math.ceil(len(train) / cfg.batch_size)
        self.steps = cfg.epochs * math.ceil(batches / cfg.accumulate)

    def check(self) -> None:
        """Raise ValueError where the config asks for what is not there."""
        if self.has_still is not None and not self.loss.event_text:
            raise ValueError(
                f"{int((~self.has_still).sum())} of {len(self.has_still)} training recordings have no still, and "
                "LossConfig.event_text = 0 leaves nothing that trains on them; give it a weight, or give the stills"
            )
        blank = [] if isinstance(self.train, EventStream) else (~self.train.valid.any(1)).nonzero().flatten().tolist()
        if blank:
            raise ValueError(f"training recordings {self._names(blank)} have no valid frame; leave them out")
        if self.cfg.select != "last" and self.selector not in self.watched:
            raise ValueError(
                f"TrainConfig.select = {self.cfg.select!r}: there are no {self.selector} frames to select by"
            )

    @property
    def selector(self) -> str:
        """Name the frames that select the epoch."""
        return "test" if self.cfg.select == "best-epoch-on-test" else "val"

    # --- epochs and steps ---

    def epochs(self) -> Iterator[dict[str, float]]:
        """Do the epochs that are left; yields the records of all."""
        yield from self.progress.records
        while self.progress.epoch <= self.cfg.epochs:
            self._epoch()
            record = self._record()
            self._select(record)
            self.progress.records.append(record)
            self.progress = replace(self.progress, epoch=self.progress.epoch + 1, batch=0, sums={}, counts={})
            self.order = None
            self._save()
            yield record
        if self.best_weights is not None:
            self.model.load_trained_state(self.best_weights)

    def _epoch(self) -> None:
        """Do what is left of an epoch."""
        now, cfg = self.progress, self.cfg
        self.model.train()
        if self.order is None:
            self.order = torch.randperm(len(self.train), generator=self.rng)
        batches = self.order.split(cfg.batch_size)
        groups = [batches[i : i + cfg.accumulate] for i in range(now.batch, len(batches), cfg.accumulate)]
        own = [own_rows(rows, self.fabric) for rows in batches[now.batch :]]
        stream = zip(own, self.train.batches(own, cfg.seed, now.epoch, self.fabric.device), strict=True)
        for group in groups:
            self._step(group, stream)
            now.batch += len(group)
            if self.keeper and now.batch < len(batches) and self.keeper.due():
                self._save()

    def _step(self, group: Sequence[Tensor], stream: Iterator) -> None:
        """Average the gradients of a group of batches and take one step."""
        share = schedule(self.progress.step, self.steps, self.cfg.warmup)
        for rates in self.optimizer.param_groups:
            rates["lr"] = rates["peak"] * share
        self.stepper.zero_grad()
        for number, rows in enumerate(group, start=1):
            alone = self.fabric.world_size == 1 or number == len(group)
            with nullcontext() if alone else self.fabric.no_backward_sync(self.losses):
                own, drawn = next(stream)
                losses = self.losses(*self._draw(own, drawn, len(rows)), self._still(rows), len(rows))
                self._check_finite(losses["total"], "loss", rows)
                self.fabric.backward(losses["total"] / len(group))
            self._add(losses, rows)
        self.fabric.strategy.precision.unscale_gradients(self.optimizer)
        trained = [p for p in self.model.parameters() if p.requires_grad]  # the norm's last bits are of their order
        norm = nn.utils.clip_grad_norm_(trained, self.cfg.clip_gradient)
        if self.cfg.precision != "16":  # whose scaler leaves such a step out, and tries a smaller scale
            self._check_finite(norm, "gradient", torch.cat(list(group)))
        self.stepper.step()
        self.progress.step += 1

    def _draw(self, rows: Tensor, drawn: tuple[Tensor, Tensor], count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return frames, valid, labels and still embeddings of the own rows of a batch of `count` recordings.

        Frames and stills are mirrored together; only frames are moved.
        """
        frames, valid = drawn
        mirror = self.cfg.flip and torch.rand((), generator=self.rng).item() < 0.5
        frames = move_frames(frames, self.cfg, self.rng, own_rows(torch.arange(count), self.fabric), count)
        frames = frames.flip(-1) if mirror else frames
        device = self.fabric.device
        return frames, valid, self.train.labels[rows].to(device), self.image_emb[rows, int(mirror)].to(device)

    def _still(self, rows: Tensor) -> Tensor | None:
        return None if self.has_still is None else self.has_still[rows].to(self.fabric.device)

    def _add(self, losses: dict[str, Tensor], rows: Tensor) -> None:
        """Add the terms of a batch to the sums of the epoch, each as often as it has recordings."""
        now, all_rows = self.progress, len(rows)
        stills = all_rows if self.has_still is None else int(self.has_still[rows].sum())
        for name, value in losses.items():
            count = stills if name in STILL_TERMS else all_rows
            now.sums[name] = now.sums.get(name, 0.0) + value.item() * count
            now.counts[name] = now.counts.get(name, 0) + count

    def _check_finite(self, value: Tensor, what: str, rows: Tensor) -> None:
        """Raise FloatingPointError for a value that is not finite."""
        if torch.isfinite(value):
            return
        names = self._names(rows.tolist())
        kept = f"; the last good checkpoint is in {self.keeper.folder}" if self.keeper else ""
        raise FloatingPointError(
            f"the {what} is {value.item()} at epoch {self.progress.epoch}, recordings {names}; look at these, or try a "
            f"lower rate than {self.cfg.tower_rate}{kept}"
        )

    def _names(self, rows: list[int]) -> list:
        return rows if self.ids is None else [self.ids[row] for row in rows]

    # --- what comes of an epoch ---

    def _record(self) -> dict[str, float]:
        """Return the means of the epoch's losses and the accuracies of what is watched."""
        now = self.progress
        means = {name: value / now.counts[name] for name, value in now.sums.items() if now.counts[name]}
        record = {"epoch": now.epoch, "loss": means.pop("total"), **means}
        for name, inputs in self.watched.items():
            _, scores = shared_scores(self.model, inputs, self.class_names, self.fabric)
            record[f"{name}_top1"] = topk_accuracy(scores, inputs.labels, (1,))["top1"]
        return record

    def _select(self, record: dict[str, float]) -> None:
        """Keep the weights of the best epoch so far, where they are watched."""
        score, now = record.get(f"{self.selector}_top1"), self.progress
        if score is None or (now.best is not None and score <= now.best):
            return
        now.best = score
        weights = trained_weights(self.model)
        if self.cfg.select != "last":
            self.best_weights = weights
        if self.keeper:
            self.keeper.save_best(weights, record)

    # --- the state that is kept ---

    def _save(self) -> None:
        """Keep the state of the training, if there is a keeper."""
        if self.keeper is None or not self.keeper.writes:
            return
        state = self.optimizer.state_dict()["state"]
        tensors = {f"optimizer.{i}.{name}": value for i, one in state.items() for name, value in one.items()}
        tensors |= {"rng": self.rng.get_state(), "torch_rng": torch.get_rng_state()}
        if self.order is not None:
            tensors["order"] = self.order
        if self.fabric.device.type == "cuda":
            tensors["cuda_rng"] = torch.cuda.get_rng_state(self.fabric.device)
        tensors = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
        scaler = self.fabric.strategy.precision.state_dict()  # of "16" only
        self.keeper.save(trained_weights(self.model), tensors, asdict(self.progress) | {"scaler": scaler})

    def restore(self) -> None:
        """Take up the state that an interrupted run has left, if there is one."""
        found = self.keeper.load() if self.keeper else None
        step = torch.tensor(-1 if found is None else found[2]["step"], device=self.fabric.device)
        steps = self.fabric.all_gather(step)
        if len(steps.unique()) > 1:
            raise ValueError(
                f"the processes found checkpoints of steps {steps.tolist()}; their folder must be one that all see"
            )
        if found is None:
            return
        weights, tensors, progress = found
        self.fabric.strategy.precision.load_state_dict(progress.pop("scaler"))
        self.progress, self.order = Progress(**progress), tensors.get("order")
        self.model.load_trained_state(weights)
        if self.cfg.select != "last" and self.progress.best is not None:
            self.best_weights = self.keeper.best()
        self._restore_optimizer(tensors)
        self.rng.set_state(tensors["rng"])
        torch.set_rng_state(tensors["torch_rng"])
        if "cuda_rng" in tensors and self.fabric.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["cuda_rng"], self.fabric.device)
        self.fabric.barrier()  # nobody writes before all have read

    def _restore_optimizer(self, tensors: dict[str, Tensor]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            kind, *rest = key.split(".")
            if kind == "optimizer":
                state.setdefault(int(rest[0]), {})[rest[1]] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})
