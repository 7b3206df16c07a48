"""One content, in whatever form its reader can take."""

from nnunet_lib.course.output import emit

BUNDLE = {"text/plain": "in words", "text/html": "<b>in colour</b>"}


def test_a_notebook_gets_every_form(shown, capsys):
    emit(BUNDLE, {"alt": "words"})
    assert shown == [(BUNDLE, {"alt": "words"})]
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_the_words(capsys):
    emit(BUNDLE)
    assert capsys.readouterr().out == "in words\n"
