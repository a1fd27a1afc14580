"""The tables of the report, as rows of text."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras_acet.evaluation.results import Measured, Results, RunResult
from keras_acet.report.formatting import MISSING, interval, number, percent, rate, value
from keras_acet.report.sets import all_sets, find, label, rows_of, short
from keras_acet.training import methods


@dataclasses.dataclass(frozen=True)
class Cell:
    """An entry of a table: its text, a small text beside it, and whether the text is words instead of a number."""

    text: str
    small: str = ""
    words: bool = False


@dataclasses.dataclass(frozen=True)
class Group:
    """Neighbouring columns under one title; the title may be empty."""

    title: str
    columns: list[str]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; `rows` are pairs of a label and its entries.

    A row has one entry per group: a list of cells, or a text in their place. One text may stand in place of all
    entries.
    """

    caption: str
    corner: str
    groups: list[Group]
    rows: list[tuple[str, Any]]

    @property
    def width(self) -> int:
        """Number of columns beside the labels."""
        return sum(len(group.columns) for group in self.groups)


MEASURED = {  # name in results.json: column title
    "mmc": "MMC",
    "share_above_half": "> ½",
    "auroc": "AUROC",
    "auroc_ties_against": "AUROC, ties against",
    "fpr95_id_positive": "FPR@95, ID positive",
    "fpr95_ood_positive": "FPR@95, OOD positive",
    "aupr_id_positive": "AUPR, ID positive",
    "aupr_ood_positive": "AUPR, OOD positive",
    "success_rate": "Success rate",
}


def side_by_side(results: Results) -> Table:
    """Table 1 of the paper: a row per set, a column group per run."""
    runs = results.runs
    columns = {"mmc": "MMC", "auroc": "AUROC", "fpr95_id_positive": "FPR@95"}
    rows = []
    for wanted in all_sets(runs):
        found = [find(run, wanted) for run in runs]
        entries = [_entry(row, columns) for row in found]
        same = isinstance(entries[0], str) and len(set(map(str, entries))) == 1
        rows.append((label(wanted), entries[0] if same else entries))
    return Table(
        f"Trained on {results.data.name}: mean maximal confidence, AUROC and FPR@95 against the test set, "
        "in-distribution positive",
        "Set",
        [Group(f"{run.name} ({percent(value(run.test_error), 2)} error)", [*columns.values()]) for run in runs],
        rows,
    )


def _entry(row, columns):
    if row is None:
        return "not measured"
    if not row.n:
        return f"missing: {row.note}"
    return [Cell(rate(value(getattr(row, name)))) for name in columns]


def everything(run: RunResult) -> Table:
    """All columns of one run with their intervals."""
    names = [name for name in MEASURED if any(getattr(row, name) for row in run.rows)]
    rows = []
    for row in sorted(run.rows, key=all_sets([run]).index):
        cells = [_measured(getattr(row, name)) for name in names]
        rows.append((label(row), [[Cell(number(row.n)), *cells]] if row.n else f"missing: {row.note}"))
    return Table(run.name, "Set", [Group("", ["n", *(MEASURED[name] for name in names)])], rows)


def _measured(measured):
    return Cell(rate(value(measured)), interval(measured))


def headlines(results: Results) -> Table:
    """The numbers to look at first, a row per run."""
    rows = []
    for run in results.runs:
        noise, published, worst = (rows_of(run, k) for k in ("noise", "adversarial_noise", "worst_case_noise"))
        flat = run.flat_share
        error = run.test_error
        cells = [Cell(percent(value(error), 2), interval(error, lambda share: f"{100 * share:.2f}"))]
        cells += [_measured(rows[0].mmc) if rows else Cell(MISSING) for rows in (noise, published, worst)]
        cells += [Cell(percent(value(worst[0].share_above_half)) if worst else MISSING)]
        cells += [Cell(percent(flat.share) if flat else MISSING)]
        rows.append((run.name, [cells]))
    names = ["Test error", "Noise", "Paper's attack", "Worst case", "Worst case > ½", "Flat gradient"]
    radius = results.settings.epsilon
    within = "" if radius is None else f" within radius {short(radius)}"
    caption = f"Headline numbers: mean confidence on noise, untouched and attacked{within}"
    return Table(caption, "Run", [Group("", names)], rows)


def attacks(runs: Sequence[RunResult]) -> list[Table]:
    """A table per radius: each attack of the suite alone, and the worst per image, side by side."""
    runs = [run for run in runs if run.attacks]
    radii = sorted({attack.radius for run in runs for attack in run.attacks})
    return [_attacks(runs, radius) for radius in radii]


def _attacks(runs, radius):
    suites = [{a.name: a for a in run.attacks if a.radius == radius} for run in runs]
    first = {name: attack for suite in reversed(suites) for name, attack in suite.items()}
    names = list(dict.fromkeys(name for suite in suites for name in suite))
    strongest = [max(suite.values(), key=lambda attack: attack.mmc, default=None) for suite in suites]
    rows = []
    for name in names:
        about = [Cell(getattr(first[name], what), words=True) for what in ("objective", "start")]
        entries = []
        for suite, best in zip(suites, strongest, strict=True):
            attack = suite.get(name)
            entries.append(
                [
                    Cell(rate(attack.mmc), "strongest" if attack is best else ""),
                    Cell(percent(attack.share_above_half)),
                    Cell(number(attack.num_skipped)),
                ]
                if attack
                else "not run"
            )
        rows.append((name, [*entries, [*about, Cell(number(first[name].steps))]]))
    worst = [next((r for r in rows_of(run, "worst_case_noise") if r.radius == radius), None) for run in runs]
    if any(worst):
        entries = [
            [_measured(row.mmc), Cell(percent(value(row.share_above_half))), Cell("")] if row else "not run"
            for row in worst
        ]
        rows.append(("Worst per image", [*entries, [Cell("", words=True), Cell("", words=True), Cell("")]]))
    groups = [
        *(Group(run.name, ["MMC", "> ½", "Skipped"]) for run in runs),
        Group("", ["Objective", "Start", "Steps"]),
    ]
    return Table(f"Attacks on the noise images within radius {short(radius)}", "Attack", groups, rows)


def interval_bounds(runs: Sequence[RunResult]) -> Table:
    """The mean confidence that an attack reaches and the mean bound, a row per radius, a column group per run."""
    measured = [(run.name, run.interval_bounds) for run in runs if run.interval_bounds]
    bounds = [{row.radius: row for row in result.radii} for _, result in measured]
    rows = []
    for radius in sorted({radius for one in bounds for radius in one}):
        entries = [
            [Cell(rate(row.attacked)), Cell(rate(row.bound)), Cell(percent(row.share_below))] if row else "not measured"
            for row in (one.get(radius) for one in bounds)
        ]
        rows.append((short(radius), entries))
    _, first = measured[0]
    columns = ["Attacked", "Bound", f"Bound < {rate(first.level, 2)}"]
    caption = (
        f"Mean confidence on {number(first.num_images)} noise images after an attack, and the bound for any attack"
    )
    return Table(caption, "Radius", [Group(name, columns) for name, _ in measured], rows)


def certificates(run: RunResult) -> Table:
    """What the detector of a run proves, a row per set and radius."""
    result = run.certificates
    assert result is not None
    rows = []
    for one in result.sets:
        cells = [
            Cell(number(one.n)),
            Cell(rate(one.mmc)),
            Cell(rate(one.attacked), f"≤ {rate(one.attacked_bound)}" if one.attacked_bound else ""),
            Cell(rate(one.certified_mmc, 4)),
            Cell(percent(one.share_below_level), f"≥ {percent(one.at_least, 2)}" if (one.at_least or 0) > 1e-3 else ""),
            Cell(rate(one.certified_auroc, 4)),
            Cell(percent(one.certified_fpr95, 2)),
        ]
        mark = "*" if one.seen else ""
        rows.append((f"{one.set}{mark}, {short(one.radius)}", [cells]))
    level = f"≤ {rate(result.level, 2)}"
    columns = ["Images", "Clean", "Attacked", "Certified", level, "AUROC", "FPR@95"]
    return Table(f"Certified confidence of {run.name}", "Set, radius", [Group("", columns)], rows)


def alpha_scaling(runs: Sequence[RunResult]) -> Table:
    """Table 2 of the paper."""
    with_exact = any(run.alpha_scaling and run.alpha_scaling.exact for run in runs)
    rows = []
    for run in runs:
        scaling = run.alpha_scaling
        if scaling:
            clipped, largest = scaling.share_confident_clipped, number(scaling.largest_alpha)
            median = scaling.median_alpha
            cells = [
                Cell(number(scaling.num_trials)),
                Cell(number(median) if median else f"> {largest}"),
                Cell(percent(scaling.share_reached), f"of alpha up to {largest}"),
            ]
            if with_exact:
                exact = scaling.exact
                if exact is None:
                    cells += [Cell(MISSING), Cell(MISSING)]
                else:
                    median = exact.median_alpha
                    cells += [Cell(number(median) if median else "none"), Cell(percent(exact.share_reached))]
            cells.append(Cell(percent(clipped.value), interval(clipped, lambda share: f"{100 * share:.2f}")))
            rows.append((run.name, [cells]))
    first = next(run.alpha_scaling for run in runs if run.alpha_scaling)
    columns = [
        "Inputs",
        "Median alpha",
        f"Reach {percent(first.level)}",
        *(["Exact median", f"Reach {percent(first.level)} anywhere"] if with_exact else []),
        f"> {percent(first.clipped_level, 0)} confident after clipping",
    ]
    caption = "Uniform random inputs scaled by alpha: how far until the network is sure"
    if with_exact:
        caption += "; by a scan, and exactly from the linear pieces of the network on the whole ray"
    return Table(caption, "Run", [Group("", columns)], rows)


def calibration(runs: Sequence[RunResult]) -> Table:
    """Calibration on the test set before and after temperature scaling."""
    rows = []
    for run in runs:
        if run.calibration:
            result = run.calibration
            for when, temperature in (("before", 1), ("after", result.temperature)):
                numbers = [rate(getattr(getattr(result, when), name), 4) for name in ("ece", "ece_equal_mass")]
                numbers += [number(getattr(getattr(result, when), name)) for name in ("nll", "brier")]
                cells = [Cell(when, words=True), Cell(number(temperature)), *map(Cell, numbers)]
                cells += [Cell(number(result.risk_coverage.aurc) if when == "after" else "")]
                rows.append((run.name, [cells]))
    columns = ["Scaling", "Temperature", "ECE", "ECE, equal mass", "NLL", "Brier", "AURC"]
    return Table("Calibration on the test set", "Run", [Group("", columns)], rows)


def thresholds(runs: Sequence[RunResult]) -> Table:
    """The threshold of each rule of acceptance and the share of images that it accepts."""
    calibrated = [(run.name, run.calibration) for run in runs if run.calibration]
    rules = [{rule.name: rule for rule in result.thresholds} for _, result in calibrated]
    rows = []
    for name in dict.fromkeys(name for rules_of_run in rules for name in rules_of_run):
        entries = []
        for rule in (rules_of_run.get(name) for rules_of_run in rules):
            shares = ("accepted_test", "accepted_worst_noise")
            entries.append(
                [Cell(rate(rule.threshold, 4)), *(Cell(percent(getattr(rule, share))) for share in shares)]
                if rule
                else "not chosen"
            )
        rows.append((name, entries))
    columns = ["Threshold", "Test accepted", "Worst-case noise accepted"]
    caption = "Thresholds on the calibrated confidence, and the share of images they accept"
    return Table(caption, "Rule", [Group(name, columns) for name, _ in calibrated], rows)


def guarantees(runs: Sequence[RunResult]) -> list[tuple[str, str]]:
    """Pairs of a rule and its guarantee, each once."""
    rules = [rule for run in runs if run.calibration for rule in run.calibration.thresholds]
    return list(dict.fromkeys((rule.name, rule.guarantee) for rule in rules))


def facts(caption: str, pairs: dict[str, Any]) -> Table:
    """A table of names and values."""
    rows = [(name, [[Cell(_plain(fact), words=True)]]) for name, fact in pairs.items()]
    return Table(caption, "Name", [Group("", ["Value"])], rows)


def measurements(results: Results) -> Table:
    """The measurements, with those of their settings that are numbers or words."""
    rows = []
    for described in results.measurements:
        settings = {name: value for name, value in described.items() if not isinstance(value, (dict, list))}
        texts = [f"{name} {_plain(value)}" for name, value in settings.items() if name != "name"]
        rows.append((described["name"], [[Cell(", ".join(texts), words=True)]]))
    return Table("Measurements", "Name", [Group("", ["Settings"])], rows)


def models(runs: Sequence[RunResult]) -> Table:
    """Where each run came from."""
    names = {
        "path": "Path",
        "kind": "Kind",
        "method": "Method",
        "model_sha256": "SHA-256",
        "differentiable": "Has gradients",
        "seconds": "Seconds to evaluate",
    }
    rows = [
        (
            title,
            [[Cell(_fact(run, name), words=True) for run in runs]],
        )
        for name, title in names.items()
    ]
    return Table("Models", "", [Group("", [run.name for run in runs])], rows)


def flags(runs: Sequence[RunResult]) -> Table:
    """The training flags of the runs that have them, side by side."""
    trained = [(run.name, _used(run.flags)) for run in runs if run.flags]
    names = dict.fromkeys(name for _, given in trained for name in given)
    rows = [(name, [[Cell(_plain(given.get(name)), words=True) for _, given in trained]]) for name in names]
    return Table("Training flags", "Flag", [Group("", [name for name, _ in trained])], rows)


def _used(given: dict[str, str]) -> dict[str, str]:
    """The flags that mean something with the others: a plain run has no adversary."""
    unused = methods.unused(given)
    return {name: value for name, value in given.items() if name not in unused}


def more(runs: Sequence[RunResult]) -> list[Table]:
    """A table for each measurement of another kind, as its results stand in `results.json`."""
    tables = []
    for name in dict.fromkeys(name for run in runs for name in run.more):
        flat = [_flattened(run.more.get(name)) for run in runs]
        rows = []
        for entry in dict.fromkeys(entry for one in flat for entry in one):
            rows.append((entry, [[one.get(entry, Cell(MISSING)) for one in flat]]))
        tables.append(Table(name.replace("_", " "), "", [Group("", [run.name for run in runs])], rows))
    return tables


def _flattened(value: Any, place: str = "") -> dict[str, Cell]:
    """The values in nested dicts and lists, each with the keys that lead to it; a measured number is one value."""
    if isinstance(value, dict) and set(value) == {"value", "low", "high"}:
        numbers = Measured(**value)
        return {place or "value": Cell(number(numbers.value), interval(numbers, number))}
    if isinstance(value, dict):
        members = [(f"{place}, {key}" if place else key, member) for key, member in value.items()]
    elif isinstance(value, list) and any(isinstance(member, (dict, list)) for member in value):
        members = [(f"{place} {index}".strip(), member) for index, member in enumerate(value, start=1)]
    else:
        return {} if value is None else {place or "value": Cell(_plain(value))}
    return {name: cell for key, member in members for name, cell in _flattened(member, key).items()}


def _fact(run: RunResult, name: str) -> str:
    fact = getattr(run, name)
    return f"{fact[:16]}…" if name == "model_sha256" and fact else _plain(fact)


def _plain(fact):
    if fact is None:
        return MISSING
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    if isinstance(fact, (list, tuple)):
        return ", ".join(map(str, fact))
    return number(fact, 6) if isinstance(fact, (int, float)) else str(fact)
