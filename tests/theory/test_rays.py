import itertools

import keras
import numpy as np
import pytest
from helpers.piecewise_networks import CLOSE, NETWORKS, make
from keras import layers

from keras_acet import theory
from keras_acet.report.figures.rays import confidence_along_rays
from keras_acet.report.figures.style import drawing
from keras_acet.report.formatting import percent
from keras_acet.theory import paths, pieces


def dense_network(weights):
    """A Keras network of dense layers with ReLU between them, from pairs of kernel and bias."""
    network = keras.Sequential([keras.Input((len(weights[0][0]),))])
    for index, (kernel, bias) in enumerate(weights, start=1):
        network.add(layers.Dense(len(bias), "relu" if index < len(weights) else None))
        network.layers[-1].set_weights([np.asarray(kernel), np.asarray(bias)])
    return network


def scan(pattern, num_points):
    """Places on (0, inf) where a pattern changes: a scan, then bisection between neighbours that differ."""
    u = np.linspace(0, 1, num_points + 1)[:-1] + 0.5 / num_points  # alpha = u / (1 - u)
    patterns = pattern(u / (1 - u))
    low, high = u[:-1], u[1:]
    differ = (patterns[1:] != patterns[:-1]).any(axis=1)
    low, high, at_low, at_high = low[differ], high[differ], patterns[:-1][differ], patterns[1:][differ]
    for _ in range(40):  # to 1e-12 / num_points, in u
        middle = (low + high) / 2
        at_middle = pattern(middle / (1 - middle))
        halves = ((low, middle, at_low, at_middle), (middle, high, at_middle, at_high))
        keep = [(a != b).any(axis=1) for _, _, a, b in halves]
        parts = [[x[kept] for x in half] for half, kept in zip(halves, keep, strict=True)]
        low, high, at_low, at_high = (np.concatenate(x) for x in zip(*parts, strict=True))
    return np.sort(low / (1 - low))


def assert_same_breaks(found, pattern, num_points=2000):
    """All breaks of a scan are found, and at everything found the pattern changes."""
    scanned = scan(pattern, num_points)
    gaps = np.abs(scanned[:, None] - found).min(axis=1, initial=np.inf)
    assert (gaps <= 1e-9 * (1 + scanned)).all()
    before, after = pattern(found * (1 - 1e-9)), pattern(found * (1 + 1e-9))
    assert (before != after).any(axis=1).all()
    # Nothing happens between two breaks, nor after the last.
    edges = np.concatenate([[0], found, [10 * found.max(initial=1)]])
    for share in (0.01, 0.5, 0.99):
        middles = pattern((1 - share) * edges[:-1] + share * edges[1:])
        starts = pattern(edges[:-1] + 1e-3 * np.diff(edges))
        assert (middles == starts)[np.diff(edges) > 1e-9 * edges[1:]].all()


def random_dense(rng):
    widths = [int(rng.integers(1, 7)), *rng.integers(2, 16, size=rng.integers(1, 4)), int(rng.integers(2, 5))]
    return [
        (rng.normal(0, np.sqrt(2 / m), size=(m, n)).astype("f4"), rng.normal(size=n).astype("f4"))
        for m, n in itertools.pairwise(widths)
    ]


def test_nothing_is_missed_on_a_hundred_random_networks():
    rng = np.random.default_rng(0)
    num_breaks = 0
    for _ in range(100):
        weights = [(kernel.astype(float), bias.astype(float)) for kernel, bias in random_dense(rng)]
        x = rng.normal(size=len(weights[0][0]))

        def run(alpha, weights=weights, x=x):
            values, signs = alpha[:, None] * x, []
            for kernel, bias in weights[:-1]:
                values = values @ kernel + bias
                signs.append(values > 0)
                values = np.maximum(values, 0)
            return values @ weights[-1][0] + weights[-1][1], np.concatenate(signs, axis=1)

        found = theory.ray(dense_network(weights), x)
        assert_same_breaks(found.breakpoints, lambda alpha, run=run: run(alpha)[1])
        alpha = np.concatenate([rng.uniform(0, 5, size=200), 10.0 ** rng.uniform(0, 6, size=50)])
        logits = run(alpha)[0]
        np.testing.assert_allclose(found.logits(alpha) / (1 + alpha[:, None]), logits / (1 + alpha[:, None]), **CLOSE)
        num_breaks += len(found.breakpoints)
    assert num_breaks > 700


@pytest.mark.parametrize("name", NETWORKS)
def test_rays_through_each_kind_of_layer(name):
    network, double = make(NETWORKS[name])
    walked = theory.PiecewiseAffine(network)
    rng = np.random.default_rng(3)
    x, direction = rng.normal(size=(2, *walked.input_shape))
    place = (-1, *[1] * x.ndim)

    def points(alpha):
        return x + np.reshape(alpha, place) * direction

    start = 20.0 if name in ("lenet", "resnet20") else 0.0  # those two have thousands of breaks before
    found = theory.ray(walked, x, direction, start=start)

    def pattern(beyond):
        return theory.activation_pattern(walked, points(start + beyond))

    assert_same_breaks(found.breakpoints - start, pattern, 400)
    alpha = start + np.concatenate([rng.uniform(0, 5, size=500), 10.0 ** rng.uniform(0, 6, size=100)])
    scale = 1 + alpha[:, None]
    np.testing.assert_allclose(found.logits(alpha) / scale, double(points(alpha)) / scale, **CLOSE)
    # The last region is that of a point beyond the last break point; its slopes are V direction.
    slopes, _ = theory.affine_map(walked, points(2 * found.alpha[-1] + 1)[0])
    np.testing.assert_allclose(found.slope, slopes @ direction.ravel(), **CLOSE)
    assert found.limit_class == found.slope.argmax() and found.limit_confidence == 1.0
    if name != "linear":
        assert len(found.breakpoints) > 5


def test_a_ray_by_hand():
    # f(x) = (relu(x - 1) + relu(x - 1) - relu(x - 4), relu(2 - x)): breaks at 1 (two units at once), 2 and 4.
    network = dense_network(
        [
            ([[1, 1, 1, -1, 0]], [-1, -1, -4, 2, 0]),  # the last unit is 0 all along
            ([[1, 0], [1, 0], [-1, 0], [0, 1], [5, 5]], [0, 0]),
        ]
    )
    found = theory.ray(network, [1.0])
    assert found.start == 0 and found.breakpoints.tolist() == [1, 2, 4]
    assert found.corners.tolist() == [[0, 2], [0, 1], [2, 0], [6, 0]]
    assert found.slope.tolist() == [1, 0] and found.limit_class == 0 and found.limit_confidence == 1
    assert found.logits([0.5, 1.5, 2, 3, 4, 104]).tolist() == [[0, 1.5], [1, 0.5], [2, 0], [4, 0], [6, 0], [106, 0]]
    np.testing.assert_allclose(found.confidence([0.0, 4.0]), 1 / (1 + np.exp([-2, -6])))
    # Starting at a break, between two, and beyond the last one.
    assert theory.ray(network, [1.0], start=1).breakpoints.tolist() == [2, 4]
    assert theory.ray(network, [1.0], start=3).breakpoints.tolist() == [4]
    assert theory.ray(network, [1.0], start=9).breakpoints.tolist() == []
    # Along another line: 3 - alpha/2 meets 2 at 2 and 1 at 4; then the second logit rises for good.
    found = theory.ray(network, [3.0], [-0.5])
    assert found.breakpoints.tolist() == [2, 4] and found.slope.tolist() == [0, 0.5] and found.limit_class == 1
    # A ray that stands still.
    found = theory.ray(network, [0.0])
    assert found.breakpoints.tolist() == [] and found.slope.tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"`alpha` must be at least 3.0, the start of the ray. Received: 2.0"):
        theory.ray(network, [1.0], start=3).logits([4.0, 2.0])


def test_the_envelope_of_a_maximum_by_hand():
    # max(0, x - 1, 3 x - 5, 2 x - 10): 0 to 1, x - 1 to 2, then 3 x - 5. Where others meet, at 5/3 or 5, nothing bends.
    inputs = keras.Input((1,))
    x = layers.Reshape((4, 1))(layers.Dense(4)(inputs))
    network = keras.Model(inputs, layers.Dense(2)(layers.GlobalMaxPooling1D()(x)))
    network.set_weights([np.array([[0, 1, 3, 2]]), np.array([0, -1, -5, -10]), np.array([[1, 0]]), np.zeros(2)])
    found = theory.ray(network, [1.0])
    np.testing.assert_allclose(found.breakpoints, [1, 2])
    assert found.slope.tolist() == [3, 0]
    # Two that meet at one place with the one they overtake: max(0, x - 1, 2 x - 2) bends once.
    network.set_weights([np.array([[0, 1, 2, 0]]), np.array([0, -1, -2, -9]), np.array([[1, 0]]), np.zeros(2)])
    assert theory.ray(network, [1.0]).breakpoints.tolist() == [1]


def test_candidates_that_are_equal_up_to_rounding_do_not_bend():
    # Two sums of the same products in another order differ by rounding; their maximum is one straight line.
    rng = np.random.default_rng(0)
    inputs = keras.Input((3,))
    sums = [layers.Dense(1, use_bias=False) for _ in range(4)]
    x, *parts = (layer(inputs) for layer in sums)
    x = layers.Reshape((2, 1))(layers.Concatenate()([x, layers.Add()(parts)]))
    network = keras.Model(inputs, layers.Dense(2)(layers.GlobalMaxPooling1D()(x)))
    a, b, c = rng.normal(size=3)
    for layer, kernel in zip(sums, ([a, b, c], [0, 0, c], [0, b, 0], [a, 0, 0]), strict=True):
        layer.set_weights([np.reshape(kernel, (3, 1))])
    found = theory.rays(network, *rng.normal(size=(2, 200, 3)))
    assert [len(ray.breakpoints) for ray in found] == [0] * 200


@pytest.mark.parametrize(
    ("kernel", "bias", "limit"),
    [
        ([[1, 1, 0]], [0, 0, 5], 1 / 2),  # two equal rows of V, equal offsets: one in two
        ([[1, 1, 0]], [np.log(3), 0, 5], 3 / 4),  # the offsets decide among those two
        ([[0, 0, 0]], [0, 0, 0], 1 / 3),
        ([[2, 1, 0]], [0, 50, 0], 1),
    ],
)
def test_the_limit_where_rows_tie(kernel, bias, limit):
    found = theory.ray(dense_network([(kernel, bias)]), [1.0])
    assert found.limit_confidence == pytest.approx(limit, abs=1e-7)  # log 3 is rounded to float32
    assert found.confidence([1e6])[0] == pytest.approx(limit, abs=1e-7)
    assert found.limit_class == 0


@pytest.mark.parametrize("max_elements", [200, 2000])
def test_rays_that_are_cut_are_the_same(max_elements, monkeypatch):
    network, _ = make(NETWORKS["pools"])
    x = np.random.default_rng(5).normal(size=(70, 7, 7, 2))
    whole = theory.rays(network, x)
    alpha = theory.smallest_alpha(network, x, level=0.9)
    assert np.isfinite(alpha).sum() > 10
    monkeypatch.setattr(pieces, "_MAX_ELEMENTS", max_elements)
    shares = []
    for ray, other in zip(whole, theory.rays(network, x, progress=shares.append), strict=True):
        np.testing.assert_allclose(ray.alpha, other.alpha, **CLOSE)
        np.testing.assert_allclose(ray.corners, other.corners, **CLOSE)
        np.testing.assert_allclose(ray.slope, other.slope, **CLOSE)
    assert shares == [64 / 70, 1.0]
    shares.clear()
    np.testing.assert_allclose(theory.smallest_alpha(network, x, level=0.9, progress=shares.append), alpha, **CLOSE)
    assert shares == sorted(shares) and shares[-1] == 1.0


@pytest.mark.parametrize("name", ["dense", "pools", "normalized", "lenet"])
@pytest.mark.parametrize("level", [0.3, 0.6, 0.999])
def test_smallest_alpha_is_where_the_confidence_gets_there_first(name, level, monkeypatch):
    network, double = make(NETWORKS[name])
    walked = theory.PiecewiseAffine(network)
    x = np.random.default_rng(7).uniform(size=(8, *walked.input_shape))
    found = theory.smallest_alpha(walked, x, level=level, start=0.25)

    def confidence(i, alpha):
        logits = double(np.reshape(alpha, (-1, *[1] * (x.ndim - 1))) * x[i])
        return 1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)

    for i in range(len(x)):
        assert theory.ray(walked, x[i], start=0.25).smallest_alpha(level) == pytest.approx(found[i], rel=1e-12)
        before = np.linspace(0.25, min(found[i], 100), 500)[:-1]
        assert (confidence(i, before) < level).all() or found[i] == 0.25
        if np.isfinite(found[i]):
            np.testing.assert_array_less(level - 1e-10, confidence(i, [found[i]]))
    # Without an upper bound to start from all pieces are gone through, to infinity.
    monkeypatch.setattr(paths, "_some_alpha", lambda network, x, level, start: np.full(len(x), np.inf))
    np.testing.assert_allclose(theory.smallest_alpha(walked, x, level=level, start=0.25), found, rtol=1e-12)


def test_a_peak_within_a_piece_is_not_missed():
    # Logits 0, 5 - 10 a and 10 a - 15: class 0 peaks at a = 1. p_0 >= .98 where 1/.98 - 1 >= e^-5 (1/s + s) with
    # s = e^(10 (a - 1)), from s = (c - sqrt(c^2 - 4)) / 2 on, c = e^5 / 49. The third class gets there later.
    network = dense_network([([[0, -10, 10]], [0, 5, -15])])
    c = np.exp(5) / 49
    expected = 1 + np.log((c - np.sqrt(c**2 - 4)) / 2) / 10
    assert 0.85 < expected < 1
    start = np.log(40) / 10  # where class 1 is not that sure any more
    assert theory.ray(network, [1.0], start=start).smallest_alpha(0.98) == pytest.approx(expected, rel=1e-12)
    # Its peak is 1 / (1 + 2 e^-5) = .98670; at .987 it is the third class, from 10 a - 15 = log(.987 / .013) or so.
    late = theory.ray(network, [1.0], start=start).smallest_alpha(0.987)
    assert late == pytest.approx(1.5 + np.log(0.987 / 0.013) / 10, abs=1e-4)
    # The search for an upper bound steps over that peak, as the scan of `evaluation.alpha_scaling` may.
    found = theory.smallest_alpha(network, [[1.0], [2.0]], level=0.98, start=start)
    np.testing.assert_allclose(found, [expected, expected / 2], rtol=1e-12)


def test_peaks_next_to_the_level_are_not_missed():
    # Next to 1,000 float32 rounds logits to multiples of 6e-5. Class 0 peaks where 10 e^(5 - 10 a) = 9 e^(9 a - 14);
    # a unit that changes at 1.3 parts the peak from where the third class gets there.
    network = dense_network([([[1, 1]], [0, -1.3]), ([[0, -10, 9], [0, 0, 0]], [1000, 1005, 986])])
    a = 1 + np.log(10 / 9) / 19
    others = np.exp(5 - 10 * a), np.exp(9 * a - 14)
    level = 1 / (1 + sum(others)) - 1e-9
    x = np.linspace(1, 2, 21)
    found = theory.smallest_alpha(network, x[:, None], level=level, start=0.4)
    # Left of the peak by d, p_0 is p_0^2 (100 e^(5 - 10 a) + 81 e^(9 a - 14)) d^2 / 2 lower.
    expected = a - np.sqrt(2e-9 / (100 * others[0] + 81 * others[1])) / level
    np.testing.assert_allclose(found * x, expected, rtol=1e-8)


@pytest.mark.parametrize("steepness", [1, 8, 64])
def test_a_narrow_peak_far_out_is_not_missed(steepness):
    # relu(1 - s |a - c|) lifts the first logit to log 9 + gap within 1 / s of c; the other way leads there at 141,096.
    # Units dead wherever one looks from afar: a walk in float32 steps over it, as here c has no digits left there.
    c, gap = float(np.float32(31234.567)), 0.3
    hidden = ([[1, -1, 1]], [-c, c, 0]), ([[-steepness, 0], [-steepness, 0], [0, 1]], [1, 0])
    network = dense_network([*hidden, ([[np.log(9) + gap, 0], [2e-5, 0]], [-2e-5 * c, 0])])
    found = theory.smallest_alpha(network, [[1.0]], level=0.9)
    assert c - 1 / steepness < found[0] < c
    assert theory.ray(network, [1.0]).smallest_alpha(0.9) == pytest.approx(found[0], rel=1e-12)


def test_smallest_alpha_far_out():
    # Logits 1e-15 a and 0: .999 at a = log(999) 1e15. And 0, 0: never.
    network = dense_network([([[1e-15, 0]], [0, 0])])
    found = theory.smallest_alpha(network, [[1.0], [1e-3], [0.0]])
    slope = float(np.float32(1e-15))
    np.testing.assert_allclose(found, [np.log(999) / slope, np.log(999) / slope * 1e3, np.inf], rtol=1e-12)


def test_bad_arguments():
    network = dense_network([([[1, 2]], [0, 0])])
    with pytest.raises(ValueError, match=r"`start` must be a finite number of at least 0. Received: start=-1"):
        theory.ray(network, [1.0], start=-1)
    with pytest.raises(ValueError, match=r"`level` must be in \(0, 1\). Received: level=99.9. For 99.9 % use 0.999"):
        theory.smallest_alpha(network, [[1.0]], level=99.9)
    with pytest.raises(ValueError, match=r"`level` must be in \(0, 1\)"):
        theory.ray(network, [1.0]).smallest_alpha(1)
    with pytest.raises(ValueError, match="one direction for each input. Received: 1 for 2 inputs"):
        theory.rays(network, [[1.0], [2.0]], [[1.0]])
    with pytest.raises(ValueError, match=r"must have the shape \(1,\)"):
        theory.rays(network, [[1.0, 2.0]])


def test_confidence_growth_of_random_directions():
    network, _ = make(NETWORKS["dense"])
    growth = theory.confidence_growth(network, num_directions=50, level=0.9, seed=1)
    assert growth.level == 0.9 and len(growth.rays) == 50
    for ray, alpha in zip(growth.rays, growth.alpha, strict=True):
        # The directions have length sqrt(6 / 3): alpha is at least what the largest slope and logit allow.
        assert ray.start == 1 and ray.smallest_alpha(0.9) == alpha
    # No two rows are equal where a ReLU is active: Theorem 3.1. Else the logits are constant.
    tied = np.array([not ray.slope.any() for ray in growth.rays])
    np.testing.assert_array_equal(growth.limit_confidence == 1, ~tied)
    assert growth.share_sure == np.mean(~tied) > 0.5
    again = theory.confidence_growth(network, num_directions=50, level=0.9, seed=1)
    np.testing.assert_array_equal(growth.alpha, again.alpha)
    assert (theory.confidence_growth(network, num_directions=50, seed=2).alpha != growth.alpha).any()
    # All directions have the same length: of the linear network x -> (|x| x_1 / |x|, 0), slopes are at most that.
    linear = dense_network([([[1, 0]] + [[0, 0]] * 11, [0, 0])])
    slopes = np.array([ray.slope[0] for ray in theory.confidence_growth(linear, num_directions=400, seed=0).rays])
    # |x|^2 = 12 / 3; the mean square of a coordinate is 1/3, with a standard error of about sqrt(2) / 3 / sqrt(400).
    assert np.abs(slopes).max() <= 2 and np.mean(slopes**2) == pytest.approx(1 / 3, abs=0.1)
    with pytest.raises(ValueError, match="`num_directions` must be at least 1. Received: 0"):
        theory.confidence_growth(network, num_directions=0)
    with pytest.raises(TypeError, match="`num_directions` must hold integers. Received: 10.0"):
        theory.confidence_growth(network, num_directions=10.0)
    with pytest.raises(ValueError, match="`level` must be in"):
        theory.confidence_growth(network, level=99.9)


def test_the_figure_of_rays():
    network, _ = make(NETWORKS["dense"])
    grown = {name: theory.confidence_growth(network, num_directions=8, seed=i) for i, name in enumerate("abc")}
    with drawing():
        figure = confidence_along_rays(grown)
    assert figure.png.startswith(b"\x89PNG") and figure.name == "rays"
    for name, growth in grown.items():
        assert f"{name}: tends to 1 on {percent(growth.share_sure)} of 8 rays" in figure.alt


@pytest.mark.parametrize("num_classes", [2, 3, 10, 49, 100])
def test_the_level_of_a_uniform_guess_is_reached_at_once(num_classes):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(num_classes, kernel_initializer="zeros")])
    assert theory.smallest_alpha(network, np.ones((1, 2)), level=1 / num_classes).tolist() == [1.0]
    assert theory.ray(network, np.ones(2)).smallest_alpha(1 / num_classes) == theory.ray(network, np.ones(2)).start


def test_ties_are_told_even_where_the_limit_rounds_to_one():
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2)])
    network.set_weights([np.ones((1, 2)), np.array([50.0, 0.0])])
    growth = theory.confidence_growth(network, np.ones((1, 1)))
    assert growth.share_sure == 0.0 and growth.rays[0].is_tied and "where rows of V tie" in str(growth)


def test_places_along_a_ray():
    found = theory.ray(dense_network([([[2, 0]], [0, 1])]), [1.0])
    assert found.logits(3.0).tolist() == [6, 1]
    assert found.logits([[1, 2], [3, 4]]).tolist() == [[[2, 1], [4, 1]], [[6, 1], [8, 1]]]
    assert found.confidence(0.5) == 0.5
    assert found.confidence([]).shape == (0,)
    for bad in (np.inf, np.nan):
        with pytest.raises(ValueError, match=r"`alpha` must be finite.*Received: (inf|nan).*limit_confidence"):
            found.confidence([1.0, bad])
    with pytest.raises(ValueError, match="`alpha` must be at least 0.0, the start of the ray. Received: -1"):
        found.logits([1.0, -1.0])


def test_inputs_that_are_not_finite():
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2)])
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="The inputs must be finite"):
            theory.smallest_alpha(network, [[bad]])
