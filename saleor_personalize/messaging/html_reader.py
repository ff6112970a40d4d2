"""HTML of mails, read as browsers read it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

#: https://html.spec.whatwg.org/multipage/parsing.html#comment-start-state; one that is not closed hides the rest.
_COMMENT = re.compile(r"<!--(?:>|->|.*?(?:--!?>|\Z))", re.DOTALL)


class HtmlReader(HTMLParser):
    """Passes over what is a comment to browsers, and raises nothing. A mail is fed whole."""

    def parse_comment(self, i: int, report: bool = True) -> int:
        comment = _COMMENT.match(self.rawdata, i)
        return comment.end() if comment is not None else -1

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """Such as `<![if !mso]>`."""
        return self.parse_bogus_comment(i)
