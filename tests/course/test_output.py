"""One content, in whatever form its reader can take."""

from nnunet_lib.course.output import emit, show_table

BUNDLE = {"text/plain": "in words", "text/html": "<b>in colour</b>"}


def test_a_notebook_gets_every_form(shown, capsys):
    emit(BUNDLE, {"alt": "words"})
    assert shown == [(BUNDLE, {"alt": "words"})]
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_the_words(capsys):
    emit(BUNDLE)
    assert capsys.readouterr().out == "in words\n"


def test_a_table_aligns_its_columns_and_rounds_its_numbers(capsys):
    show_table(("case", "Dice"), [("one", 0.12345), ("another", None)])
    assert capsys.readouterr().out.splitlines() == [
        "case     Dice",
        "-------  -----",
        "one      0.123",
        "another  –",
    ]


def test_a_table_escapes_what_would_be_markup(shown):
    show_table(("a<b",), [("<script>",)])
    ((bundle, _),) = shown
    assert "<script>" not in bundle["text/html"]
    assert "a&lt;b" in bundle["text/html"]
