"""The plain text of a mail whose template has no body.txt, made from its HTML."""

from __future__ import annotations

import re

from saleor_personalize.messaging.html_reader import HtmlReader

#: What nobody reads.
_SKIPPED = {"head", "script", "style", "title", "template"}
_VOID = {
    "area",
    "base",
    "br",
    "col",
    "embed",
    "hr",
    "img",
    "input",
    "link",
    "meta",
    "source",
    "wbr",
}
#: These begin a line of their own; those of `_PARAGRAPHS` have an empty line before them.
_LINES = {
    "div",
    "tr",
    "li",
    "dt",
    "dd",
    "table",
    "section",
    "header",
    "footer",
    "article",
    "center",
}
_PARAGRAPHS = {"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "blockquote", "pre"}
_HIDDEN = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|mso-hide\s*:\s*all", re.IGNORECASE
)
_LINK = re.compile(r"https?://", re.IGNORECASE)


class _Reader(HtmlReader):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        #: Elements that are open: name, whether it hides what is in it, where its link leads.
        self._open: list[tuple[str, bool, str, int]] = []

    @property
    def _is_hidden(self) -> bool:
        return any(hides for _name, hides, _url, _at in self._open)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        hides = (
            tag in _SKIPPED
            or "hidden" in given
            or _HIDDEN.search(given.get("style", "")) is not None
        )
        if not hides and not self._is_hidden:
            self._begin(tag, given)
        if tag not in _VOID:
            url = given.get("href", "") if tag == "a" else ""
            self._open.append((tag, hides, url, len(self.parts)))

    def _begin(self, tag: str, given: dict[str, str]) -> None:
        if tag == "br":
            self.parts.append("\n")
        elif tag == "hr":
            self.parts.append("\n\n--\n")
        elif tag == "img" and given.get("alt", "").strip():
            self.parts.append(f" {given['alt'].strip()} ")
        elif tag == "li":
            self.parts.append("\n- ")
        elif tag in {"td", "th"}:
            self.parts.append(" ")
        elif tag in _PARAGRAPHS:
            self.parts.append("\n\n")
        elif tag in _LINES:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        places = [place for place, (name, *_rest) in enumerate(self._open) if name == tag]
        if not places:
            return
        # What was not closed inside ends with it.
        *_others, url, begin = self._open[places[-1]]
        was_hidden = self._is_hidden
        del self._open[places[-1] :]
        if was_hidden:
            return
        if tag == "a" and _LINK.match(url):
            words = " ".join("".join(self.parts[begin:]).split())
            if url not in words:
                self.parts.append(f": {url} " if words else f"{url} ")
        elif tag in _PARAGRAPHS:
            self.parts.append("\n\n")
        elif tag in _LINES:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._is_hidden:
            # A line of the source is no line of the text.
            self.parts.append(re.sub(r"[ \t\r\n\f]+", " ", data))


def from_html(html: str) -> str:
    """Return what a mail says, its links written out, without what is hidden or only decoration."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    lines = "".join(reader.parts).split("\n")
    text = "\n".join(re.sub(r" {2,}", " ", line).strip() for line in lines)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
