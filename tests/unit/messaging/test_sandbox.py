"""B84: a template that loops, raises or is huge is a named reason, and the process lives. MJML is compiled."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saleor_personalize.exceptions import TemplateBroken, TemplateIncomplete
from saleor_personalize.messaging.rendering import Rendered, channels_of, render

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, settings: Any) -> Write:
    """`write(body="...")`: the shop's own template "ours"; other files by name."""
    folder = tmp_path / "saleor_personalize" / "messages" / "ours"
    folder.mkdir(parents=True)
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [str(tmp_path)]}]

    def put(body: str = "Hello", **files: str | bytes) -> None:
        for name, text in {"subject_txt": "A", "body_txt": "B", "body_html": body, **files}.items():
            path = folder / name.replace("_", ".")
            path.write_bytes(text if isinstance(text, bytes) else text.encode())

    return put


def ours(**context: Any) -> Rendered:
    return render(template="ours", context=context, language_code="EN")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            "{% for a in x %}{% for b in x %}{% for c in x %}.{% endfor %}{% endfor %}{% endfor %}",
            "it loops too often",
        ),
        (
            '{% for a in "'
            + "x" * 50
            + '"|make_list %}{% for b in x %}{% for c in x %}{% if a == b %}{% endif %}'
            "{% endfor %}{% endfor %}{% endfor %}",
            "it loops too often",
        ),
        ('{% include "saleor_personalize/messages/ours/body.html" %}', "RecursionError"),
        ('{{ "a"|ljust:"999999999" }}', "padded"),
        ('{{ "a"|center:"999999999" }}', "padded"),
        ('{{ "a"|rjust:"999999999" }}', "padded"),
        ('{{ 1|stringformat:"0999999999d" }}', "padded"),
        ('{{ 1.5|floatformat:"30000000" }}', "padded"),
        ('{{ 1.5|floatformat:"-30_000_000gu" }}', "padded"),
        ("{{ 1.5|floatformat:30000000 }}", "padded"),
        (
            '{% with a="xxxxxxxxxxxxxxxx" %}'
            + "{% with a=a|add:a %}" * 40
            + "{{ a }}"
            + "{% endwith %}" * 41,
            "puts together",
        ),
        ("{% widthratio x y 0 %}{{ 1|date:d }}{% cycle %}", "TemplateSyntaxError"),
        ("{% lorem 99999999 p %}", "'lorem' is not for messages"),
        ("{% debug %}", "'debug' is not for messages"),
        ("{% load static %}", "'static' is not a registered tag library"),
        ("{% for a in %}", "TemplateSyntaxError"),
        ("{% if %}" * 2_000, "TemplateSyntaxError"),
        ("{{ x.0.nothing.more }}", "'x.0.nothing.more'"),
        ('{% include "saleor_personalize/messages/none.html" %}', "TemplateDoesNotExist"),
        ("x" * 5_000_000, "the file has 5000000 bytes"),
        (b"\xff\xfe", "UnicodeDecodeError"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_b84_a_bad_template_is_a_reason_and_not_the_end(write: Write, body: str, told: str) -> None:
    write(body)
    tracemalloc.start()
    with pytest.raises(TemplateIncomplete) as error:
        ours(x=[str(number) for number in range(200)], y="2")
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert told in str(error.value)
    assert peak < 60_000_000
    # Another message is none the worse.
    write("Fine")
    assert render_again().html == "Fine"


def render_again() -> Rendered:
    from saleor_personalize.messaging import rendering

    rendering._engine.cache_clear()
    return ours()


def test_b84_the_time_of_a_template_is_limited(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    write("{% for a in x %}{{ a }}{% endfor %}")
    with pytest.raises(TemplateBroken, match="longer than 2 seconds"):
        ours(x=["a"] * 1_000)


def test_b84_what_a_fault_says_stays_out_of_the_reason(write: Write) -> None:
    class Rude(str):
        def __str__(self) -> str:
            raise ValueError("alice@example.com")

    write("{{ name }}")
    with pytest.raises(TemplateBroken) as error:
        ours(name=Rude("x"))
    assert "ValueError" in str(error.value)
    assert "alice" not in str(error.value)


def test_b84_a_long_cart_is_no_bad_template(write: Write) -> None:
    write("{% for a in x %}{{ a.name }} {{ a.price }} {{ a.url }}{% endfor %}")
    lines = [{"name": "Tea", "price": "3.00", "url": "https://shop.example"}] * 500
    assert ours(x=lines).html.count("Tea") == 500


# -- MJML ------------------------------------------------------------------------------------------------

MJML = """<mjml><mj-body><mj-section><mj-column>
  {% if shown %}<mj-text>Hello {{ name|default:"you" }}</mj-text>{% endif %}
  <mj-table>{% include "saleor_personalize/messages/products.html" %}</mj-table>
  <mj-button href="{{ url }}">Go</mj-button>
</mj-column></mj-section></mj-body></mjml>"""
TEA = {"name": "Tea & more", "image_url": "https://cdn.example/tea.png"}


def test_b84_mjml_is_compiled_with_variables_and_blocks_inside(
    write: Write, tmp_path: Path
) -> None:
    write(body_mjml=MJML)
    (tmp_path / "saleor_personalize/messages/ours/body.html").unlink()
    assert "email" in channels_of("ours")
    html = ours(name="Ann", shown=[TEA], url="https://shop.example/?a=1&b=2").html
    assert "Hello Ann" in html
    assert "Tea &amp; more" in html
    assert 'href="https://shop.example/?a=1&amp;b=2"' in html
    assert "@media" in html
    assert "fonts.googleapis" not in html
    with pytest.raises(TemplateIncomplete, match="'url'"):
        ours(name="Ann", shown=[TEA])


def test_b84_mjml_that_is_none_is_a_reason(write: Write, tmp_path: Path) -> None:
    write(body_mjml="<mjml><mj-body>")
    (tmp_path / "saleor_personalize/messages/ours/body.html").unlink()
    with pytest.raises(TemplateBroken, match="MJML"):
        ours()


def test_b84_html_that_somebody_wrote_goes_before_mjml(write: Write) -> None:
    write("By hand", body_mjml=MJML)
    assert ours().html == "By hand"
