"""What was shown to somebody and not clicked: it gives way to something else (B35)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from saleor_personalize.models import Exposure, Profile

_RECORD = f"""
INSERT INTO {Exposure._meta.db_table} AS stored
    (installation_id, profile_id, product_saleor_id, shown_count, last_shown_at, clicked_at)
SELECT %s, %s, product, shown, at, clicked
FROM json_to_recordset(%s::json) AS told(product text, shown int, at timestamptz, clicked timestamptz)
ON CONFLICT (installation_id, profile_id, product_saleor_id) DO UPDATE SET
    shown_count = CASE
        WHEN EXCLUDED.clicked_at IS NOT NULL THEN EXCLUDED.shown_count
        -- Told late: it was shown before the click that is known.
        WHEN EXCLUDED.last_shown_at <= stored.clicked_at THEN stored.shown_count
        ELSE EXCLUDED.shown_count + stored.shown_count
    END,
    last_shown_at = GREATEST(stored.last_shown_at, EXCLUDED.last_shown_at),
    clicked_at = GREATEST(EXCLUDED.clicked_at, stored.clicked_at)
"""  # noqa: S608 (the name of the table is ours)


@dataclass(frozen=True, slots=True)
class Seen:
    """A recommendation that was shown, or clicked."""

    product_id: str
    at: datetime
    is_clicked: bool


def record(*, profile: Profile, seen: Iterable[Seen]) -> None:
    """Count what was shown; a click starts the count anew."""
    rows: dict[str, dict[str, object]] = {}
    for each in sorted(seen, key=lambda each: each.at):
        row = rows.setdefault(
            each.product_id, {"product": each.product_id, "shown": 0, "clicked": None}
        )
        row["at"] = each.at.isoformat()
        if each.is_clicked:
            row |= {"shown": 0, "clicked": each.at.isoformat()}
        else:
            row["shown"] = int(str(row["shown"])) + 1
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(
                _RECORD,
                [
                    profile.installation_id,
                    profile.pk,
                    json.dumps([rows[product] for product in sorted(rows)]),
                ],
            )
