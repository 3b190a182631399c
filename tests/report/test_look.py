import re
from xml.etree import ElementTree

from matplotlib.figure import Figure

from mambaad.inspection.overlay import colour_stops
from mambaad.report.look import INK, MARK, svg_of, templates, themed_svg

ODD, SHOWN = "a\x1b\x85\u202e\u2066\ufffe<b>", r"a\x1b\x85\u202e\u2066\ufffe&lt;b&gt;"


def plot(title=""):
    figure = Figure()
    axes = figure.subplots()
    axes.plot([1, 2], color=MARK)
    axes.set_title(title)
    return figure


def test_odd_names_are_shown_in_html_and_svg():
    page = templates().from_string("<p>{{ name }}</p>{{ markup | safe }}")
    assert page.render(name=ODD, markup="<i>\n</i>") == f"<p>{SHOWN}</p><i>\n</i>"
    for svg in (svg_of(plot(ODD)), themed_svg(plot(ODD))):
        assert SHOWN in svg
        ElementTree.fromstring(svg)  # as XML it is valid


def test_plots_follow_the_page_in_light_and_dark():
    svg = themed_svg(plot("title"))
    assert INK not in svg
    assert f"var(--mark, {MARK})" in svg
    # Nothing is drawn in a colour of its own, and no ground behind it.
    colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg))
    assert colours <= {"none", "currentColor", f"var(--mark, {MARK})"}
    assert 'aria-hidden="true"' in svg


def test_an_id_is_on_a_page_once_and_references_lead_to_it():
    first, second = themed_svg(plot("one")), themed_svg(plot("two"))
    ids = [re.findall(r'\bid="([^"]*)"', svg) for svg in (first, second)]
    assert not set(ids[0]) & set(ids[1])
    for svg, own in zip((first, second), ids, strict=True):
        assert len(set(own)) == len(own)
        referred = re.findall(r'href="#([^"]*)"', svg) + re.findall(r"url\(#([^)]*)\)", svg)
        assert referred
        assert set(referred) <= set(own)


def test_the_legend_has_the_colours_of_the_heatmap():
    ramp = templates().from_string("{{ ramp }}").render()
    red, green, blue, alpha = colour_stops(9)[-1]
    assert f"rgb({red} {green} {blue} / {alpha:.2f})" in ramp
    assert ramp.count("rgb(") == 9
