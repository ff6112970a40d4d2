"""B104: the schema is published, and what is published is what is served."""

from pathlib import Path

import saleor_personalize
import saleor_personalize.graphql
from saleor_personalize.graphql import federation
from saleor_personalize.graphql.schema import schema

PUBLISHED = Path(saleor_personalize.graphql.__file__).parent / "schema.graphql"


def test_b104_the_published_schema_is_the_one_served() -> None:
    assert PUBLISHED.read_text(encoding="utf-8").strip() == str(schema).strip(), (
        "The schema changed: run `make schema` and look at what storefronts will notice."
    )


def test_b104_no_type_shares_a_name_with_saleor() -> None:
    """Storefronts stitch both graphs. Roots and entities are merged; `Profile` is ours alone."""
    saleors = (
        Path(saleor_personalize.__file__).parent / "testing" / "saleor" / "schema.graphql"
    ).read_text(encoding="utf-8")
    shared = {
        name
        for name in schema.graphql_schema.type_map
        if not name.startswith("__")
        and any(f"{kind} {name} " in saleors for kind in ("type", "input", "enum", "interface"))
    }
    assert shared == {"Query", "Mutation", *federation.KEYS}
