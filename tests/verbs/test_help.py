"""Help follows from the verbs and their flags, and every flag has a verb."""

import pytest
from program import call, refused

import jaxreason
from jaxreason.verbs.catalogue import VERBS
from jaxreason.verbs.flags import FLAGS, flags_of


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_has_its_flags_its_sections_and_an_example_and_no_others(verb, capsys):
    for words in ([verb, "--help"], ["help", verb], [verb, "-h"]):
        assert call(*words) == 0
        shown = capsys.readouterr().out
        assert VERBS[verb].example in shown and f"jaxreason {verb}" in shown
        assert all(section in shown for section in VERBS[verb].sections)
        for flag in FLAGS:
            assert (f"  --{flag.name} " in shown) == (verb in flag.verbs)


def test_the_list_of_verbs_has_all_and_the_version_is_the_packages(capsys):
    assert call("--help") == 0
    shown = capsys.readouterr().out
    assert all(verb.example in shown and verb.summary in shown for verb in VERBS.values())
    assert call("--version") == 0
    assert capsys.readouterr().out == f"jaxreason {jaxreason.__version__}\n"
    assert call() == 2


def test_every_flag_belongs_to_verbs_that_exist():
    assert {verb for flag in FLAGS for verb in flag.verbs} <= set(VERBS)
    assert all(flags_of(verb) for verb in VERBS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sft", "--config", "study_tiny", "--slice", "h100"), "--slice is for `jaxreason plan`"),
        (("sft", "configs/study_tiny.py"), "--config is needed by `jaxreason sft`"),
        (("check", "--config", "study_tiny", "runs"), "expected flags alone, got 'runs'"),
        (("show",), "expected one DIR, got none"),
        (("sft", "--config", "study_tiny", "--workdir"), "Missing value for flag --workdir"),
    ],
)
def test_a_word_that_a_verb_does_not_read_is_refused(words, message, capsys):
    assert message in refused(capsys, *words)
