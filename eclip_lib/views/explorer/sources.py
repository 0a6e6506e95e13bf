"""The explorer's bar of sources: an embedded sample, a path, an upload.

what a user picks, writes or sends → a function that loads the `Sample`, handed to the explorer.
"""

from collections.abc import Callable
from functools import partial

import ipywidgets as w

from eclip_lib.views.samples import Sample, embedded_sample, file_sample, sample_names, sensor_of, uploaded_sample

HINT = (
    "0: as the file says; .bin and .npy do not say it. N-MNIST: 34 and 34, N-Caltech101: 180 and 240. "
    "Jupyter stops uploads above 10 MB: give the path."
)
_ADVICE = {
    "pass sensor_size=(height, width)": "fill in the sensor's height and width",
    "was asked for; leave it out": "is filled in; set the sensor's height and width to 0",
    "on_error='drop'": "'drop bad events'",
}
_WRAP = {"flex_flow": "row wrap"}
_SIDE = {"layout": {"width": "11em"}, "style": {"description_width": "initial"}}


class SourceBar:
    """Widgets that open a recording, in `box`.

    Args:
        opened: called with a function that loads what the user has chosen; the function may raise.
    """

    def __init__(self, opened: Callable[[Callable[[], Sample]], None]):
        self._opened = opened
        self.picker = w.Dropdown(options=sample_names(), value=None, description="sample", layout={"width": "17em"})
        self.path = w.Text(placeholder="or the path of a recording", continuous_update=False, layout={"width": "20em"})
        self.still = w.Text(placeholder="path of its still, if any", continuous_update=False, layout={"width": "14em"})
        self.open_path = w.Button(description="Open", layout={"width": "5em"})
        self.upload = w.FileUpload(description="Upload", layout={"width": "8em"})
        self.height = w.BoundedIntText(0, 0, 32768, description="sensor height", **_SIDE)
        self.width = w.BoundedIntText(0, 0, 32768, description="sensor width", **_SIDE)
        self.repair = w.Checkbox(False, description="drop bad events", indent=False, layout={"width": "11em"})
        self.picker.observe(self._on_pick, "value")
        self.open_path.on_click(lambda _: opened(self._named))
        for box in (self.path, self.still):
            box.observe(self._on_entered, "value")
        self.upload.observe(self._on_upload, "value")
        files = w.HBox([self.picker, self.path, self.still, self.open_path, self.upload], layout=_WRAP)
        self.box = w.VBox(
            [files, w.HBox([self.height, self.width, self.repair, w.HTML(f"<i>{HINT}</i>")], layout=_WRAP)]
        )

    def _sensor(self) -> tuple[int, int] | None:
        """Return the sensor size that the user has given, if any."""
        return sensor_of(self.height.value or None, self.width.value or None)

    def _on_error(self) -> str:
        """Return what to do with bad events."""
        return "drop" if self.repair.value else "raise"

    def _named(self) -> Sample:
        """Read the recording whose path the user has given."""
        path, still = self.path.value.strip(), self.still.value.strip()
        if not path:
            raise ValueError("no path given; write the path of a recording, or pick a sample")
        return _in_words_of_the_bar(lambda: file_sample(path, self._sensor(), still or None, self._on_error()))

    def _sent(self, name: str, content: bytes) -> Sample:
        """Read an uploaded recording."""
        return _in_words_of_the_bar(lambda: uploaded_sample(name, content, self._sensor(), self._on_error()))

    def _on_entered(self, change: dict) -> None:
        """Open the path once it, or that of its still, is entered; an emptied box opens nothing."""
        if change["new"].strip() and self.path.value.strip():
            self._opened(self._named)

    def _on_pick(self, change: dict) -> None:
        """Open an embedded sample."""
        if change["new"] is not None:
            self._opened(lambda: embedded_sample(change["new"]))

    def _on_upload(self, change: dict) -> None:
        """Open an uploaded recording, and empty the upload so that the same file can be sent again."""
        for file in change["new"]:
            self._opened(partial(self._sent, file["name"], bytes(file["content"])))
        if change["new"]:
            self.upload.value = ()


def _in_words_of_the_bar(load: Callable[[], Sample]) -> Sample:
    """Load a sample; what a message advises a programmer to do becomes what to do here."""
    try:
        return load()
    except ValueError as error:
        said = str(error)
        for code, here in _ADVICE.items():
            said = said.replace(code, here)
        raise ValueError(said) from error
