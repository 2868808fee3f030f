from jaxreason.tasks.answer_lists import both_signs, is_group, sides_of, split_list, unlabel


def test_lists_split_outside_brackets_only():
    assert split_list(r"(1, 2), \frac{1}{2}") == ["(1, 2)", r"\frac{1}{2}"]
    assert split_list(r"\{1, [2, 3)\}") == ["1", "[2, 3)"]
    assert split_list(r"x \in \{1, 2\}") == ["1", "2"]
    assert split_list(r"1, 2, \text{ and } 3") == ["1", "2", "3"]
    assert split_list(r"(0, 4]") == ["(0, 4]"]
    assert split_list(r"x = \{1, 2\}") == ["1", "2"]


def test_one_sign_of_two_is_two_answers():
    assert both_signs(r"1 \pm 2") == ["1 + 2", "1 - 2"]
    assert both_signs(r"\pm 1 \mp x") == ["+ 1 - x", "- 1 + x"]
    assert both_signs("1 + 2") == ["1 + 2"]


def test_a_pair_in_brackets_is_one_answer():
    assert [is_group(text) for text in ("(1, 2)", "[1,2)", "1, 2", "(1), (2)", "(1)")] == [
        True, True, False, False, False,
    ]  # fmt: skip


def test_a_chain_of_equations_is_split_at_its_own_signs_only():
    assert sides_of("x = 2 + 3 = 5") == ["x", "2 + 3", "5"]
    assert sides_of(r"\sum_{k=1}^{3} k") == [r"\sum_{k=1}^{3} k"]
    assert sides_of(r"x \le 5, y >= 2, z != 3") == [r"x \le 5, y >= 2, z != 3"]
    assert sides_of("f(x=2)") == ["f(x=2)"]


def test_a_name_before_a_value_is_a_label():
    assert unlabel(r"f(x) = 2x") == "2x"
    assert unlabel(r"m_{\max} = 3") == "3"
    assert unlabel("2x = 3") == "2x = 3"
    assert unlabel("x = y = 3") == "x = y = 3"
