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
    for verb in VERBS.values():
        assert verb.summary in shown and verb.example.replace("\n", "\n" + " " * 15) in shown
    assert call("--version") == 0
    assert capsys.readouterr().out == f"jaxreason {jaxreason.__version__}\n"
    assert call() == 2


def test_a_flag_is_shown_with_its_default(capsys):
    assert call("status", "--help") == 0
    assert "told. Default: 50." in " ".join(capsys.readouterr().out.split())


def test_help_of_a_section_lists_its_fields_with_type_range_default_and_meaning(capsys):
    assert call("help", "serve.sampler") == 0
    shown = capsys.readouterr().out
    assert (
        "serve.sampler.slots\n  int, at least 1, default 8. The number of sequences that are decoded at the same time."
        in shown
    )
    assert "serve.port" not in shown
    assert call("help", "sft") == 0
    shown = capsys.readouterr().out
    assert VERBS["sft"].example in shown and "sft.optimizer.learning_rate\n" in shown


def test_help_of_a_field_that_is_not_there_names_the_nearest(capsys):
    assert "serve.prt: no such field; did you mean 'port'?" in refused(capsys, "help", "serve.prt")


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
