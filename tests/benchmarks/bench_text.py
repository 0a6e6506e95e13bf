import ctypes
import threading
from collections.abc import Callable

import torch
from open_clip.model import CLIP
from torch import Tensor

from eclip_lib.clip.backbone import load_clip
from eclip_lib.model.text_encoder import TOKENS, encode_prompts, suffix_tokens
from tests.benchmarks.timing import ms, side_by_side, table, timed, verdict

CALTECH = (  # noqa: SIM905  (as a list it would take 101 lines)
    "accordion,airplane,anchor,ant,background google,barrel,bass,beaver,binocular,bonsai,brain,brontosaurus,buddha,"
    "butterfly,camera,cannon,car side,ceiling fan,cellphone,chair,chandelier,cougar body,cougar face,crab,crayfish,"
    "crocodile,crocodile head,cup,dalmatian,dollar bill,dolphin,dragonfly,electric guitar,elephant,emu,euphonium,ewer,"
    "faces easy,ferry,flamingo,flamingo head,garfield,gerenuk,gramophone,grand piano,hawksbill,headphone,hedgehog,"
    "helicopter,ibis,inline skate,joshua tree,kangaroo,ketch,lamp,laptop,leopards,llama,lobster,lotus,mandolin,mayfly,"
    "menorah,metronome,minaret,motorbikes,nautilus,octopus,okapi,pagoda,panda,pigeon,pizza,platypus,pyramid,revolver,"
    "rhino,rooster,saxophone,schooner,scissors,scorpion,sea horse,snoopy,soccer ball,stapler,starfish,stegosaurus,"
    "stop sign,strawberry,sunflower,tick,trilobite,umbrella,watch,water lilly,wheelchair,wild cat,windsor chair,"
    "wrench,yin yang"
).split(",")
MANY = [f"{a} {b}" for a in CALTECH[:40] for b in CALTECH[40:65]]
EVENTS = 2
PREFIXES = {"16 context vectors": 17, "template, 4 words": 5}
FULL, TRIMMED, OURS = "all 77 positions", "cut to the longest prompt", "eclip_lib `encode_prompts`"


def _plain(clip: CLIP, prefix: Tensor, suffix: Tensor, length: int) -> Tensor:
    """Run open_clip's text transformer over each prompt of each prefix, the first `length` positions."""
    kept = min(suffix.shape[-1], length - prefix.shape[1])
    features = []
    for before, tokens in zip(prefix, suffix.expand(len(prefix), -1, -1), strict=True):
        padded = torch.nn.functional.pad(tokens[:, :kept], (0, length - len(before) - kept))
        x = torch.cat([before.expand(len(padded), -1, -1), clip.token_embedding(padded)], dim=1)
        x = clip.transformer(x + clip.positional_embedding[:length], attn_mask=clip.attn_mask[:length, :length])
        end = len(before) + padded.argmax(-1)
        features.append(clip.ln_final(x)[torch.arange(len(x)), end] @ clip.text_projection)
    return torch.stack(features)


def full_way(clip: CLIP, prefix: Tensor, suffix: Tensor) -> Tensor:
    return _plain(clip, prefix, suffix, clip.context_length)


def trimmed_way(clip: CLIP, prefix: Tensor, suffix: Tensor) -> Tensor:
    return _plain(clip, prefix, suffix, prefix.shape[1] + suffix.shape[-1])


def inputs(clip: CLIP, names: list[str], n: int, events: int = EVENTS) -> tuple[Tensor, Tensor]:
    """Return a prefix of n tokens for each event, and the suffixes of the names with a full stop."""
    suffix = suffix_tokens(clip, [name + "." for name in names], clip.context_length - n)
    return 0.02 * torch.randn(events, n, clip.token_embedding.embedding_dim), suffix[None]


def contenders(clip: CLIP, prefix: Tensor, suffix: Tensor) -> dict[str, Callable[[], Tensor]]:
    ways = {FULL: full_way, TRIMMED: trimmed_way, OURS: encode_prompts}
    return {name: torch.no_grad()(lambda way=way: way(clip, prefix, suffix)) for name, way in ways.items()}


def resident_bytes() -> int:
    """Return the memory of this process now."""
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * 4096


def peak_bytes(function: Callable[[], object]) -> int:
    """Return by how much the memory of this process grows at most during a call, as looked at every millisecond."""
    ctypes.CDLL(None).malloc_trim(0)  # what earlier calls freed is given back, or the growth would hide in it
    before, most, done = resident_bytes(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            most[0] = max(most[0], resident_bytes() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    function()
    done.set()
    watcher.join()
    return most[0]


def timed_full(clip: CLIP, prefix: Tensor, suffix: Tensor) -> tuple[float, Tensor]:
    """Return the seconds of the slow way for every 4th name of one event, as if for all, and what it gives."""
    part, features = suffix[:, ::4], []
    with torch.no_grad():
        seconds = min(timed(lambda: features.append(full_way(clip, prefix[:1], part))) for _ in range(2))
    return seconds * suffix.shape[1] / part.shape[1], features[0]


def least(n: int, suffix: Tensor) -> str:
    """Say how many fewer tokens there are than in cut prompts: about the most that leaving tokens out can gain."""
    own = int((suffix.argmax(-1) + 1).sum())
    cut = suffix.shape[1] * (n + suffix.shape[-1])
    return f"- Tokens: {cut:,} when cut, {n + own:,} of ours, {cut / (n + own):.2f} times fewer."


def compare(clip: CLIP, name: str, n: int) -> tuple[dict[str, float], str]:
    prefix, suffix = inputs(clip, CALTECH, n)
    ways = contenders(clip, prefix, suffix)
    full_seconds, expected = timed_full(clip, prefix, suffix)
    error = max(float((ways[way]()[:1, ::4] - expected).abs().max()) for way in (TRIMMED, OURS))
    times = side_by_side({way: ways[way] for way in (TRIMMED, OURS)}, seconds=4)
    times = {FULL: full_seconds} | {way: seconds / EVENTS for way, seconds in times.items()}
    rows = [[way, ms(seconds), f"{seconds / times[OURS]:.1f}"] for way, seconds in times.items()]
    head = f"Prefix: {name}; largest difference {error:.0e}\n\n"
    lines = [*goals(times), least(n, suffix)]
    return times, head + table(["", "ms per event", "times ours"], rows) + "\n" + "\n".join(lines) + "\n\n"


def goals(times: dict[str, float]) -> list[str]:
    return [verdict(way, times[way] / times[OURS], goal) for way, goal in ((FULL, 12), (TRIMMED, 3))]


def main() -> str:
    torch.manual_seed(0)
    clip = load_clip("ViT-B-16", "random").requires_grad_(False)
    text = f"## Content prompts: ViT-B/16's text tower, {len(CALTECH)} Caltech names, {EVENTS} events\n\n"
    parts = [compare(clip, name, n) for name, n in PREFIXES.items()]
    both = {way: sum(times[way] for times, _ in parts) for way in (FULL, TRIMMED, OURS)}
    text += "".join(part for _, part in parts) + "Hybrid prompts need both prefixes: the two added up\n\n"
    text += "\n".join(goals(both)) + "\n\n"
    rows = []
    for names in (CALTECH, MANY):
        way = contenders(clip, *inputs(clip, names, 17))[OURS]
        grown = peak_bytes(way)
        rows.append([f"{len(names):,} classes", ms(timed(way) / EVENTS), f"{grown / 1e6:.0f}"])
    headers = ["", "ms per event", "peak memory, MB"]
    return text + f"Ours, at most {TOKENS:,} tokens at a time\n\n" + table(headers, rows)
