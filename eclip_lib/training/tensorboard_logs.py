"""Logs of a training for TensorBoard, on request.

records of `fit` -> the same records, and event files in a folder.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path


def logged(records: Iterable[dict[str, float]], folder: str | Path | None) -> Iterator[dict[str, float]]:
    """Yield records as they come, and write their numbers to TensorBoard's files on the way.

    Args:
        records: of `fit`, each with its `epoch`.
        folder: where the files go; None writes nothing.

    Raises:
        ImportError: TensorBoard is not installed.
    """
    if folder is None:
        yield from records
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            f"logs in {folder} need TensorBoard: pip install 'eclip-workbench[tensorboard]', or leave them out"
        ) from error
    with SummaryWriter(str(folder)) as writer:
        for record in records:
            for name, value in record.items():
                if name != "epoch":
                    writer.add_scalar(name, value, record["epoch"])
            writer.flush()
            yield record
