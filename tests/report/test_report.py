import copy
import csv
import dataclasses
import html.parser
import io
import json
import re
import struct

import matplotlib.figure
import numpy as np
import pytest

from keras_acet import report
from keras_acet.evaluation.arrays import Arrays, NoisePairs, PlaneMaps, ShownImages
from keras_acet.evaluation.results import BoundAtRadius, IntervalBoundsResult, Results, RunResult, Settings
from keras_acet.report import writing
from keras_acet.report.figures.confidences import roc
from keras_acet.report.figures.maps import draw_borders
from keras_acet.report.formatting import MISSING, number, percent, rate
from keras_acet.report.pages import render
from keras_acet.report.sentences import headline
from keras_acet.typed_json import from_json, schema, to_json

HOSTILE = '<script>alert("run")</script> a|b *c* $x_{$ [d](e)'
SPACE = "\N{NO-BREAK SPACE}"
DETECTION = (
    "auroc",
    "auroc_ties_against",
    "fpr95_id_positive",
    "fpr95_ood_positive",
    "aupr_id_positive",
    "aupr_ood_positive",
)


def measured(value, spread=0.01):
    return {"value": value, "low": max(0.0, value - spread), "high": min(1.0, value + spread)}


def row(name, kind, mmc, radius=None, *, n=64, auroc=0.9, **more):
    numbers = {metric: measured(auroc) for metric in DETECTION} if kind != "test" else {}
    above = {"share_above_half": measured(0.0 if mmc < 0.5 else 0.75)}
    about = {"set": name, "kind": kind, "radius": radius, "label": more.pop("label", name), "n": n, "note": ""}
    return {**about, "mmc": measured(mmc), **above, **numbers, **more}


def missing(name, note):
    return {"set": name, "kind": "ood", "radius": None, "label": name, "n": 0, "note": note}


def full_run(name, published, worst):
    attacks = [
        {"name": "as published", "objective": "log confidence", "start": "random", "steps": 200, "mmc": published},
        {"name": "momentum", "objective": "logit gap", "start": "corner", "steps": 100, "mmc": worst - 0.002},
        {"name": "transferred", "objective": "none", "start": "transferred", "steps": 0, "mmc": 0.105},
    ]
    for attack in attacks:
        attack |= {"radius": 0.3, "share_above_half": 0.0, "num_skipped": 0}
        attack["curve"] = [[1, 0.1], [50, 0.5 * (0.1 + attack["mmc"])], [100, attack["mmc"]]]
    attacks[-1]["curve"] = None
    scores = {"ece": 0.0123, "ece_equal_mass": 0.0119, "nll": 0.0212, "brier": 0.0091}
    bins = [[None, None, 0], [0.5, 0.4, 10], [0.9, 0.95, 54]]
    rule = {"name": "split conformal", "threshold": 0.8, "num_images": 500, "accepted_test": 0.951}
    return {
        "name": name,
        "path": "runs/</td><h1>x",
        "kind": "run",
        "method": "acet",
        "flags": {"epochs": "2", "note": "<b>bold</b>", "method": "plain", "adversary": "persistent"},
        "model_sha256": "ab" * 32,
        "differentiable": True,
        "test_error": measured(0.0057, 0.0007),
        "seconds": 12.5,
        "rows": [
            row("mnist", "test", 0.98),
            row("fashion_mnist", "ood", 0.3, auroc=0.981),
            missing("lsun", "not found; get it with `<tfds>`"),
            row("noise", "noise", 0.1),
            row("noise", "adversarial_noise", published, 0.3),
            row("noise", "worst_case_noise", worst, 0.3, share_above_half=measured(0.25)),
            row("noise", "worst_case_noise", worst + 0.1, 0.4),
            row("fashion_mnist", "worst_case_ood", 0.8, 0.3),
            row("changed", "adversarial_samples", 0.7, 0.3, success_rate=measured(0.625)),
            row("all", "adversarial_samples", 0.7, 0.3),
        ],
        "attacks": attacks,
        "flat_share": {"share": 0.93, "threshold": 1e-6, "radius": 0.3},
        "alpha_scaling": {
            "num_trials": 10000,
            "median_alpha": 3.04e15,
            "share_reached": 1.0,
            "level": 0.999,
            "share_confident_clipped": measured(0.034),
            "clipped_level": 0.95,
            "largest_alpha": 1e18,
            "exact": None,
        },
        "interval_bounds": None,
        "more": {},
        "calibration": {
            "num_images": 500,
            "is_held_out": True,
            "temperature": 1.3,
            "before": scores,
            "after": scores | {"ece": 0.0031},
            "reliability": {"before": bins, "after": bins},
            "risk_coverage": {"coverage": [0.1, 0.5, 1.0], "risk": [0.0, 0.001, 0.0057], "aurc": 0.00083},
            "thresholds": [rule | {"accepted_worst_noise": 0.0, "guarantee": "95 % <on average>"}],
        },
        "left_out": [],
    }


def onnx_run(name):
    return full_run(name, 0.1, 0.1) | {
        "kind": "onnx",
        "method": None,
        "flags": None,
        "differentiable": False,
        "rows": [row("mnist", "test", 0.98), row("fashion_mnist", "ood", 0.3), row("noise", "noise", 0.1)],
        "attacks": [],
        "flat_share": None,
        "alpha_scaling": None,
        "calibration": None,
        "left_out": ["Adversarial noise: an ONNX file has no gradients"],
    }


def typed(run):
    return from_json(RunResult, run)


def example():
    """Results, arrays and history of two runs, one of them with a hostile name, and an ONNX file."""
    draw = np.random.default_rng(0)
    runs = [full_run("mnist-acet", 0.101, 0.121), full_run(HOSTILE, 0.967, 0.99), onnx_run("model.onnx")]
    runs = from_json(list[RunResult], runs)
    arrays = {run.name: Arrays() for run in runs}
    for run in runs:
        found = arrays[run.name]
        for one in run.rows:
            if one.n:
                found.confidence[one.key] = found.score[one.key] = draw.uniform(0.1, 1, one.n)
        found.shown["ood", "fashion_mnist", None] = ShownImages(
            draw.random((4, 8, 8, 1)), np.array([0.99, 0.9, 0.8, 0.7]), np.arange(4) % 2
        )
    for run in runs[:2]:
        confidence = np.linspace(0.1, 0.2, 8)
        arrays[run.name].pairs = NoisePairs(*draw.random((2, 8, 8, 8, 3)), confidence, confidence)
    arrays["mnist-acet"].maps = PlaneMaps(
        ((0, 1), (-10, 10)), draw.uniform(0.5, 1, (2, 20, 20)), None, draw.random((30, 2)), np.arange(30) % 2
    )
    epoch = {"accuracy": 0.9, "cross_entropy": 0.2, "noise_confidence": 0.12, "val_accuracy": 0.95, "val_loss": 0.1}
    results = {
        "schema_version": 2,
        "created": "2026-01-02T03:04:05+00:00",
        "versions": {"python": "3.11.7", "keras": "3.15.0"},
        "command": "python evaluate.py --run_dir='<i>'",
        "data": {
            "name": "mnist",
            "num_classes": 2,
            "class_names": ['"><img src=x onerror=alert(1)>', "日本"],
            "image_shape": [8, 8, 1],
            "num_test": 64,
            "fingerprint": "0123",
        },
        "settings": dict.fromkeys(field.name for field in dataclasses.fields(Settings))
        | {"quick": True, "num_images": 0, "epsilon": 0.3, "num_noise": 64, "seed": 0, "num_bootstrap": 100}
        | {"score": "MaxSoftmax()"},
        "measurements": [{"name": "noise"}, {"name": "worst", "epsilon": 0.3, "set": "a|b", "trials": [1]}],
        "runs": [],
    }
    results = dataclasses.replace(from_json(Results, results), runs=runs)
    history = {"mnist-acet": [{"epoch": 1, **epoch}, {"epoch": "2", **epoch, "val_loss": ""}], HOSTILE: []}
    return results, arrays, history


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("report")
    report.write(*example(), path)
    return path


@pytest.fixture(scope="module")
def markdown(directory):
    return (directory / "report.md").read_text(encoding="utf-8")


class Page(html.parser.HTMLParser):
    """The elements of a page, the text of each table row, and whether all elements are closed in order."""

    VOID = ("meta", "link", "img", "wbr")

    def __init__(self, text):
        super().__init__()
        self.elements, self.rows, self.open = [], [], []
        self.text = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and {"th", "td"} & set(self.open):
            self.rows[-1][-1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(directory):
    return Page((directory / "report.html").read_text(encoding="utf-8"))


# -- numbers


def test_a_number_that_is_not_zero_or_one_never_looks_like_it():
    assert [rate(v) for v in (0, 0.0004, 0.0006, 0.5, 0.9994, 0.9996, 1)] == (
        [".000", "<.001", ".001", ".500", ".999", ">.999", "1.000"]
    )
    assert [percent(v, 2) for v in (0, 0.00001, 0.0057, 0.99999, 1)] == (
        [f"{text}{SPACE}%" for text in ("0", "<0.01", "0.57", ">99.99", "100")]
    )
    assert [number(v) for v in (0, 8.123, 1e-6, 3.04e15)] == ["0", "8.12", "1e-6", "3.04e15"]
    assert rate(None) == percent(None) == number(None) == MISSING


def test_roc_by_hand_with_ties():
    # Thresholds .9, .6, .5: test images at or above 1/2, 1/2, 2/2; the others 0/3, 1/3, 3/3.
    accepted_ood, accepted_test = roc(np.array([0.9, 0.5]), np.array([0.5, 0.5, 0.6]))
    np.testing.assert_allclose(accepted_ood, [0, 0, 1 / 3, 1])
    np.testing.assert_allclose(accepted_test, [0, 0.5, 0.5, 1])


# -- what is said


def test_the_headline_is_a_sentence_with_the_numbers():
    expected = (
        "test error 0.57 %, confidence on noise .100, after the paper's attack .101 (radius .3), in the worst case "
        "over the whole suite .121 (radius .3; 25.0 % of 64 images above one half) and .221 (radius .4; 0 % of them "
        "above one half). At the same radius the paper's attack alone stays .020 below the worst case. "
        "The one out-distribution set is "
        "fashion_mnist: AUROC .981, FPR@95 .981. On 93.0 % of the noise images the gradient vanishes "
        "(below 1e\N{NON-BREAKING HYPHEN}6)."
    )
    assert headline(typed(full_run("acet", 0.101, 0.121))).replace(SPACE, " ") == expected
    assert "no attack was run, so nothing is known" in headline(typed(onnx_run("onnx")))
    assert "At the same radius the paper's attack alone reaches the worst case as well." in headline(
        typed(full_run("plain", 0.987, 0.99))
    )


def test_runs_stand_side_by_side(page, markdown):
    name = HOSTILE
    assert ["fashion_mnist", ".300", ".981", ".981", ".300", ".981", ".981", ".300", ".900", ".900"] in page.rows
    assert ["Test, in-distribution", ".980", MISSING, MISSING] + [".980", MISSING, MISSING] * 2 in page.rows
    assert any(f"{name} (0.57{SPACE}% error)" in row for row in page.rows)
    attacked = next(row for row in page.rows if row[0] == f"Worst-case Noise, radius{SPACE}.3")
    assert attacked == [attacked[0], ".121", ".900", ".900", ".990", ".900", ".900", "not measured"]
    assert "| fashion_mnist | .300 / .981 / .981 | .300 / .981 / .981 | .300 / .900 / .900 |" in markdown


def test_a_missing_set_stands_there_saying_why(page, markdown):
    text = "missing: not found; get it with `<tfds>`"
    shown = [row for row in page.rows if row[0] == "lsun"]
    assert shown == [["lsun", text, text, "not measured"], ["lsun", text], ["lsun", text]]
    assert r"missing: not found; get it with \`&lt;tfds>\` |" in markdown


def test_what_was_left_out_and_how_it_was_measured_is_told(page):
    text = " ".join(page.text.split())
    for expected in (
        "Adversarial noise: an ONNX file has no gradients",
        "This is a quick run on subsets",
        "mnist-acet 62.5 % (radius .3)",
        "mnist-acet 93.0 % (every entry below 1e\N{NON-BREAKING HYPHEN}6)",
        "mnist-acet on 500 images held out of the training data",
        "Guarantee of split conformal: 95 % <on average>",
        "python evaluate.py --run_dir='<i>'",
    ):
        assert expected in text


def test_tables_of_attacks_scaling_and_calibration(page):
    assert ["momentum", ".119 strongest", f"0{SPACE}%"] in [row[:3] for row in page.rows]
    assert ["logit gap", "corner", "100"] in [row[-3:] for row in page.rows]
    worst = next(row for row in page.rows if row[0] == "Worst per image")
    assert worst[1:3] == [".121 [.111, .131]", f"25.0{SPACE}%"]
    scaled = ["mnist-acet", "10,000", "3.04e15", f"100{SPACE}% of alpha up to 1e18", f"3.4{SPACE}% [2.40, 4.40]"]
    assert scaled in page.rows
    assert ["mnist-acet", "after", "1.3", ".0031", ".0119", "0.0212", "0.0091", "0.00083"] in page.rows


def test_measurements_are_listed_with_their_settings(page):
    assert ["noise", ""] in page.rows and ["worst", "epsilon 0.3, set a|b"] in page.rows


def test_the_schema_in_the_documentation_is_that_of_the_classes():
    assert schema(Results) in report.__doc__
    for name in (
        "num_skipped: whole number",
        "num_images: whole number",
        "num_adversarial: whole number or null",
        "alpha: ",
    ):
        assert name in report.__doc__


def test_calibration_on_training_images_is_admitted():
    results, _, _ = example()
    calibration = dataclasses.replace(results.runs[0].calibration, is_held_out=False)
    results.runs[0] = dataclasses.replace(results.runs[0], calibration=calibration)
    assert "mnist-acet on 500 images that it was trained on" in render("html", results, {}, {})


# -- what a page must be


def test_names_are_text(page, markdown, directory):
    assert not page.all("script") and not page.all("b") and not page.all("i")
    assert len(page.all("h1")) == 1
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert HOSTILE in page.text
    assert "<script" not in markdown and "<b>" not in markdown and "<h1" not in markdown and "<img" not in markdown
    assert r'&lt;script>alert("run")&lt;/script> a\|b \*c\* \$x\_{\$ \[d\](e)' in markdown
    for table in re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE):
        head, *rows = (line.replace(r"\|", "").count("|") for line in table.splitlines())
        assert set(rows) <= {head, 3}  # the text of a missing set stands in place of all numbers


def test_structure_of_the_page(page):
    assert page.all("html") == [{"lang": "en"}]
    assert page.all("meta")[1] == {"name": "viewport", "content": "width=device-width, initial-scale=1"}
    assert page.all("link") == [{"rel": "icon", "href": "data:,"}]
    assert len(page.all("table")) == len(page.all("caption")) > 10
    assert all(cell["scope"] in ("col", "colgroup", "row") for cell in page.all("th"))
    assert len(page.all("figure")) == len(page.all("figcaption")) == len(page.all("img"))
    targets = {link["href"] for link in page.all("a")} - {"results.json", "results.csv"}
    assert targets == {f"#{heading['id']}" for heading in page.all("h2")}


def test_every_figure_is_there_and_says_what_it_shows(page, markdown, directory):
    referenced = re.findall(r"^!\[.+\]\((.+)\)$", markdown, re.MULTILINE)
    expected = "histograms roc most_confident most_confident-2 most_confident-3 maps noise convergence reliability"
    assert referenced == [f"figures/{name}.png" for name in [*expected.split(), "risk_coverage", "training"]]
    assert sorted(referenced) == sorted(f"figures/{path.name}" for path in (directory / "figures").iterdir())
    assert len(page.all("img")) == len(referenced)
    for address, image in zip(referenced, page.all("img"), strict=True):
        header = (directory / address).read_bytes()[:24]
        assert header[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", header[16:]) == (int(image["width"]), int(image["height"]))
        assert image["width"] == "1080"  # three times the width of a phone's column
        assert image["src"].startswith("data:image/png;base64,")
        assert re.search(r"\d", image["alt"])
    assert f"Worst-case Noise, radius{SPACE}.3: mnist-acet .121" in page.all("img")[0]["alt"]


def test_figures_without_data_are_left_out(tmp_path):
    results, _, _ = example()
    results.runs[:2] = []
    report.write(results, {}, {}, tmp_path)
    assert list((tmp_path / "figures").iterdir()) == []
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.all("img") == [] and "No attack was run" in page.text and "Training" not in page.text


# -- files


def test_json_gives_back_what_was_written(directory):
    assert report.read_results(directory / "results.json") == example()[0]


def test_csv_has_a_line_per_set_and_run(directory):
    with open(directory / "results.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["run"], line["set"]) for line in lines] == (
        [(run.name, row.set) for run in example()[0].runs for row in run.rows]
    )
    line = lines[5]
    assert [line[name] for name in ("kind", "radius", "n", "mmc", "mmc_low", "success_rate")] == (
        ["worst_case_noise", "0.3", "64", "0.121", "0.111", ""]
    )
    assert [lines[2][name] for name in ("n", "mmc", "note")] == ["0", "", "not found; get it with `<tfds>`"]


def test_same_input_same_bytes_and_nothing_else_is_left(directory, tmp_path):
    given = example()
    kept = copy.deepcopy(given[0])
    report.write(*given, tmp_path)
    assert given[0] == kept
    names = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    for name in names:
        assert (tmp_path / name).read_bytes() == (directory / name).read_bytes(), name


def test_results_of_another_version_are_refused(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(to_json(example()[0]) | {"schema_version": 1}))
    with pytest.raises(ValueError, match=r"must have schema_version 2.*Received: 1. Evaluate again"):
        report.read_results(path)


def test_nan_is_refused_before_anything_is_written(tmp_path):
    results, arrays, history = example()
    results.runs[0] = dataclasses.replace(results.runs[0], seconds=float("nan"))
    with pytest.raises(ValueError, match=r"seconds must be finite: JSON has no nan"):
        report.write(results, arrays, history, tmp_path / "report")
    assert not (tmp_path / "report").exists()


# -- in a browser


@pytest.mark.parametrize("width", [1280, 390])
def test_page_in_a_browser(browser, directory, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    address = (directory / "report.html").as_uri()
    browser.get(address)
    shown = browser.execute_script("return [...document.images].map(i => i.complete && i.naturalWidth)")
    assert shown == [1080] * 11
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert address in asked
    assert {url for url in asked if not url.startswith("data:")} == {address}


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    """Directory of a report on moons with regions and interval bounds, of one run of two."""
    results, arrays, _ = example()
    bounds = [BoundAtRadius(0.001, 0.1, 0.125, 1.0), BoundAtRadius(0.3, 0.2, 0.9999, 0.25)]
    first = dataclasses.replace(results.runs[0], interval_bounds=IntervalBoundsResult(32, 0.95, bounds))
    facts = dataclasses.replace(results.data, name="moons")
    results = dataclasses.replace(results, data=facts, runs=[first, results.runs[1]])
    x, y = np.meshgrid(np.arange(600), np.arange(600))
    regions = np.stack([2 * (x > 300) + (y > 300), (x + y > 700).astype(int)])
    arrays["mnist-acet"].maps = dataclasses.replace(arrays["mnist-acet"].maps, regions=regions)
    path = tmp_path_factory.mktemp("moons")
    report.write(results, arrays, {}, path)
    return path


def test_regions_are_drawn_and_counted(moons):
    text = (moons / "report.md").read_text(encoding="utf-8")
    assert text.index("(figures/maps.png)") < text.index("(figures/regions.png)")
    assert r"Regions seen: 4 on \[0, 1\], 2 on \[-10, 10\]." in text


def test_borders_lie_where_the_number_changes():
    figure = matplotlib.figure.Figure()
    draw_borders(figure.subplots(), np.array([[0, 0, 1], [0, 0, 1], [2, 2, 2]]), 0, 3)
    (image,) = figure.axes[0].images
    np.testing.assert_array_equal(image.get_array(), [[0, 0, 1], [0, 0, 1], [1, 1, 1]])


def test_the_notebook_is_explained_for_moons_alone(moons, markdown):
    text = " ".join((moons / "report.md").read_text(encoding="utf-8").split())
    assert "The attack of the published notebook moves nothing" in text
    assert "notebook" not in markdown


def test_interval_bounds_stand_beside_attacked_confidences(moons, markdown):
    text = (moons / "report.md").read_text(encoding="utf-8").replace(SPACE, " ")
    assert "on 32 noise images after an attack, and the bound for any attack" in text
    assert "| .001 | .100 / .125 / 100 % |" in text and "| .3 | .200 / >.999 / 25.0 % |" in text
    assert "Interval bounds are loose for a network that was not trained for them" in " ".join(text.split())
    assert "the bound for any attack" not in markdown


@pytest.mark.parametrize("name", ["=HYPERLINK(A1)", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1"])
def test_no_cell_of_the_csv_is_a_formula(name):
    results = example()[0]
    row = dataclasses.replace(results.runs[0].rows[0], set=name, note=name)
    run = dataclasses.replace(results.runs[0], name=name, method=name, rows=[row])
    (line,) = csv.DictReader(io.StringIO(writing._csv(dataclasses.replace(results, runs=[run])), newline=""))
    assert {line[column] for column in ("run", "method", "set", "note")} == {"'" + re.sub(r"\s", " ", name)}
