"""Where runs reach a score: places between evaluated steps, by hand."""

import numpy as np

from jaxreason.report.matched_math import at_place, first_place, reach

MATH = np.array([[20.0, 40.0, 30.0, 60.0]])
REST = np.array([[50.0, 48.0, 44.0, 40.0]])


def place(target, scores=MATH):
    return first_place(np.array(scores, float), np.array([target], float))


def test_a_target_between_two_steps_lies_on_the_line_between_them_the_first_time():
    assert place(30) == 0.5  # and not at the third step, where it is 30 again
    assert place(40) == 1.0
    assert place(45) == 2.5
    assert at_place(REST, place(30)) == 49.0
    assert at_place(REST, place(45)) == 42.0
    assert at_place(REST, place(60)) == 40.0


def test_the_base_itself_reaches_what_is_not_above_it_and_what_none_reaches_is_undefined():
    assert place(20) == 0.0 and place(10) == 0.0
    assert at_place(REST, place(20)) == 50.0
    assert reach(MATH) == 60.0
    assert np.isnan(place(60.1)) and np.isnan(at_place(REST, place(60.1)))


def test_equal_steps_and_a_run_of_one_step_divide_by_nothing():
    assert place(20, [[20.0, 20.0, 20.0]]) == 0.0
    assert np.isnan(place(30, [[20.0]]))
    assert at_place(np.array([[5.0]]), place(20, [[20.0]])) == 5.0


def test_every_resample_has_its_own_place():
    scores = np.array([[0.0, 10.0], [0.0, 20.0], [0.0, 1.0]])
    found = first_place(scores, np.array([5.0, 5.0, 5.0]))
    assert found[:2].tolist() == [0.5, 0.25] and np.isnan(found[2])
