"""Figures: labeled, self-contained, small; no state of pyplot."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from eclip_lib.paths import ROOT
from eclip_lib.views import plots
from tests.support.figures import assert_fits_in_a_notebook, assert_the_same_each_time, texts

WORDS = ("accordion", "wheelchair", "sea horse", "Faces easy", "a very long class name that never ends")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def some_frames(rng, *shape: int, size: int = 48) -> np.ndarray:
    """Return white frames with blots of red and blue, (*shape, 3, size, size)."""
    frames = np.ones((*shape, 3, size, size), dtype=np.float32)
    on = rng.random((*shape, size, size)) < 0.1
    off = (rng.random((*shape, size, size)) < 0.1) & ~on
    frames[..., 1:, :, :][np.broadcast_to(on[..., None, :, :], (*shape, 2, size, size))] = 0.2
    frames[..., :2, :, :][np.broadcast_to(off[..., None, :, :], (*shape, 2, size, size))] = 0.2
    return frames


def a_history(slope: float = 0.2) -> pd.DataFrame:
    epoch = np.arange(1, 13)
    return pd.DataFrame({"epoch": epoch, "loss": 4 * np.exp(-slope * epoch), "val_top1": 0.7 - 0.6 * 0.8**epoch})


def a_learning_curves(rng):
    return plots.learning_curves(
        [a_history(), a_history(0.1).to_dict("records"), a_history(0.05).to_dict("list")],
        ["workbench", "paper", "no event prompts"],
    )


def a_accuracy_dots(rng):
    rows = []
    for shots in (1, 5, 20):
        for method, mean in (
            ("E-CLIP", 0.7),
            ("linear probe", 0.55),
            ("count-map probe", 0.3),
            ("CLIP zero-shot", 0.22),
        ):
            values = mean + 0.02 * shots / 5 + rng.normal(0, 0.02, 1 if method == "CLIP zero-shot" else 5)
            rows.append(
                {
                    "method": method, "setting": f"icons100, {shots} shots (simulated)", "mean": values.mean(),
                    "sd": values.std(), "n": len(values), "chance": 0.01, "values": list(values),
                }
            )  # fmt: skip
    return plots.accuracy_dots(pd.DataFrame(rows))


def a_retrieval(rng):
    labels = [[WORDS[(row + column) % 5] for column in range(6)] for row in range(4)]
    return plots.retrieval(
        ["accordion", "a sketch of a wheelchair", "sea horse", "something that goes fast"],
        some_frames(rng, 4, 6),
        rng.random((4, 6)) < 0.6,
        labels,
    )


def a_confusions(rng):
    pairs = [(WORDS[i % 5], WORDS[(i + 2) % 5], 9 - i, (9 - i) / 20) for i in range(7)]
    return plots.confusions(pairs, some_frames(rng, 7))


def a_pretrain_curve(rng):
    step = np.arange(0, 5000, 50)
    records = pd.DataFrame({"step": step})
    for name, level in (("contrast", 5.5), ("class", 5), ("teacher", 0.9), ("relation", 1.5)):
        records[name] = level * (0.3 + 0.7 * np.exp(-step / 1500)) + rng.normal(0, 0.02 * level, len(step))
    records["val_top1"] = np.where(step % 500 == 0, 0.5 - 0.5 * np.exp(-step / 2000), np.nan)
    records["val_top5"] = np.where(step % 500 == 0, 0.8 - 0.8 * np.exp(-step / 1500), np.nan)
    return plots.pretrain_curve(records)


def a_samples(rng):
    valid = np.ones((6, 3), bool)
    valid[2, 2] = False
    return plots.samples(some_frames(rng, 6, 3), valid, [*WORDS, "cup"])


def a_loss_terms(rng):
    history = a_history().assign(event_image=1.0, event_text=lambda h: h.loss / 2)
    return plots.loss_terms(history.to_dict("records"), ["event_image", "event_text", "text_text"])


def a_confusion_matrix(rng):
    shares = rng.dirichlet(np.full(12, 0.3), 12) * 0.4 + 0.6 * np.eye(12)
    shares[3] = np.nan
    return plots.confusion_matrix(shares, [f"{word} {i}" for i in range(3) for word in WORDS][:12])


def a_large_confusion_matrix(rng):
    return plots.confusion_matrix(rng.dirichlet(np.full(101, 0.1), 101), [str(i) for i in range(101)])


FIGURES = [
    a_samples,
    a_loss_terms,
    a_confusion_matrix,
    a_large_confusion_matrix,
    a_learning_curves,
    a_accuracy_dots,
    a_retrieval,
    a_confusions,
    a_pretrain_curve,
]
CURVES = [a_learning_curves, a_pretrain_curve]


@pytest.fixture(params=FIGURES, ids=lambda make: make.__name__[2:])
def figure(request, rng):
    return request.param(rng)


def test_a_figure_has_a_title_and_fits_in_a_notebook(figure):
    assert_fits_in_a_notebook(figure)


def test_learning_curves_of_runs_that_nobody_watched_say_so():
    watched, unwatched = (
        plots.learning_curves([history], ["a run"]) for history in (a_history(), a_history().drop(columns="val_top1"))
    )
    told = [[text.get_text() for text in figure.axes[1].texts] for figure in (watched, unwatched)]
    assert told == [[], ["not watched"]]
    assert_fits_in_a_notebook(unwatched)


def test_a_figure_is_the_same_each_time(figure, request):
    assert_the_same_each_time(figure, request.node.callspec.params["figure"])


@pytest.mark.parametrize("make", CURVES, ids=lambda make: make.__name__[2:])
def test_curves_name_their_axes_and_series(make, rng):
    figure = make(rng)
    assert all(axis.get_xlabel() and axis.get_ylabel() and axis.get_title() for axis in figure.axes)
    assert figure.axes[1].get_legend() is not None


def test_dots_tell_mean_deviation_and_number_and_none_for_a_single_run(rng):
    written = texts(a_accuracy_dots(rng))
    assert "(n = 5)" in written
    assert "(n = 1)" in written
    assert written.count(" (n = 5)") == 9
    assert len(re.findall(r"\d ± \d", written)) == 9


def test_retrieved_recordings_are_marked_by_sign_and_frame():
    figure = plots.retrieval(["a"], np.ones((1, 2, 3, 8, 8)), np.array([[True, False]]), [["a", "b"]])
    assert [axis.get_xlabel()[0] for axis in figure.axes] == [plots.CHECK, plots.CROSS]
    assert [axis.spines["left"].get_linestyle() for axis in figure.axes] == ["-", "--"]


def test_terms_without_a_record_are_left_out_and_a_class_without_recordings_is_blank(rng):
    assert [text.get_text() for text in a_loss_terms(rng).axes[0].get_legend().get_texts()] == [
        "event_image",
        "event_text",
    ]
    drawn = a_confusion_matrix(rng).axes[0].images[0].get_array()
    assert drawn.mask[3].all() and drawn.mask.sum() == 12
    assert np.allclose(drawn.sum(1), 100)


def test_confusions_may_be_none_and_need_no_examples():
    assert texts(plots.confusions([]))
    assert "3 (75%)" in texts(plots.confusions([("a", "b", 3, 0.75)]))


def test_a_figure_does_not_depend_on_the_settings_of_a_notebook(rng):
    from matplotlib import rc_context

    plain = a_learning_curves(rng)._repr_png_()
    with rc_context({"font.size": 20, "axes.spines.top": True, "axes.grid": True}):
        assert a_learning_curves(rng)._repr_png_() == plain


def test_plots_do_not_load_pyplot():
    code = "import sys, eclip_lib.views.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
