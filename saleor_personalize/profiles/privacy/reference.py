"""The page docs/reference/data.md, from `FIELDS` and the kinds of `profiles.retention`."""

from __future__ import annotations

from datetime import timedelta

from saleor_personalize.conf import Defaults
from saleor_personalize.profiles.privacy.fields import FIELDS, Erased, Handling
from saleor_personalize.profiles.retention import KINDS, Kind

_HEAD = """\
# What is stored, and how long

Written by `saleor-personalize export --fields`; a test compares it with the tables. How to answer people who ask: [privacy](../howto/privacy.md).

## How long

A purge ends every night what is past its time, in small steps. The page "Data" in the Dashboard shows what is there; `saleor-personalize
doctor` says when the purge does not run. Change a time in [settings](settings.md), such as `RETENTION = {"checkouts": timedelta(days=90)}`.

| kind | table | kept by default | setting |
|---|---|---|---|
"""
_BODY = """
`uninstalled` in `RETENTION` (30 days) is how long everything of a shop that deleted the app is kept; then all of it goes.

## Every column

*Personal* columns are about a shopper. *Exported as* is the section and key in the export of a person. When a person is *erased*, a value is
`deleted` with its row, `emptied` (the row stays without it), `searched` (rows that speak of the person are deleted within the
hour), or `kept`: it tells of nobody by itself. *Kept* names a kind from above, `shop` (as long as the shop) or `person` (as long as the
person is known).
"""


def reference() -> str:
    """Return the page as Markdown."""
    lines = [_HEAD.rstrip("\n")]
    lines += [_line(kind) for kind in KINDS]
    lines.append(_BODY.rstrip("\n"))
    for model, handlings in FIELDS.items():
        lines += ["", f"### {model.__name__}", ""]
        personal = {name: each for name, each in handlings.items() if each.is_personal}
        if not personal:
            lines.append(f"Nothing personal: {', '.join(f'`{name}`' for name in handlings)}.")
            continue
        lines += ["| column | exported as | erased | kept |", "|---|---|---|---|"]
        lines += [_row(name, each) for name, each in handlings.items()]
    return "\n".join(lines) + "\n"


def _line(kind: Kind) -> str:
    setting = f"`RETENTION[{kind.key!r}]`" if kind.setting == "RETENTION" else f"`{kind.setting}`"
    return (
        f"| `{kind.key}` | {kind.model.__name__} | {_kept(kind)} | "
        f"{setting if kind.setting else '-'} |"
    )


def _kept(kind: Kind) -> str:
    defaults = Defaults()
    if not kind.setting:
        return "as long as the shop" if kind.key == "erasures" else "until the person is erased"
    kept: timedelta | None = (
        defaults.RETENTION.get(kind.key)
        if kind.setting == "RETENTION"
        else getattr(defaults, kind.setting)
    )
    return "for ever" if kept is None else f"{kept.days} days"


def _row(name: str, handling: Handling) -> str:
    exported = f"`{handling.exported_as}`" if handling.exported_as else "-"
    erased = "kept" if handling.erased == Erased.KEPT else f"`{handling.erased}`"
    return f"| `{name}` | {exported} | {erased} | `{handling.kept}` |"
