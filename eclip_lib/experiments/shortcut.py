"""Can the event-text term be solved without the class? Text conditioned on its own event against the query's.

runs -> how often an event finds its own text among those of a batch whose labels are random, and top-1 on test.
In the paper, the text of recording j is conditioned on event j, and event i is contrasted with all of them. Such a text
may carry the event itself, so event i can find text i whatever its label says.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eclip_lib.config import Run
from eclip_lib.evaluation import class_scores, embed_events, topk_accuracy
from eclip_lib.experiments.experiment import Experiment
from eclip_lib.model import EClip
from eclip_lib.training import fit

BATCH = 32  # texts that an event chooses among, so chance is 1/32


@torch.no_grad()
def own_text_accuracy(
    model: EClip, event_emb: Float[Tensor, "N D"], labels: Int[Tensor, " N"], class_names: Sequence[str]
) -> float:
    """Return how often an event's best text of a batch of 32 is its own: its label's, conditioned on that event.

    With random labels nothing but the event tells the texts apart, and chance is 1/32. What is left over when 32 do not
    divide N takes no part.
    """
    hits = 0
    rows = range(0, len(labels) - BATCH + 1, BATCH)
    for start in rows:
        emb = event_emb[start : start + BATCH]
        text_emb = model.encode_class_text(class_names, labels[start : start + BATCH, None], emb)[:, 0]
        hits += int(((emb @ text_emb.t()).argmax(1) == torch.arange(BATCH)).sum())
    return hits / (BATCH * len(rows))


def shuffle(labels: Int[Tensor, " N"], seed: int) -> Int[Tensor, " N"]:
    """Return the labels in a seeded random order."""
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]


def measure(cfg: Run, shuffled: bool) -> dict:
    """Train a run by its event-text term alone, on true or shuffled labels, and look at test recordings.

    Returns:
        `own_text`: `own_text_accuracy` of the test recordings under shuffled labels; `top1`: their accuracy as always,
        on true labels; `loss`: the term in the last epoch.
    """
    cfg = replace(cfg, loss=replace(cfg.loss, event_image=0.0, text_text=0.0, text_mse=0.0))
    experiment = Experiment(cfg)
    model, names, test = experiment.eclip, experiment.data.class_names, experiment.test
    train = experiment.train
    if shuffled:
        train = replace(train, labels=shuffle(train.labels, cfg.train.seed))
    unused = torch.zeros(len(train), 2, model.clip.text_projection.shape[1])  # no term of these has stills
    *_, last = fit(model, train, None, unused, names, cfg.train, cfg.loss)
    event_emb = embed_events(model, test)
    top1 = topk_accuracy(class_scores(model, event_emb, names), test.labels, (1,))["top1"]
    mixed = event_emb[torch.randperm(len(event_emb), generator=torch.Generator().manual_seed(1))]  # of all classes
    own_text = own_text_accuracy(model, mixed, shuffle(test.labels, 0), names)
    return {"own_text": own_text, "top1": top1, "loss": last["event_text"]}


def compare(bases: Sequence[Run], seeds: Sequence[int]) -> Iterator[dict]:
    """Measure each base under both conditions, both kinds of labels and all seeds; yields a row for each."""
    for seed in seeds:
        for base in bases:
            for condition in ("own", "query"):
                for shuffled in (False, True):
                    cfg = replace(
                        base,
                        model=replace(base.model, text_condition=condition),
                        train=replace(base.train, seed=seed),
                    )
                    facts = {"recipe": base.model.recipe, "condition": condition, "seed": seed}
                    labels = {"labels": "shuffled" if shuffled else "true"}
                    yield facts | labels | measure(cfg, shuffled)


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean ± sd over the seeds, in percent (the loss as it is)."""
    lines = []
    for names, group in rows.groupby(["recipe", "condition", "labels"], sort=False):
        cells = [f"{100 * group[c].mean():.1f} ± {100 * group[c].std():.1f}" for c in ("own_text", "top1")]
        loss = f"{group.loss.mean():.2f} ± {group.loss.std():.2f}"
        titles = (
            "recipe",
            "text conditioned on",
            "trained on labels",
            "own text found, %",
            "top-1 %",
            "last loss",
            "n",
        )
        lines.append(dict(zip(titles, (*names, *cells, loss, len(group)), strict=True)))
    return pd.DataFrame(lines)
