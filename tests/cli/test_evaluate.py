"""`eclip eval` and `eclip classify`: on the embedded checkpoint and a file of EventBind's, and what they refuse."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from eclip_lib.cli.program import main
from eclip_lib.clip.words import known_words, split_words, unseen_words, write_words
from eclip_lib.config import DataConfig
from eclip_lib.evaluation.predictions import read_predictions
from eclip_lib.events.files import write_events
from eclip_lib.experiments.checkpoint_eval import classify_recording, open_checkpoint, reported_config
from eclip_lib.ledger import read_results
from tests.model.test_eventbind import official_state, small_clip
from tests.support.dataset_files import write_recordings

EMBEDDED = "eclip-tiny-events"
SMALL = ("--subset", "icons5")


def eclip(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def eventbind_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("eventbind") / "official.pth"
    torch.save(official_state(small_clip()), path)
    return path


@pytest.fixture
def cup(tmp_path, recording):
    write_events(tmp_path / "cup.npz", recording)
    return tmp_path / "cup.npz"


def test_the_embedded_checkpoint_is_evaluated_as_it_was_trained(tmp_path):
    """The row has the fields of the design; the file of predictions gives the same accuracy; nothing is trained."""
    ledger = tmp_path / "runs" / "results.jsonl"
    done = eclip("eval", EMBEDDED, *SMALL, "--ledger", ledger, "--classes")
    assert done.exit_code == 0, done.output
    (row,) = read_results(ledger).to_dict("records")
    assert (row["dataset"], row["protocol"], row["simulated"]) == ("icons5", "fine-tune", True)
    assert row["shots"] is None and row["experiment"] == "eval" and row["recipe"] == "workbench"
    found = read_predictions(ledger.parent / row["predictions"])
    assert found.correct.mean() == pytest.approx(row["top1"]) and row["n"] == len(found.ids)
    assert row["top1"] > 0.6  # of five classes
    assert "icons5 (simulated), fine-tune" in done.output and "taken for" in done.output
    assert {"image_to_event_instance_mAP", "text_to_event_recall@1", "ece", "class_mean"} <= set(row["metrics"])


def test_class_names_that_the_embedded_clip_never_saw_are_told(tmp_path):
    write_recordings(tmp_path / "zoo", [f"{name}/{k}.npz" for name in ("cat", "quokka") for k in range(2)])
    options = ("--dataset", "folder", "--root", tmp_path / "zoo", "--protocol", "zero-shot")
    done = eclip("eval", EMBEDDED, *options, "--ledger", tmp_path / "results.jsonl")
    assert done.exit_code == 0, done.output
    assert "warning: 1 of 2 class names have words that the embedded CLIP has never seen (quokka)" in done.stderr
    assert "never seen" not in eclip("eval", EMBEDDED, *SMALL, "--ledger", tmp_path / "results.jsonl").stderr


def test_a_file_of_eventbind_is_evaluated(eventbind_file, tmp_path):
    """It takes the windows of a preset, and the protocol that the user names."""
    ledger = tmp_path / "results.jsonl"
    options = ("--dataset", "icons100", *SMALL, "--ledger", ledger)
    done = eclip("eval", eventbind_file, *options, "--preset", "eventbind-code-n-mnist", "--protocol", "base-to-new")
    assert done.exit_code == 0, done.output
    (row,) = read_results(ledger).to_dict("records")
    assert (row["recipe"], row["preset"], row["protocol"]) == ("eventbind", "eventbind-code-n-mnist", "base-to-new")
    frames = row["config"]["frames"]
    assert (frames["events_per_frame"], frames["frames"], frames["size"], frames["color"]) == (1000, 3, 32, "rgb")
    assert 0 <= row["harmonic_mean"] <= 1 and row["base_n"] + row["new_n"] == row["n"]
    done = eclip("eval", eventbind_file, *options)
    assert done.exit_code == 2
    assert "does not say how its frames are made; name a preset that does: eventbind-code-n-caltech101" in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuch"], "no file or folder 'nosuch'"),
        ([EMBEDDED, "--protocol", "zero-shot"], "was trained on icons100 under 'fine-tune'; take that"),
        ([EMBEDDED, "--preset", "e-clip-n-mnist"], "says itself how its frames are made"),
        ([EMBEDDED, "--shots", "3"], "the checkpoint says itself how many trained it"),
        ([EMBEDDED, "--dataset", "n-mnist", "--protocol", "few-shot"], "trained on icons100, not on n-mnist"),
        ([EMBEDDED, "--subset", "icons7"], "subset 'icons7' is unknown"),
    ],
)
def test_a_mistake_is_one_message_and_no_row(tmp_path, arguments, said):
    done = eclip("eval", *arguments, "--ledger", tmp_path / "results.jsonl")
    assert done.exit_code == 2, done.output
    assert said in done.output and "Traceback" not in done.output
    assert not (tmp_path / "results.jsonl").exists()


def test_eventbind_needs_what_it_does_not_tell(eventbind_file):
    assert "give --dataset" in eclip("eval", eventbind_file, "--preset", "eventbind-code-n-mnist").output
    known = ("eval", eventbind_file, "--dataset", "n-mnist")
    assert "needs --shots" in eclip(*known, "--protocol", "few-shot").output
    assert "the protocol zero-shot has none" in eclip(*known, "--shots", 3).output


# --- under which protocol a checkpoint meets a data set ---

TRAINED = DataConfig(dataset="n-mnist", root="digits", protocol="few-shot", shots=5, fold=1)
DIGITS = DataConfig(dataset="n-mnist", root="digits", protocol="retrieval", shots=None, fold=1)


def test_its_own_data_set_has_its_own_protocol():
    assert reported_config(TRAINED, DIGITS, None) == replace(DIGITS, protocol="few-shot", shots=5)
    assert reported_config(TRAINED, DIGITS, "retrieval").shots == 5
    base = replace(TRAINED, protocol="base-to-new")
    assert reported_config(base, DIGITS, None).protocol == "base-to-new"


def test_recordings_that_trained_it_never_test_it():
    with pytest.raises(ValueError, match="with fold 2 and splits None, recordings that trained it would test it"):
        reported_config(TRAINED, replace(DIGITS, fold=2), None)
    with pytest.raises(ValueError, match="with fold 1 and splits elsewhere"):
        reported_config(TRAINED, replace(DIGITS, splits="elsewhere"), None)


def test_classes_that_were_trained_are_not_new():
    with pytest.raises(ValueError, match="'base-to-new': the checkpoint was trained on n-mnist under 'few-shot'"):
        reported_config(TRAINED, DIGITS, "base-to-new")


def test_another_data_set_is_a_transfer():
    icons = DataConfig(protocol="retrieval", shots=None)
    found = reported_config(TRAINED, icons, None)
    assert (found.protocol, found.dataset, found.target, found.shots) == ("transfer", "n-mnist", "icons100", 5)
    assert reported_config(TRAINED, icons, "zero-shot").protocol == "zero-shot"
    after = replace(TRAINED, protocol="transfer", target="icons100", shots=None)
    assert reported_config(after, DIGITS, None).protocol == "fine-tune"


def test_what_is_not_known_is_believed():
    assert reported_config(None, replace(DIGITS, shots=16), "base-to-new").shots == 16
    assert reported_config(None, DIGITS, None).protocol == "zero-shot"
    with pytest.raises(ValueError, match="does not say what trained it; take 'zero-shot'"):
        reported_config(None, DIGITS, "transfer")


# --- one recording, some words ---


def test_probabilities_are_of_the_words_and_best_first(recording):
    opened = open_checkpoint()
    table = classify_recording(opened, recording, ["cat", "umbrella", "a guitar"])
    assert table.probability.sum() == pytest.approx(1)
    assert table.probability.is_monotonic_decreasing and table.cosine.between(-1, 1).all()
    turned = classify_recording(opened, recording, ["a guitar", "cat", "umbrella"])
    assert turned.word.tolist() == table.word.tolist() and np.allclose(turned.cosine, table.cosine, atol=1e-5)


def test_classify_shows_a_table_and_warns_of_unseen_words(cup):
    done = eclip("classify", cup, "--words", "cat, red quokka")
    assert done.exit_code == 0, done.output
    assert "cat" in done.stdout and "%" in done.stdout
    assert "has never seen 'red quokka' (quokka): its score is chance" in done.stderr
    assert "never seen 'cat'" not in done.stderr


def test_a_clip_of_ones_own_is_not_warned_of(cup, eventbind_file):
    options = ("--checkpoint", eventbind_file, "--preset", "eventbind-code-n-mnist")
    done = eclip("classify", cup, "--words", "cat,quokka", *options)
    assert done.exit_code == 0, done.output
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "said"), [("cat", "at least two"), ("cat,,dog", "none empty"), ("cat,cat", "different")]
)
def test_words_are_checked(cup, words, said):
    done = eclip("classify", cup, "--words", words)
    assert done.exit_code == 2 and said in done.output


def test_a_recording_without_events_in_its_windows_is_said(recording):
    opened = open_checkpoint()
    late = replace(opened, frames=replace(opened.frames, start=5000))
    with pytest.raises(ValueError, match="the recording has 1000 events and none in its windows"):
        classify_recording(late, recording, ["cat", "dog"])


# --- the words of the embedded CLIP ---


def test_every_class_name_at_hand_is_known():
    from eclip_lib.data.embedded_stills import icons100, icons_open

    assert [name for name in (*icons100().classes, *icons_open().classes) if unseen_words(name)] == []
    assert unseen_words("Guitars and a quokka-shaped Xylograph") == ["quokka", "shaped", "xylograph"]
    assert {"a", "sketch", "drafted", "cloud"} <= known_words()  # of the templates


def test_the_list_holds_what_the_embedded_stills_say():
    from eclip_lib.data.embedded_stills import TRAIN, icons100

    table = icons100().table
    captions = table[(table.split == TRAIN) & (table.family != "streamline")].caption
    assert {word for caption in captions for word in split_words(caption)} <= known_words()


def test_words_are_written_sorted_and_once(tmp_path):
    write_words(tmp_path / "words.csv", ["b-c", "A b", "piñata"])
    assert (tmp_path / "words.csv").read_text(encoding="utf-8").split() == ["word", "a", "b", "c", "piñata"]
    assert known_words(tmp_path / "words.csv") == {"a", "b", "c", "piñata"}
