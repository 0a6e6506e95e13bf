"""What the paper and a reading note of it claim, the comparison that tests each claim, and a verdict on our data.

rows of a ledger and their predictions → differences of accuracy, corrected for their number → verdicts.
The reading note is a second-hand account of E-CLIP v1 that this project was started from.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import pandas as pd

from eclip_lib.evaluation import paired_interval
from eclip_lib.ledger import label, setting
from eclip_lib.results.comparisons import holm, paired_effect
from eclip_lib.results.files import Table

MARGIN = 0.02  # of accuracy; a smaller difference is "little": our choice, about one recording in fifty
ALMOST = 0.8  # of what two parts add together, a part that adds this share of it adds "almost everything": our choice
RANGE = 10.0  # terms of the loss are "in one range" if the largest is at most so many times the smallest: our choice
SUPPORTED, CONTRARY, UNDECIDED, UNTESTED = "supported", "not supported", "undecided", "not tested"
Side = Literal["trained", "zero-shot", "new classes"]
PREDICTED = {
    "above": ", predicted above 0",
    "below": ", predicted below 0",
    "near": f", predicted within ± {100 * MARGIN:g}",
    "most": f", predicted at least {100 * ALMOST:g} % of both",
    "any": "",
}


@dataclass(frozen=True)
class Comparison:
    """The accuracy of one variant less that of another, and what a claim predicts of it.

    Attributes:
        variant: of the ablation grid.
        reference: the variant that it is compared to.
        predicted: "above" or "below" zero, "near" it (less than `MARGIN` away), "most" of what it and the claim's other
            difference come to (`ALMOST`), or "any", for that other one.
        side: of the variant: "trained" on the setting's shots; "zero-shot", without any training; or "new classes",
            trained on as many shots of half of the classes and tested on the others (base-to-new).
        reference_side: the same, of the reference.
    """

    variant: str
    reference: str
    predicted: Literal["above", "below", "near", "most", "any"]
    side: Side = "trained"
    reference_side: Side = "trained"

    def __str__(self) -> str:
        """Name the two sides."""
        sides = ((self.variant, self.side), (self.reference, self.reference_side))
        return " against ".join(name + ("" if side == "trained" else f", {side}") for name, side in sides)


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        text: as the source has it, in short.
        source: who claims it, and on what ground.
        comparisons: all of them have to come out as predicted; none where the terms of the loss are looked at instead.
        note: what a reader should know of how it is tested.
    """

    text: str
    source: str
    comparisons: tuple[Comparison, ...] = ()
    note: str = ""


CLAIMS = (
    Claim(
        "HTCA carries almost everything",
        "E-CLIP v1, supplement Fig. 1: 92.6 of 93.9 % with HTCA alone; reading note",
        (
            Comparison("HTCA alone", "full", "most", reference_side="zero-shot"),
            Comparison("full", "HTCA alone", "any"),
        ),
        "What training by HTCA without prompts and temporal parts adds to plain CLIP, against what these add to it. "
        f"Almost everything: at least {100 * ALMOST:g} % of both, our choice.",
    ),
    Claim(
        "The event-text loss matters more than event-image",
        "E-CLIP v1, supplement Fig. 1; reading note",
        (Comparison("no event-image", "no event-text", "above"),),
        "Which of the two is missed more when it is left out.",
    ),
    Claim(
        "Text prompts and encoder additions add little",
        "E-CLIP v1, supplement Fig. 1: about 1 and 0.3 points; reading note",
        (
            Comparison("full", "no text additions", "near"),
            Comparison("full", "no additions", "near"),
        ),
        f"Little: less than {100 * MARGIN:g} points either way, which is our choice.",
    ),
    Claim(
        "Any image-text fine-tuning hurts",
        "reading note; the official code switches that term off",
        (Comparison("with image-text", "full", "below"),),
    ),
    Claim(
        "Learnable prompts cost zero-shot and help few-shot",
        "EventBind, appendix Tab. 2 (base-to-new); reading note",
        (
            Comparison("learnable text", "handcrafted text", "below", "new classes", "new classes"),
            Comparison("learnable text", "handcrafted text", "above"),
        ),
        "Zero-shot as its source measures it, by base-to-new: trained on half of the classes, tested on the others.",
    ),
    Claim(
        "Equal weights keep the terms in one range",
        "reading note",
        note=f"One range: in the last epoch the largest term is at most {RANGE:g} times the smallest, our choice.",
    ),
)
EQUAL = "full"  # the variant whose terms have equal weights


def claim_effects(rows: pd.DataFrame, ledger: Path | str, level: float = 0.95) -> pd.DataFrame:
    """Return the difference of every comparison of every claim, corrected as one family.

    Args:
        rows: of an ablation, with readable predictions.
        ledger: the file of the rows.
        level: of the family.

    Returns:
        A row a comparison of a claim, data set and setting: `claim`, `comparison`, `predicted`, `data`, `setting`; the
        columns of `comparisons.holm`; and `low_all` to `high_all`, intervals that hold for all comparisons at once,
        which statements about more than a sign need. A comparison without rows has no gain.
    """
    pairs = {str(pair): pair for claim in CLAIMS for pair in claim.comparisons}  # two claims may share one
    lines = []
    for place, sides in _settings(rows):
        for name, pair in pairs.items():
            ours, theirs = sides[pair.side], sides[pair.reference_side]
            ours, theirs = ours[ours.label == pair.variant], theirs[theirs.label == pair.reference]
            found = paired_effect(ours, theirs, ledger, level)
            lines.append(place | {"comparison": name} | (found or dict.fromkeys(EFFECT)))
    table = pd.DataFrame(lines, columns=["data", "setting", "comparison", *EFFECT])
    table = holm(table.astype(dict.fromkeys(("gain", "low", "high", "se", "p"), float)), level)
    share = (1 - level) / 2 / max(1, table.gain.notna().sum())
    ends = [[np.nan] * 2 if draws is None else np.quantile(draws, [share, 1 - share]) for draws in table.draws]
    table = table.assign(**dict(zip(("low_all", "high_all"), np.reshape(ends, (-1, 2)).T, strict=True)))
    told = [(claim.text, str(pair), pair.predicted) for claim in CLAIMS for pair in claim.comparisons]
    return pd.DataFrame(told, columns=["claim", "comparison", "predicted"]).merge(table, on="comparison")


EFFECT = ("gain", "low", "high", "se", "p", "repeats", "recordings", "draws")


def _settings(rows: pd.DataFrame) -> Iterator[tuple[dict, dict[Side, pd.DataFrame]]]:
    """Yield each data set's settings with training on all classes: their names, and the rows of each side."""
    rows = rows.assign(label=[label(row) for _, row in rows.iterrows()])
    for (dataset, simulated), group in rows.groupby(["dataset", "simulated"], sort=True):
        untrained, halved = (group[group.protocol == name] for name in ("zero-shot", "base-to-new"))
        others = group[~group.protocol.isin(("zero-shot", "base-to-new"))]
        for (protocol, shots), trained in others.groupby(["protocol", "shots"], dropna=False):
            data = f"{dataset} ({'simulated' if simulated else 'real'})"
            new = halved[halved.shots.isna() if pd.isna(shots) else halved.shots == shots]
            sides: dict[Side, pd.DataFrame] = {"trained": trained, "zero-shot": untrained, "new classes": new}
            yield {"data": data, "setting": setting(protocol, shots)}, sides


def verdicts(rows: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Return a verdict for each claim, data set and setting.

    A comparison is supported where its corrected interval lies wholly where the claim predicts, not supported where it
    lies wholly elsewhere, and undecided where it does neither. A claim is supported if all of its comparisons are, not
    supported if one is not, and not tested if rows are missing.

    Args:
        rows: what `found` was made of.
        found: of `claim_effects`.

    Returns:
        Columns claim, source, data, setting, verdict, evidence, note: texts.
    """
    lines, settings = [], list(_settings(rows))
    for claim in CLAIMS:
        for place, sides in settings:
            here = (found.claim == claim.text) & (found.data == place["data"]) & (found.setting == place["setting"])
            if claim.comparisons:
                verdict, evidence = _judge(found[here])
            else:
                trained = sides["trained"]
                verdict, evidence = terms_verdict(trained.losses[trained.label == EQUAL].tolist())
            told = {"verdict": verdict, "evidence": evidence, "note": claim.note}
            lines.append({"claim": claim.text, "source": claim.source} | place | told)
    return pd.DataFrame(lines, columns=["claim", "source", "data", "setting", "verdict", "evidence", "note"])


def _judge(found: pd.DataFrame) -> tuple[str, str]:
    """Return the verdict on one claim in one setting, and the differences behind it."""
    missing = found[found.gain.isna()]
    if len(missing):
        pairs = "; ".join(missing.comparison)
        return UNTESTED, f"no runs to pair: {pairs} (`eclip ablate --preset claims` makes them of the default base)"
    each = [comparison_verdict(row, found) for row in found.itertuples() if row.predicted != "any"]
    verdict = next((name for name in (CONTRARY, UNDECIDED) if name in each), SUPPORTED)
    return verdict, "; ".join(map(_evidence, found.itertuples()))


class EffectRow(Protocol):
    """A row of `claim_effects`, as `itertuples` gives it."""

    comparison: str
    predicted: Literal["above", "below", "near", "most", "any"]
    mark: bool
    gain: float
    low_all: float
    high_all: float
    low_holm: float
    high_holm: float


def comparison_verdict(row: EffectRow, claim: pd.DataFrame) -> str:
    """Return the verdict on one comparison: a row of `claim_effects`, and all rows of its claim in its setting."""
    if row.predicted in ("above", "below"):
        if not row.mark:
            return UNDECIDED
        return SUPPORTED if (row.gain > 0) == (row.predicted == "above") else CONTRARY
    if row.predicted == "near":
        if max(abs(row.low_all), abs(row.high_all)) < MARGIN:
            return SUPPORTED
        return CONTRARY if row.low_all > MARGIN or row.high_all < -MARGIN else UNDECIDED
    (other,) = claim[claim.comparison != row.comparison].itertuples()
    times = ALMOST / (1 - ALMOST)
    if row.low_all > times * max(0.0, other.high_all):
        return SUPPORTED
    return CONTRARY if row.high_all < times * max(0.0, other.low_all) else UNDECIDED


def _evidence(row: EffectRow) -> str:
    """Write a difference with the interval that its verdict rests on."""
    holm_is_used = row.predicted in ("above", "below")
    low, high = (row.low_holm, row.high_holm) if holm_is_used else (row.low_all, row.high_all)
    numbers = f"{100 * row.gain:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"{row.comparison}: {numbers}{PREDICTED[row.predicted]}"


def terms_verdict(losses: list[dict | None], level: float = 0.95) -> tuple[str, str]:
    """Return whether the terms of HTCA are in one range, by a t interval over the logarithms of the runs' ratios.

    Args:
        losses: of each run the terms of its last epoch, unweighted, in nats; runs without them are left out.
        level: of the interval.
    """
    terms = ("event_image", "event_text", "text_text")
    kept = [[one[name] for name in terms] for one in losses if isinstance(one, dict) and set(terms) <= set(one)]
    if len(kept) < 2:
        return UNTESTED, f"{len(kept)} runs of {EQUAL!r} tell the terms of their last epoch; two are needed"
    values = np.maximum(kept, 1e-6)  # a term that is solved counts as a millionth of a nat
    mean, low, high = paired_interval(np.log(values.max(1) / values.min(1)).tolist(), level)
    means = ", ".join(f"{name.replace('_', '-')} {x:.2f}" for name, x in zip(terms, values.mean(0), strict=True))
    evidence = (
        f"{means} nats; the largest is {np.exp(mean):.1f} ({np.exp(low):.1f} to {np.exp(high):.1f}) times the "
        f"smallest, predicted at most {RANGE:g}"
    )
    if high <= np.log(RANGE):
        return SUPPORTED, evidence
    return (CONTRARY if low > np.log(RANGE) else UNDECIDED), evidence


def claims_table(judged: pd.DataFrame, found: pd.DataFrame) -> Table:
    """Return the verdicts of `verdicts` as a table; `found`, of `claim_effects`, is what they rest on."""
    family = found.drop_duplicates(["data", "setting", "comparison"]).gain.notna().sum()
    cells = judged[["claim", "data", "verdict", "evidence"]].assign(data=judged.data + ", " + judged.setting)
    bold = cells.map(lambda _: False)
    bold["verdict"] = cells.verdict.isin((SUPPORTED, CONTRARY))
    caption = (
        "Claims of the paper and of a reading note of it, and what our data say: differences in points of top-1 "
        f"accuracy with 95 % intervals, corrected for all {family} comparisons of this table (signs by Holm, the "
        "others by Bonferroni); the interval of the terms' ratio is corrected for nothing."
    )
    return Table("claims", caption, cells, bold, judged)


def claim_list() -> str:
    """Return the claims as a Markdown list: who makes each, and how it is tested."""
    return "\n".join(
        f"- **{claim.text}** ({claim.source}). {claim.note}".rstrip()
        + (f" Tested: {'; '.join(map(_plan, claim.comparisons))}." if claim.comparisons else "")
        for claim in CLAIMS
    )


def _plan(pair: Comparison) -> str:
    return f"{pair}{PREDICTED[pair.predicted]}"
