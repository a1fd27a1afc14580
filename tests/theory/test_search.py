import numpy as np

from keras_acet.theory.search import first_alpha


def test_first_alpha_by_hand():
    goals = np.array([0.5, 3.0, 100.0])
    asked = []

    def reached(rows, alpha):
        asked.append((rows.tolist(), alpha.tolist()))
        return alpha >= goals[rows]

    found = first_alpha(reached, 3, [1.0, 4.0, 16.0], middle=lambda a, b: np.sqrt(a * b), num_bisections=2)
    # 1 reaches .5 at once. 3 lies in [1, 4]: 2 is too small, then sqrt(2 * 4) = 2.83 is. Nothing reaches 100.
    assert found.tolist() == [1.0, 4.0, np.inf]
    assert asked[:3] == [([0, 1, 2], [1.0] * 3), ([1, 2], [4.0] * 2), ([2], [16.0])]
    assert asked[3:] == [([1], [2.0]), ([1], [np.sqrt(8.0)])]


def test_nothing_is_halved_where_the_first_alpha_reaches():
    found = first_alpha(lambda rows, alpha: alpha >= 0, 2, [1.0, 2.0], middle=None, num_bisections=5)
    assert found.tolist() == [1.0, 1.0]
