"""`eclip eval …` and `eclip classify …`: what a trained model is worth, without training.

Heavy parts are imported inside the commands, so that `--help` and mistakes answer at once.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from eclip_lib.config import Dataset, Protocol

if TYPE_CHECKING:
    from eclip_lib.config import DataConfig, Run

_EMBEDDED = "eclip-tiny-events"


@click.command("eval")
@click.argument("checkpoint")
@click.option(
    "--dataset", type=click.Choice(get_args(Dataset)), help="What is tested.  [default: what trained the checkpoint]"
)
@click.option(
    "--protocol", type=click.Choice(get_args(Protocol)), help="[default: the checkpoint's own; elsewhere transfer]"
)
@click.option("--root", type=click.Path(), help="Folder of the recordings, or of their shards.")
@click.option("--stills", type=click.Path(), help="Folder of the paired stills.  [default: inside or beside ROOT]")
@click.option("--splits", type=click.Path(), help="Folder of the official split lists.")
@click.option("--subset", help="Tracked subset of the classes, such as icons25.")
@click.option("--fold", type=int, help="Of the tracked folds of n-mnist.")
@click.option("--shots", type=int, help="Shots of an EventBind checkpoint, which does not tell.")
@click.option("--preset", "preset_name", help="Preset whose windows cut the events, for an EventBind checkpoint.")
@click.option(
    "--clip", "clip_file", type=click.Path(), help="Weights of CLIP, for a checkpoint trained on a local file."
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--classes", is_flag=True, help="Show every class: its accuracy, and what it is taken for.")
@click.option(
    "--ledger", type=click.Path(path_type=Path, dir_okay=False), help="[default: the project's runs/results.jsonl]"
)
def eval_command(
    checkpoint: str,
    protocol: Protocol | None,
    preset_name: str | None,
    clip_file: str | None,
    device: str,
    classes: bool,
    ledger: Path | None,
    **data: Any,
) -> None:
    """Evaluate CHECKPOINT on the test part of a data set: nothing is trained.

    CHECKPOINT is a folder of ours, a file of the official EventBind code, or eclip-tiny-events, the embedded one. The
    row goes to the ledger, the predictions beside it.

    Example: eclip eval eclip-tiny-events --dataset icons100
    """
    from eclip_lib.evaluation import class_table, read_predictions
    from eclip_lib.experiments import evaluate_checkpoint, open_checkpoint, write_evaluation
    from eclip_lib.ledger import LEDGER
    from eclip_lib.results import markdown

    ledger = ledger or LEDGER
    opened = open_checkpoint(checkpoint, preset_name, data["dataset"], clip_file)
    row, tested, test, scores = evaluate_checkpoint(
        opened, _data_config(opened.run, protocol, data), protocol, _device(device)
    )
    write_evaluation(row, tested, test, scores, ledger)
    click.echo(_summary(row))
    _warn_of_unseen(opened.model.cfg.backbone, tested.class_names)
    if classes:
        click.echo(
            "\n" + markdown(class_table(read_predictions(ledger.parent / row["predictions"]), tested.class_names))
        )
    click.echo(f"\nrow: {ledger}\npredictions: {ledger.parent / row['predictions']}")


def _warn_of_unseen(backbone: str, class_names: Sequence[str]) -> None:
    """Tell which classes the embedded CLIP knows only from the event training, if from anywhere."""
    from eclip_lib.clip import unseen_words
    from eclip_lib.config import TINY

    unseen = [name for name in class_names if unseen_words(name)] if backbone == TINY else []
    if unseen:
        first = ", ".join(unseen[:5]) + (", ..." if len(unseen) > 5 else "")
        click.echo(
            f"warning: {len(unseen)} of {len(class_names)} class names have words that the embedded CLIP has never "
            f"seen ({first}): without training their scores are chance",
            err=True,
        )


def _device(device: str) -> str:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise click.UsageError("--device cuda: there is no CUDA device here; leave it out")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def _data_config(run: "Run | None", protocol: Protocol | None, given: dict[str, Any]) -> "DataConfig":
    """Return the data set that is tested: the given one, or, with what is not given, the checkpoint's own."""
    from dataclasses import replace

    from eclip_lib.config import DataConfig

    given = {name: value for name, value in given.items() if value is not None}
    if run is None and "dataset" not in given:
        raise click.UsageError("an EventBind checkpoint does not say what trained it; give --dataset")
    if run is not None and "shots" in given:
        raise click.UsageError("--shots: the checkpoint says itself how many trained it; leave it out")
    few = protocol not in (None, "zero-shot", "fine-tune")
    if "shots" in given and not few:
        raise click.UsageError(
            f"--shots {given['shots']}: the protocol {protocol or 'zero-shot'} has none; leave it out"
        )
    if protocol == "few-shot" and run is None and "shots" not in given:
        raise click.UsageError("--protocol few-shot of an EventBind checkpoint needs --shots, since it does not tell")
    # `reported_config` sets the protocol.
    plain: dict[str, Any] = {"protocol": "retrieval", "shots": given.pop("shots", None)}
    if run is None or given.get("dataset", run.data.dataset) != run.data.dataset:
        return DataConfig(**plain, **given)
    return replace(run.data, target=None, target_root=None, **plain, **given)


def _summary(row: dict) -> str:
    """Return the figures of a row as a table, in percent."""
    import pandas as pd

    from eclip_lib.ledger import setting
    from eclip_lib.results import markdown

    kind = "simulated" if row["simulated"] else "real"
    head = f"{row['dataset']} ({kind}), {setting(row['protocol'], row['shots'])}, {row['metrics']['n']} recordings"
    counts = {"n", "base_n", "new_n"}
    lines = [(name, f"{100 * value:.1f}") for name, value in row["metrics"].items() if name not in counts]
    return f"{head}\n\n{markdown(pd.DataFrame(lines, columns=['metric', '%']))}"


@click.command("classify")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--words", required=True, help="What it might show, separated by commas.")
@click.option("--checkpoint", default=_EMBEDDED, show_default=True, help="Folder of ours, or file of EventBind.")
@click.option("--preset", "preset_name", help="Preset whose windows cut the events, for an EventBind checkpoint.")
@click.option("--sensor", type=(int, int), metavar="HEIGHT WIDTH", help="Pixels of the sensor, if the file lacks it.")
def classify_command(
    file: Path, words: str, checkpoint: str, preset_name: str | None, sensor: tuple[int, int] | None
) -> None:
    """Say which of some words fits the recording in FILE best.

    Example: eclip classify cup.npz --words "cup, guitar, bus"
    """
    from eclip_lib.clip import unseen_words
    from eclip_lib.config import TINY
    from eclip_lib.events import read_events
    from eclip_lib.experiments import classify_recording, open_checkpoint
    from eclip_lib.results import markdown

    opened = open_checkpoint(checkpoint, preset_name)
    table = classify_recording(opened, read_events(file, sensor), words.split(","))
    shown = table.assign(probability=[f"{100 * p:.1f} %" for p in table.probability], cosine=table.cosine.round(3))
    click.echo(markdown(shown))
    unseen = {text: unseen_words(text) for text in table.word} if opened.model.cfg.backbone == TINY else {}
    for text, parts in unseen.items():
        if parts:
            named = "" if parts == [text.lower()] else f" ({', '.join(parts)})"
            click.echo(f"warning: the embedded CLIP has never seen {text!r}{named}: its score is chance", err=True)
