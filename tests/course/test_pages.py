"""Pages of executed notebooks: what they show, what they are called, where their links lead."""

import nbformat

from nnunet_lib.course.output import WIDGET_MIME
from nnunet_lib.course.pages import export_page


def test_a_page_shows_what_stands_beside_a_widget_but_no_widgets(tmp_path):
    def display(**data):
        return nbformat.v4.new_output("display_data", {WIDGET_MIME: {"model_id": "x"}, **data})

    bar = display(**{"text/plain": "a bar"})
    viewer = display(**{"text/plain": "a scan", "text/html": "<b>a montage</b>"})
    text = nbformat.v4.new_output("stream", text="what was printed")
    cell = nbformat.v4.new_code_cell("work()", outputs=[bar, viewer, text])
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {}})
    export_page(notebook, tmp_path / "page.html", tmp_path / "lesson.ipynb")
    page = (tmp_path / "page.html").read_text()
    assert "what was printed" in page
    assert "<b>a montage</b>" in page
    assert "a bar" not in page
    assert WIDGET_MIME not in page
    kept = notebook.cells[0].outputs  # the executed copy keeps all
    assert [WIDGET_MIME in output.get("data", {}) for output in kept] == [True, True, False]


def test_a_page_has_its_lesson_s_title_and_links_that_lead_somewhere_from_where_it_lies(tmp_path):
    notebooks, page = tmp_path / "notebooks", tmp_path / "build/course/01_data.html"
    page.parent.mkdir(parents=True)
    text = (
        "# 01 Data\n\n[next](02_more.ipynb#part) [left out](03_else.ipynb) [table](../docs/a.md) "
        "[here](#part) [site](https://example.org/x) $f(x)[0](y)$"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
    export_page(notebook, page, notebooks / "01_data.ipynb", {"01_data", "02_more"})
    html = page.read_text()
    assert "<title>01 Data</title>" in html
    for link in (
        "02_more.html#part",
        "../../notebooks/03_else.ipynb",
        "../../docs/a.md",
        "#part",
        "https://example.org/x",
    ):
        assert f'href="{link}"' in html
    assert "$f(x)[0](y)$" in html
    assert notebook.cells[0].source == text
