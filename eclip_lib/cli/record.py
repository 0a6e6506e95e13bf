"""`eclip record …`: a folder of images to a folder of simulated recordings."""

from pathlib import Path

import click


@click.command("record")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the recordings.")
@click.option("--sensor", type=(int, int), metavar="HEIGHT WIDTH", help="Pixels of the sensor.  [default: 96 96]")
@click.option("--format", "suffix", type=click.Choice(["npz", "bin"]), default="npz", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws other sensors of the same make.")
@click.option(
    "--path", "path_file", type=click.Path(path_type=Path), help="CSV of the motion: ms,down,right in pixels."
)
@click.option(
    "--camera", "camera_file", type=click.Path(path_type=Path), help="JSON of camera fields, or a camera.json."
)
@click.option(
    "-c",
    "--set",
    "given",
    type=(str, str),
    multiple=True,
    metavar="FIELD VALUE",
    help="One field of SaccadeCamera, such as threshold_on 0.2; may be repeated.",
)
def record_command(
    folder: Path,
    out: Path,
    sensor: tuple[int, int] | None,
    suffix: str,
    seed: int,
    path_file: Path | None,
    camera_file: Path | None,
    given: tuple[tuple[str, str], ...],
) -> None:
    """Turn the images of FOLDER/<class>/ into simulated event recordings; the same call resumes.

    Example: eclip record photos --out recordings --sensor 180 240
    """
    from eclip_lib.camera import read_camera, record_folder

    fields = dict(given) | ({"sensor_size": sensor} if sensor else {})
    try:
        done = record_folder(folder, out, read_camera(camera_file, path_file, fields), f".{suffix}", seed)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; what is recorded is kept in {out}, the same call goes on from there"
        ) from None
    failed = [item for item in done if item.problem]
    events = [item.events for item in done if not item.problem]
    for item in failed:
        click.echo(f"not recorded: {item.still}: {item.problem}", err=True)
    median = f", median {sorted(events)[len(events) // 2]:,} events" if events else ""
    click.echo(f"{len(events)} simulated {'recording' if len(events) == 1 else 'recordings'} in {out}{median}")
    if failed:
        raise click.ClickException(f"{len(failed)} of {len(done)} images could not be recorded; the others are there")
