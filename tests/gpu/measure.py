"""`make gpu` after its tests: what a card does with models of real sizes, on random weights, and the icons as a whole.

-> reports/gpu.md and reports/gpu.json, or in the folder that is given.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import torch

from eclip_lib.clip import load_clip
from eclip_lib.config import FrameConfig, LossConfig, ModelConfig, Run
from eclip_lib.experiments import run
from eclip_lib.frames import frames_from_maps
from eclip_lib.ledger import TRACKED, provenance, read_results
from eclip_lib.model import EClip
from eclip_lib.paths import REPORTS
from eclip_lib.training.objective import batch_losses
from tests.benchmarks.bench_text import CALTECH

BATCH, FRAMES, ROUNDS = 32, 5, 7
BACKBONES = ("ViT-B-32", "ViT-B-16", "ViT-L-14")
PRECISIONS = {"32": None, "bf16": torch.bfloat16}
THOUSAND = [f"{kind} {name}" for kind in ("old", "new", "small", "large", "red", "blue", "wet", "dry", "toy", "real")
            for name in CALTECH][:1000]  # fmt: skip


def seconds(function: Callable[[], object]) -> float:
    """Return the median of some calls after two to warm up, as the card's own clock has it."""
    taken = []
    for number in range(ROUNDS + 2):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        function()
        end.record()
        torch.cuda.synchronize()
        if number >= 2:
            taken.append(start.elapsed_time(end) / 1000)
    return statistics.median(taken)


def step_of(clip, recipe: str, dtype: torch.dtype | None, checkpointing: bool) -> Callable[[], None]:
    """Return a training step, optimizer included, over random frames."""
    torch.manual_seed(0)
    cfg = ModelConfig(recipe=recipe, gradient_checkpointing=checkpointing)
    model = EClip(cfg, clip, FRAMES).cuda().train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-6)
    size = clip.visual.image_size[0]
    frames = torch.rand(BATCH, FRAMES, 3, size, size, device="cuda")
    valid = torch.ones(BATCH, FRAMES, dtype=torch.bool, device="cuda")
    labels = torch.arange(BATCH, device="cuda")
    with torch.no_grad():
        image_emb = model.encode_image(frames[:, 0])

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cuda", dtype, enabled=dtype is not None):
            losses = batch_losses(model, frames, valid, labels, image_emb, CALTECH, LossConfig(recipe=recipe))
        losses["total"].backward()
        optimizer.step()

    return step


def training(clips: dict) -> list[dict]:
    """Measure steps of every backbone, recipe and precision, with and without gradient checkpointing."""
    rows = []
    for name, recipe, precision, again in product(clips, ("paper", "workbench"), PRECISIONS, (False, True)):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        row = {"backbone": name, "recipe": recipe, "precision": precision, "checkpointing": again}
        try:
            taken = seconds(step_of(clips[name], recipe, PRECISIONS[precision], again))
            row |= {"step_ms": 1000 * taken, "recordings_s": BATCH / taken}
            row["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        except torch.OutOfMemoryError:
            row["step_ms"] = None
        rows.append(row)
        print(row, flush=True)
    return rows


@torch.no_grad()
def evaluation(clips: dict) -> list[dict]:
    """Measure embedding recordings, and scoring them by texts conditioned on each: exactly, and ten of them exactly."""
    rows = []
    for name, precision in product(clips, PRECISIONS):
        model, dtype = EClip(ModelConfig(), clips[name], FRAMES).cuda().eval(), PRECISIONS[precision]
        size = clips[name].visual.image_size[0]
        frames = torch.rand(BATCH, FRAMES, 3, size, size, device="cuda")
        valid = torch.ones(BATCH, FRAMES, dtype=torch.bool, device="cuda")
        with torch.autocast("cuda", dtype, enabled=dtype is not None):
            row = {"backbone": name, "precision": precision}
            row["embed_s"] = BATCH / seconds(lambda model=model, f=frames, v=valid: model.encode_events(f, v))
            event_emb = model.encode_events(frames, valid).float()
            for words in (CALTECH, THOUSAND):
                for rescore in (None, 10):
                    key = f"score_{len(words)}{'' if rescore is None else '_rescore_10'}_s"
                    score = lambda m=model, e=event_emb, w=words, r=rescore: m.score(e, w, rescore=r)  # noqa: E731
                    row[key] = BATCH / seconds(score)
        rows.append(row)
        print(row, flush=True)
    return rows


def drawing() -> dict:
    """Measure frames of 224 pixels drawn from count maps of 180 x 240, on the card and on the CPU."""
    cfg, rng = FrameConfig(size=224, frames=FRAMES), np.random.default_rng(0)
    maps = torch.from_numpy(rng.poisson(0.5, (BATCH, FRAMES, 2, 180, 240)).astype(np.uint8))
    valid = torch.ones(BATCH, FRAMES, dtype=torch.bool)
    on_card = maps.cuda(), valid.cuda()
    start = time.perf_counter()
    frames_from_maps(maps, valid, cfg)
    on_cpu = BATCH / (time.perf_counter() - start)
    return {"gpu_recordings_s": BATCH / seconds(lambda: frames_from_maps(*on_card, cfg)), "cpu_recordings_s": on_cpu}


def icons() -> dict:
    """Do the published fine-tuning on all icons again, on the card."""
    rows = read_results(TRACKED)
    of_cpu = rows[(rows.experiment == "published") & (rows.method == "e-clip") & (rows.protocol == "fine-tune")
                  & (rows.dataset == "icons100")].iloc[-1]  # fmt: skip
    config = of_cpu.config | {"train": of_cpu.config["train"] | {"device": "cuda"}}
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        row = run(Run.from_dict(config), Path(folder) / "results.jsonl")
    there = {"gpu_top1": row["metrics"]["top1"], "cpu_top1": of_cpu.metrics["top1"], "n": row["metrics"]["n"]}
    seconds_of = {"gpu_s": row["provenance"]["seconds"], "cpu_s": of_cpu.provenance["seconds"]}
    return there | seconds_of | {"whole_s": time.perf_counter() - started}


def table(rows: list[dict], heads: dict[str, str]) -> str:
    """Return rows as Markdown, the columns that `heads` names."""
    lines = ["| " + " | ".join(heads.values()) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        cells = [row.get(key) for key in heads]
        told = ["out of memory" if c is None else f"{c:,.1f}" if isinstance(c, float) else str(c) for c in cells]
        lines.append("| " + " | ".join(told) + " |")
    return "\n".join(lines)


def report(found: dict) -> str:
    """Return what was measured as a page."""
    steps = {"backbone": "backbone", "recipe": "recipe", "precision": "precision", "checkpointing": "checkpointing",
             "step_ms": "step, ms", "recordings_s": "recordings/s", "peak_gib": "peak, GiB"}  # fmt: skip
    scores = {"backbone": "backbone", "precision": "precision", "embed_s": "embedded/s"}
    scores |= {key: key.removesuffix("_s").replace("_", " ").replace("score", "scored by") + "/s"
               for key in found["evaluation"][0] if key.startswith("score")}  # fmt: skip
    one, drawn, torch_version = found["icons"], found["drawing"], found["provenance"]["versions"]["torch"]
    parts = [
        "# What a GPU does",
        f"Written by `make gpu` on {found['card']}, PyTorch {torch_version}; random weights of real sizes, {BATCH} "
        f"recordings of {FRAMES} frames, 101 class names. Medians of {ROUNDS}.",
        "## A training step",
        table(found["training"], steps),
        "## Recordings per second at test time",
        f"Scores are by texts conditioned on each recording: of 101 and of {len(THOUSAND):,} names, all exactly, or "
        "exactly for the ten that shared prompts choose.",
        table(found["evaluation"], scores),
        "## Frames from count maps (180 x 240 to 224 x 224)",
        f"{drawn['gpu_recordings_s']:,.0f} recordings/s on the card, {drawn['cpu_recordings_s']:,.0f} on the CPU "
        "beside it.",
        "## The embedded icons, fine-tuned on all training stills (simulated)",
        f"Top-1 of {one['n']} recordings: {100 * one['gpu_top1']:.1f} % on the card, {100 * one['cpu_top1']:.1f} % in "
        f"the published row of a CPU; {one['gpu_s']:.0f} s and {one['cpu_s']:.0f} s.",
    ]
    return "\n\n".join(parts) + "\n"


def main(folder: Path) -> None:
    """Measure everything and write both files."""
    found = {"card": torch.cuda.get_device_name(), "icons": icons(), "drawing": drawing()}
    torch.manual_seed(0)
    clips = {name: load_clip(name, "random") for name in BACKBONES}
    found |= {"training": training(clips), "evaluation": evaluation(clips)}
    found["provenance"] = provenance(0.0, found["card"])
    (folder / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / "gpu.md").write_text(report(found))


if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("no GPU here: PyTorch sees none (torch.cuda.is_available() is False)")
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REPORTS)
