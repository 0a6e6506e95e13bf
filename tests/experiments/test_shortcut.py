"""Whether an event finds its own text: known answers, and that labels are shuffled where it says so."""

import pandas as pd
import torch
import torch.nn.functional as F

from eclip_lib.experiments import presets, shortcut

NAMES = ["cat", "dog", "car", "cup"]


class Texts:
    """A model whose class text is a mix of a vector of the class and of the event that conditions it."""

    def __init__(self, share):
        torch.manual_seed(0)
        self.share, self.classes = share, F.normalize(torch.randn(len(NAMES), 64), dim=-1)

    def encode_class_text(self, names, classes, content_emb):
        text = (1 - self.share) * self.classes[classes] + self.share * content_emb[:, None]
        return F.normalize(text, dim=-1)


def found(share):
    torch.manual_seed(1)
    event_emb = F.normalize(torch.randn(96 + 5, 64), dim=-1)
    return shortcut.own_text_accuracy(Texts(share), event_emb, torch.randint(0, 4, (101,)), NAMES)


def test_texts_that_carry_the_event_are_found_and_others_by_chance_alone():
    assert found(1.0) == 1.0
    assert found(0.5) > 0.9
    assert found(0.0) < 0.15  # chance is 1/32, with 96 events


def test_shuffled_labels_are_the_same_labels():
    labels = torch.arange(50) // 5
    mixed = shortcut.shuffle(labels, 3)
    assert torch.equal(mixed.sort().values, labels) and not torch.equal(mixed, labels)
    assert torch.equal(mixed, shortcut.shuffle(labels, 3)) and not torch.equal(mixed, shortcut.shuffle(labels, 4))


def test_each_case_is_trained_by_its_condition_and_its_labels(monkeypatch):
    seen = []

    def fit(model, train, val, image_emb, names, cfg, loss):
        assert (loss.event_image, loss.text_text, loss.text_mse, loss.event_text) == (0, 0, 0, 1)
        seen.append((model.cfg.text_condition, cfg.seed, tuple(train.labels.tolist())))
        yield {"event_text": 1.5}

    monkeypatch.setattr(shortcut, "fit", fit)
    base = presets.smoke(presets.quickstart_run("icons100", recipe="eventbind"))
    rows = list(shortcut.compare([base], [0]))
    assert [(r["condition"], r["labels"]) for r in rows] == [
        ("own", "true"), ("own", "shuffled"), ("query", "true"), ("query", "shuffled")
    ]  # fmt: skip
    assert [condition for condition, *_ in seen] == ["own", "own", "query", "query"]
    assert seen[0][2] == seen[2][2] != seen[1][2] and sorted(seen[1][2]) == sorted(seen[0][2])
    assert all(0 <= row["top1"] <= 1 and row["loss"] == 1.5 for row in rows)


def test_the_summary_has_mean_spread_and_n():
    facts = {"recipe": "paper", "condition": "own", "labels": "true", "loss": 1.0}
    table = shortcut.summary(pd.DataFrame([facts | {"seed": s, "own_text": 0.1 * s, "top1": 0.4} for s in (1, 2, 3)]))
    assert table["own text found, %"].tolist() == ["20.0 ± 10.0"] and table["n"].tolist() == [3]
    assert table["top-1 %"].tolist() == ["40.0 ± 0.0"]
