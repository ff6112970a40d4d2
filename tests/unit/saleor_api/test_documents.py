"""Documents carry what they need and nothing else; graphql-core finds them well-formed."""

import pytest
from graphql import parse
from graphql.language import FragmentDefinitionNode, OperationDefinitionNode

from saleor_personalize.exceptions import ConfigurationError
from saleor_personalize.saleor_api import documents

OPERATIONS, FRAGMENTS = documents._definitions()


def test_every_definition_of_the_files_is_found() -> None:
    text = "\n".join(path.read_text() for path in documents._QUERIES.glob("*.graphql"))
    names = {definition.name.value for definition in parse(text).definitions}
    assert set(OPERATIONS) | set(FRAGMENTS) == names


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_operation_has_just_the_fragments_that_it_spreads(name: str) -> None:
    definitions = parse(documents.operation(name)).definitions
    operation, *fragments = definitions
    assert isinstance(operation, OperationDefinitionNode)
    assert operation.name is not None
    assert operation.name.value == name
    carried = [f.name.value for f in fragments if isinstance(f, FragmentDefinitionNode)]
    spread = set(documents._SPREAD.findall(documents.operation(name)))
    assert sorted(carried) == sorted(spread)


def test_subscription_asks_for_the_envelope_and_each_type() -> None:
    text = documents.subscription(["OrderCreated", "OrderUpdated"], "order { ...OrderFields }")
    parse(text)
    assert "__typename\n    issuedAt\n    version\n" in text
    assert "recipient { id identifier }" in text
    assert "... on OrderCreated { order { ...OrderFields } }" in text
    assert "... on OrderUpdated { order { ...OrderFields } }" in text
    assert text.count("fragment OrderFields on Order") == 1
    assert "fragment CheckoutFields" not in text


@pytest.mark.parametrize(
    ("event", "typename"),
    [
        ("checkout_updated", "CheckoutUpdated"),
        ("PRODUCT_VARIANT_BACK_IN_STOCK", "ProductVariantBackInStock"),
        ("app_status_changed", "AppStatusChanged"),
    ],
)
def test_typename_of_an_event(event: str, typename: str) -> None:
    assert documents.typename(event) == typename


def test_unknown_names_are_told_with_the_known_ones() -> None:
    with pytest.raises(
        ConfigurationError, match=r"'Nothing' is not in saleor_api/queries. Known: App,"
    ):
        documents.operation("Nothing")
    with pytest.raises(
        ConfigurationError, match=r"Fragment 'NoFields' is not .* Known: CategoryFields"
    ):
        documents.subscription("OrderCreated", "order { ...NoFields }")
