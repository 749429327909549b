from twofold.measure.reports import html

from .pages import Page

NASTY = '<script>alert("1")</script> & \x1b[31m \u202e'


def test_everything_that_is_text_is_escaped() -> None:
    page = html.page(
        NASTY,
        [
            html.section(NASTY, html.paragraph(NASTY), html.bullets([NASTY]), html.facts({NASTY: NASTY})),
            html.table([NASTY, NASTY], [[NASTY, html.Cell(NASTY, NASTY)]], caption=NASTY),
        ],
        under=NASTY,
        lead=NASTY,
        foot=NASTY,
    )
    read = Page(page)
    read.check()
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert read.text.count('<script>alert("1")</script>') == 16


def test_attributes_cannot_be_left() -> None:
    made = html.element("p", "x", class_='"><script>', data_label="a&b")
    assert made == '<p class="&quot;&gt;&lt;script&gt;" data-label="a&amp;b">x</p>'


def test_what_is_missing_is_a_dash_and_what_is_empty_is_left_out() -> None:
    assert "–" in html.table(["a", "b"], [["x", None]])
    assert html.section("nothing", html.bullets([]), html.figure(None, "caption")) == ""
    assert html.facts({}) == html.paragraph("") == ""


def test_cells_carry_their_heading_for_narrow_screens() -> None:
    read = Page(html.table(["name", "on\ndisk"], [["x", "1 MB"]], classes=["mark"]))
    assert read.every("td") == [{"data-label": "on disk"}]
    assert read.every("th")[-1] == {"scope": "row", "class": "words"}
    assert {"class": "mark"} in read.every("tr")


def test_a_page_stands_alone() -> None:
    page = html.page("t", [])
    assert page.startswith("<!DOCTYPE html>")
    assert "http" not in page
    assert "width=device-width" in page
