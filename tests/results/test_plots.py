"""Figures of results: what is drawn is what the rows say."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from eclip_lib.figure import BLUE
from eclip_lib.paths import ROOT
from eclip_lib.results import plots as result_plots
from tests.support.figures import assert_fits_in_a_notebook, assert_the_same_each_time, texts

SHOTS = (1, 5, 20)
METHODS = (("e-clip", "workbench"), ("e-clip", "paper"), ("linear-probe", None), ("count-map-cnn", None))


def curve_rows(methods=METHODS, datasets=("n-mnist",)) -> pd.DataFrame:
    """Return rows of five repeats whose accuracies are 2 points apart around a mean that grows with the shots."""
    lines = []
    for dataset in datasets:
        for place, (method, recipe) in enumerate(methods):
            for shots in (*SHOTS, None):
                for seed in range(5):
                    lines.append({
                        "run_id": f"{dataset}{method}{recipe}{shots}{seed}", "method": method, "recipe": recipe,
                        "variant": None, "dataset": dataset, "simulated": dataset != "n-mnist", "shots": shots,
                        "protocol": "few-shot" if shots else "fine-tune", "seed": seed, "fold": seed,
                        "top1": 0.3 + 0.02 * (shots or 25) + 0.02 * (seed - 2) - 0.03 * place,
                    })  # fmt: skip
    return pd.DataFrame(lines)


def gain_table() -> pd.DataFrame:
    """Return gains as `comparisons.holm` does: the reference, one gain that is marked, one that is not."""
    nan = float("nan")
    lines = [
        ("full", nan, nan, nan, nan, nan, pd.NA),
        ("no event-text", -0.3, -0.35, -0.25, -0.4, -0.2, True),
        ("no text-text", 0.004, -0.01, 0.02, -0.02, 0.03, False),
    ]
    columns = ["label", "gain", "low", "high", "low_holm", "high_holm", "mark"]
    table = pd.DataFrame(lines, columns=columns).astype({"mark": "boolean"})
    return pd.concat([table.assign(data=d, setting="5-shot") for d in ("n-mnist (real)", "icons25 (simulated)")])


def a_few_shot_curves(rng):
    return result_plots.few_shot_curves(curve_rows())


def a_few_shot_curves_of_two_data_sets(rng):
    return result_plots.few_shot_curves(curve_rows(datasets=("n-mnist", "icons25")))


def a_gain_dots(rng):
    return result_plots.gain_dots(gain_table(), "full")


def a_gain_map(rng):
    return result_plots.gain_map(gain_table(), "full")


FIGURES = [a_few_shot_curves, a_few_shot_curves_of_two_data_sets, a_gain_dots, a_gain_map]


@pytest.mark.parametrize("make", FIGURES, ids=lambda make: make.__name__[2:])
def test_a_figure_has_a_title_fits_in_a_notebook_and_is_the_same_each_time(make):
    figure = make(np.random.default_rng(0))
    assert_fits_in_a_notebook(figure)
    assert_the_same_each_time(figure, make)


def drawn(axis, name: str):
    """Return the dots of a label."""
    (line,) = (line for line in axis.lines if line.get_label() == name)
    return line


def test_curves_show_means_at_their_shots_and_all_recordings_last():
    rows = curve_rows()
    axis = result_plots.few_shot_curves(rows).axes[0]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["1", "5", "20", "all"]
    x, y = drawn(axis, "E-CLIP, workbench").get_data()
    assert np.allclose(y, [32, 40, 70, 80])
    assert np.array_equal(np.round(x), [0, 1, 2, 3])
    bars = axis.collections[0].get_segments()  # of the first label in the legend, the paper's recipe
    assert np.allclose([np.ptp(bar[:, 1]) / 2 for bar in bars], 2 * np.std([-2, -1, 0, 1, 2], ddof=1))
    dotted = [line for line in axis.lines if line.get_linestyle() == ":"]
    assert len(dotted) == 4 and all(np.array_equal(np.round(line.get_xdata()), [2, 3]) for line in dotted)


def test_curves_say_real_or_simulated():
    figure = result_plots.few_shot_curves(curve_rows(datasets=("n-mnist", "icons25")))
    assert [axis.get_title() for axis in figure.axes] == [
        "icons25 (simulated recordings)",
        "n-mnist (real recordings)",
    ]


def test_a_method_keeps_its_color_when_others_do_better():
    rows = curve_rows()
    worse = rows.assign(top1=rows.top1.where(rows.recipe != "workbench", 0.01))
    colors = [drawn(result_plots.few_shot_curves(r).axes[0], "E-CLIP, workbench").get_color() for r in (rows, worse)]
    assert colors[0] == colors[1]


def test_a_run_without_training_stands_left_and_one_repeat_has_no_bar():
    rows = curve_rows(METHODS[:1])
    zero = rows.iloc[[0]].assign(run_id="z", method="clip-zero-shot", recipe=None, protocol="zero-shot", shots=np.nan)
    other = rows.iloc[[0]].assign(run_id="o", protocol="base-to-new", top1=0.99)
    axis = result_plots.few_shot_curves(pd.concat([rows, zero, other])).axes[0]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["zero-shot", "1", "5", "20", "all"]
    assert "CLIP on frames, zero-shot" in {line.get_label() for line in axis.lines}
    assert max(max(line.get_ydata()) for line in axis.lines) < 99


@pytest.mark.parametrize("rows", [curve_rows().iloc[:0], curve_rows().assign(protocol="transfer")])
def test_no_row_to_draw_is_said(rows):
    with pytest.raises(ValueError, match="no row of the protocols zero-shot, few-shot and fine-tune has top1"):
        result_plots.few_shot_curves(rows)


def test_gains_stand_at_their_points_and_only_a_marked_one_is_filled():
    axis = result_plots.gain_dots(gain_table(), "full").axes[0]
    dots = [line for line in axis.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert np.allclose([line.get_xdata()[0] for line in dots], [-30, 0.4])
    assert [line.get_markerfacecolor() for line in dots] == [BLUE, "white"]
    spans = [line.get_xdata() for line in axis.lines if line.get_marker() == "None" and len(line.get_xdata()) == 2]
    assert np.allclose(spans[:2], [[-40, -20], [-35, -25]])  # corrected, then one comparison
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["no event-text", "no text-text"]


def test_the_map_shows_each_gain_in_its_cell_with_a_star_where_it_is_marked():
    table = gain_table()
    table = table[~((table.label == "no text-text") & (table.data == "n-mnist (real)"))]
    figure = result_plots.gain_map(table, "full")
    axis = figure.axes[0]
    assert np.allclose(axis.images[0].get_array().filled(99), [[-30, -30], [99, 0.4]])
    assert sorted(text.get_text() for text in axis.texts) == ["+0.4", "-30.0 *", "-30.0 *"]
    assert "gain over full" in texts(figure)


@pytest.mark.parametrize("draw", [result_plots.gain_dots, result_plots.gain_map])
def test_gains_to_a_reference_that_shares_no_repeat_are_said_to_be_none(draw):
    with pytest.raises(ValueError, match="no row has a gain"):
        draw(gain_table().iloc[[0]], "full")


def test_they_do_not_load_pyplot():
    code = "import sys, eclip_lib.results.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
