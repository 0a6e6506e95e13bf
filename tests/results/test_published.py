"""Published numbers: those of the tracked file are whole, and never stand in one column with ours."""

import pandas as pd
import pytest

from eclip_lib.results.published import COLUMNS, PATH, beside_published, published_numbers, setting_place


def test_the_tracked_numbers_are_read_with_their_source():
    numbers = published_numbers()
    assert len(numbers) == 213
    assert (numbers.source.str.len() > 10).all()

    def value(**where):
        found = numbers[(numbers[list(where)] == pd.Series(where)).all(axis=1)]
        return found.value.tolist()

    headline = {"method": "EventBind", "setting": "fine-tune", "metric": "top-1", "derived": "no"}
    assert value(dataset="N-Caltech101", **headline) == [95.29]
    assert value(method="E-CLIP", setting="20-shot", dataset="N-MNIST") == [95.5]
    assert value(setting="base-to-new", variant="learnable prompts", metric="new top-1") == [61.85, 46.02]
    assert value(setting="retrieval, fine-tune", metric="image to event recall@10") == [99.95]
    assert value(method="GEP", backbone="ViT-B", dataset="N-ImageNet") == [75.2]


def test_what_was_read_off_a_plot_or_computed_is_marked():
    numbers = published_numbers()
    plots = numbers.source.str.contains("digitized")
    assert (plots == (numbers.digitized == "yes")).all() and plots.sum() == 63
    assert numbers[numbers.source.str.startswith("derived")].derived.eq("yes").all()
    assert numbers[numbers.unit == "points"].metric.str.endswith("gain").all()
    assert numbers[(numbers.derived == "yes")].doubt.str.len().gt(0).all()


def test_printed_numbers_keep_their_digits():
    assert "97.20" in published_numbers().printed.tolist()


def broken(tmp_path, change) -> str:
    """Return the path of the tracked file with its first line of numbers changed."""
    numbers = pd.read_csv(PATH, dtype=str, keep_default_na=False)
    numbers = change(numbers)
    path = tmp_path / "numbers.csv"
    numbers.to_csv(path, index=False)
    return path


def put(column, text):
    def change(numbers):
        numbers.loc[0, column] = text
        return numbers

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("value", "95,29"), r"line 2: value = '95,29' is no number"),
        (put("value", "952.9"), r"line 2: value = 952.9 is no percentage"),
        (put("value", "nan"), r"line 2: value = nan is no percentage"),
        (put("source", " "), r"line 2: source is empty"),
        (put("unit", "%"), r"line 2: unit = '%'; it is percent or points"),
        (put("digitized", ""), r"line 2: digitized = ''; it is yes or no"),
        (lambda numbers: numbers.drop(columns="doubt"), "they have to be method, variant"),
        (lambda numbers: pd.concat([numbers, numbers.iloc[[4]]]), r"line 215: the number is there twice"),
    ],
)
def test_a_wrong_file_is_told_with_its_line(tmp_path, change, message):
    with pytest.raises(ValueError, match=message) as told:
        published_numbers(broken(tmp_path, change))
    assert "numbers.csv" in str(told.value)


def test_no_file_and_a_file_of_something_else_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="no published numbers at"):
        published_numbers(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match="is no CSV file"):
        published_numbers(tmp_path / "empty.csv")


def our_rows(dataset="n-mnist", **fields) -> pd.DataFrame:
    base = {"dataset": dataset, "simulated": False, "method": "e-clip", "recipe": "workbench", "backbone": "eclip-tiny"}
    rows = [
        base
        | {"run_id": f"{shots}{seed}", "protocol": "few-shot", "shots": shots, "seed": seed, "top1": 0.5 + 0.1 * seed}
        for shots in (5, 1)
        for seed in (0, 1)
    ]
    rows.append(rows[0] | {"run_id": "n", "method": "count-map-cnn", "recipe": None})
    return pd.DataFrame(rows).assign(**fields)


def test_ours_and_theirs_keep_apart():
    table = beside_published(our_rows(), published_numbers(), "n-mnist")
    ours, theirs = table[table.origin == "ours"], table[table.origin == "published"]
    assert ours.cell.tolist() == ["55.0 ± 7.1 (n=2)", "50.0", "55.0 ± 7.1 (n=2)"]
    assert ours.setting.tolist() == ["1-shot", "5-shot", "5-shot"]
    assert ours.backbone.tolist() == ["eclip-tiny", "no CLIP", "eclip-tiny"]
    assert set(theirs.method) == {"E-CLIP v1", "EventBind v4", "EventCLIP, in v4"}
    assert theirs[(theirs.method == "EventBind v4") & (theirs.setting == "zero-shot")].cell.tolist() == ["56.81"]
    assert theirs.source.str.contains("arXiv 2308.03135").all()


def test_simulated_rows_never_stand_beside_published_ones():
    with pytest.raises(ValueError, match="5 rows of n-mnist are of simulated recordings"):
        beside_published(our_rows(simulated=True), published_numbers(), "n-mnist")
    with pytest.raises(ValueError, match="no published numbers on icons100; there are some on n-mnist"):
        beside_published(our_rows("icons100", simulated=True), published_numbers(), "icons100")


def test_settings_have_an_order():
    names = ["base-to-new", "fine-tune", "20-shot", "5-shot", "zero-shot"]
    assert sorted(names, key=setting_place) == names[::-1]


def test_the_columns_are_those_of_the_file():
    assert tuple(PATH.read_text().splitlines()[0].split(",")) == COLUMNS
