import re

import pytest

from keras_acet.calibration import CalibrationErrors, Threshold
from keras_acet.export import metadata, model_card

HOSTILE = "<img src=x onerror=alert(1)> a|b `c` [d](http://e) *f* $g$ &lt; \nh"
ERRORS = CalibrationErrors(0.1, 0.1, 0.2, 0.3)


def about(name):
    """Metadata with the same name wherever a stranger may choose one."""
    row = metadata.ConfidenceRow(name, "ood", None, name, 2, 0.5, 0.5)
    return metadata.Metadata(
        schema_version=1,
        name=name,
        created="2026-01-01T00:00:00+00:00",
        method=name,
        data=metadata.DataInfo(name, "00", 2, [name, name], 2),
        input=metadata.Input([2, 2, 1], "float32", 0.0, 1.0, 0.001, False),
        temperature=1.0,
        threshold=metadata.Decision("95", 0.5),
        thresholds=[Threshold(name, 0.5, 2, 1.0, None, name)],
        calibration=metadata.Calibration(2, True, ERRORS, ERRORS),
        test_error=metadata.ErrorRate(0.5, 0.1, 0.9, 2),
        confidence=[row, row],
        epsilon=0.3,
        measured_with=metadata.MeasuredWith(0, 2, 0),
        flags={"dataset": name, "seed": name},
        seed=0,
        network_sha256=None,
        versions={"keras": "3", "numpy": "2"},
        notes=[name],
        variants={},
    )


def entry(name):
    return {"file": name, "runtime": name, "cases": {"noise": {"images": 2, "probabilities": 1e-7}}}


@pytest.fixture
def page():
    return model_card.render(about(HOSTILE), {"tolerance": 1e-5, "artifacts": [entry(HOSTILE)]})


def test_no_name_becomes_markup(page):
    assert set(re.findall(r"<(/?\w+)", page)) == {"code", "/code"}, "no tag but the card's own"
    escaped = r"&lt;img src=x onerror=alert(1)> a\|b \`c\` \[d\](http://e) \*f\* \$g\$ &amp;lt; h"
    assert page.count(escaped) == page.count("onerror") == 20, "all are escaped"


def test_no_name_breaks_a_table(page):
    for line in page.splitlines():
        if line.startswith("| &lt;img"):
            bars = len(re.findall(r"(?<!\\)\|", line))
            assert bars == (7 if "e-07" in line else 6)
    assert "\nh" not in page


def test_the_card_of_ordinary_names_reads_as_written():
    page = model_card.render(about("kmnist_49"), {"tolerance": 1e-5, "artifacts": [entry("model.onnx")]})
    assert page.startswith("# kmnist_49\n\nA classifier of 2 classes, trained on kmnist_49 by <code>kmnist_49</code>")
    assert "it accepts 50.0% of kmnist_49, 50.0% of kmnist_49.\n" in page
    assert "epsilon\n0.3; keras 3, numpy 2.\n" in page
    assert "<code>--dataset=kmnist_49</code> <code>--seed=kmnist_49</code>\n" in page
    assert "Classes: kmnist_49, kmnist_49." in page and "<code>--dataset=kmnist_49</code>" in page
