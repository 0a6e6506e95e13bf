"""Cut CLIP's BPE vocabulary to the merges some texts need, in the file format of open_clip's own tokenizer.

texts -> a gzipped merge list -> `open_clip.tokenizer.SimpleTokenizer`.
Every text keeps its tokenization or falls back to smaller pieces; nothing is ever unknown, since all bytes stay.
"""

import gzip
import io
from collections.abc import Iterable
from pathlib import Path

from open_clip.tokenizer import SimpleTokenizer


def used_merges(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Return, in order of rank, the BPE merges that tokenizing `texts` applies."""
    tokenizer = SimpleTokenizer()
    parents = {"".join(pair): pair for pair in reversed(list(tokenizer.bpe_ranks))}
    pending = {tokenizer.decoder[token] for text in texts for token in tokenizer.encode(text)}
    used = set()
    while pending:
        pair = parents.get(pending.pop())
        if pair is not None and pair not in used:
            used.add(pair)
            pending.update(pair)
    return sorted(used, key=tokenizer.bpe_ranks.__getitem__)


def write_merges(path: Path, merges: list[tuple[str, str]]) -> None:
    """Write a merge list that `SimpleTokenizer(bpe_path=...)` reads; the same merges give the same bytes."""
    text = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)])
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
        file.write(text.encode())
    path.write_bytes(buffer.getvalue())
