"""What can be recommended: our copy of the shop's catalogue, newest `updated_at` wins."""

from datetime import datetime

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector
from django.db import models

from saleor_personalize.models.installation import Scoped


class SaleorObject(Scoped):
    """A row that mirrors an object of Saleor by its global id."""

    saleor_id = models.CharField(max_length=100)
    # Saleor's own `updatedAt` decides what is newer. None where Saleor has none (Collection).
    saleor_updated_at = models.DateTimeField(null=True)
    # When Saleor showed it to us so. It decides between two views of one `updatedAt`: publishing a
    # product or changing a price leaves `updatedAt` as it was.
    seen_at = models.DateTimeField(null=True)
    # Deletions stay as tombstones, so that a late UPDATED cannot bring the object back.
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True
        constraints = [
            models.UniqueConstraint(
                fields=["installation", "saleor_id"], name="%(class)s_saleor_id"
            )
        ]

    #: The rule of `is_older` in SQL, over `stored` and `seen`, for objects that are not deleted.
    GIVES_WAY = """
        stored.deleted_at IS NULL AND (
            CASE WHEN seen.saleor_updated_at <> stored.saleor_updated_at
                THEN seen.saleor_updated_at > stored.saleor_updated_at
                ELSE seen.seen_at >= stored.seen_at
            END
        ) IS NOT FALSE
    """

    def is_older(self, updated_at: datetime | None, seen_at: datetime) -> bool:
        """Tell whether a view of this object is older than the one stored."""
        stored = self.saleor_updated_at
        if updated_at is not None and stored is not None and updated_at != stored:
            return updated_at < stored
        return self.seen_at is not None and seen_at < self.seen_at


class SalesChannel(SaleorObject):
    slug = models.CharField(max_length=255)
    currency = models.CharField(max_length=3)
    is_active = models.BooleanField(default=True)
    # Saleor ids of the warehouses that supply it.
    warehouse_ids = models.JSONField(default=list)


class Category(SaleorObject):
    name = models.CharField(max_length=255)
    slug = models.CharField(max_length=255, blank=True)
    parent_saleor_id = models.CharField(max_length=100, blank=True)


class CategoryTranslation(Scoped):
    """The name of a category in a further language, as the shop translated it in Saleor."""

    category_saleor_id = models.CharField(max_length=100)
    # As in ProductTranslation.
    language_code = models.CharField(max_length=35)
    name = models.CharField(max_length=255)
    recorded_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["installation", "category_saleor_id", "language_code"],
                name="category_translation_once",
            )
        ]


class Collection(SaleorObject):
    name = models.CharField(max_length=255)
    slug = models.CharField(max_length=255, blank=True)


class Product(SaleorObject):
    name = models.CharField(max_length=255)
    slug = models.CharField(max_length=255, blank=True)
    description = models.TextField(blank=True)
    product_type = models.CharField(max_length=255, blank=True)
    category_saleor_id = models.CharField(max_length=100, blank=True)
    collection_saleor_ids = models.JSONField(default=list)
    # [{"attribute": slug, "values": [name, ...]}, ...]; one that refers to products also has their
    # global ids: "references"; one that refers to pages has theirs: "pages".
    attributes = models.JSONField(default=list)
    thumbnail_url = models.CharField(max_length=1000, blank=True)
    saleor_created_at = models.DateTimeField(null=True)

    class Meta(SaleorObject.Meta):
        indexes = [
            models.Index(
                "installation",
                models.F("saleor_created_at").desc(nulls_last=True),
                "saleor_id",
                name="product_newest",
            ),
            models.Index(fields=["installation", "category_saleor_id"], name="product_of_category"),
            GinIndex(SearchVector("name", config="simple"), name="product_words"),
        ]


class ProductTranslation(Scoped):
    """The name of a product in a further language, as the shop translated it in Saleor."""

    product_saleor_id = models.CharField(max_length=100)
    # As in a browser's Accept-Language, lower case: "de", "pt-br".
    language_code = models.CharField(max_length=35)
    name = models.CharField(max_length=255)
    recorded_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["installation", "product_saleor_id", "language_code"],
                name="product_translation_once",
            )
        ]


class Page(SaleorObject):
    """A page of content, such as a guide or the page of a brand. Saleor gives pages no `updatedAt`."""

    title = models.CharField(max_length=255)
    slug = models.CharField(max_length=255, blank=True)
    # Slug of its type.
    page_type = models.CharField(max_length=255, blank=True)
    is_published = models.BooleanField(default=False)
    published_at = models.DateTimeField(null=True)
    # [{"attribute": slug, "tags": [name, ...], "references": [global id, ...]}, ...]: only attributes
    # with choices have tags.
    attributes = models.JSONField(default=list)
    # All that it may be found by: the global ids it refers to, and its tags as `tag_key` writes them.
    subjects = models.JSONField(default=list)
    # Since when Saleor may tell more of it than we know; None: all is known.
    stale_since = models.DateTimeField(null=True)

    class Meta(SaleorObject.Meta):
        indexes = [
            GinIndex(fields=["subjects"], name="page_subjects"),
            models.Index(
                "installation",
                models.F("published_at").desc(nulls_last=True),
                "saleor_id",
                name="page_newest",
            ),
            models.Index(
                fields=["installation"],
                name="page_stale",
                condition=models.Q(stale_since__isnull=False),
            ),
        ]


class PageTranslation(Scoped):
    """The title of a page in a further language, as the shop translated it in Saleor."""

    page_saleor_id = models.CharField(max_length=100)
    # As in ProductTranslation.
    language_code = models.CharField(max_length=35)
    title = models.CharField(max_length=255)
    recorded_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["installation", "page_saleor_id", "language_code"],
                name="page_translation_once",
            )
        ]


class ProductVariant(SaleorObject):
    product_saleor_id = models.CharField(max_length=100)
    sku = models.CharField(max_length=255, blank=True)
    name = models.CharField(max_length=255, blank=True)
    is_stock_tracked = models.BooleanField(default=True)

    class Meta(SaleorObject.Meta):
        indexes = [
            models.Index(fields=["installation", "product_saleor_id"], name="variant_of_product")
        ]


class Stock(Scoped):
    """Pieces of a variant in one warehouse. Available = quantity - allocated."""

    variant_saleor_id = models.CharField(max_length=100)
    warehouse_saleor_id = models.CharField(max_length=100)
    quantity = models.IntegerField()
    quantity_allocated = models.IntegerField(default=0)
    recorded_at = models.DateTimeField()
    # When the last free piece was seen to be gone. None: some are left, or none were seen.
    emptied_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["installation", "variant_saleor_id", "warehouse_saleor_id"],
                name="stock_once",
            )
        ]


class ProductListing(Scoped):
    """A product in a sales channel, with what the read-time check needs in one row.

    `is_in_stock`, `price`, `undiscounted_price` and `best_variant_saleor_id` are derived from the
    variants, their stock and prices by `catalog.operations` whenever one of those changes.
    """

    product_saleor_id = models.CharField(max_length=100)
    channel_slug = models.CharField(max_length=255)
    is_published = models.BooleanField(default=False)
    published_at = models.DateTimeField(null=True)
    is_visible_in_listings = models.BooleanField(default=True)
    available_for_purchase_at = models.DateTimeField(null=True)
    is_in_stock = models.BooleanField(default=False)
    currency = models.CharField(max_length=3, blank=True)
    price = models.DecimalField(max_digits=20, decimal_places=3, null=True)
    best_variant_saleor_id = models.CharField(max_length=100, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["installation", "channel_slug", "product_saleor_id"], name="listing_once"
            )
        ]


class VariantPrice(Scoped):
    """What a variant costs in a sales channel now, discounts included (Saleor's `price`)."""

    variant_saleor_id = models.CharField(max_length=100)
    channel_slug = models.CharField(max_length=255)
    currency = models.CharField(max_length=3)
    price = models.DecimalField(max_digits=20, decimal_places=3, null=True)
    discounted_price = models.DecimalField(max_digits=20, decimal_places=3, null=True)
    # What it costs the shop, where the shop told Saleor.
    cost_price = models.DecimalField(max_digits=20, decimal_places=3, null=True)
    recorded_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["installation", "variant_saleor_id", "channel_slug"],
                name="variant_price_once",
            )
        ]


class PriceChange(Scoped):
    """Our own price history: the `previousPrice` of Saleor's events cannot be trusted."""

    variant_saleor_id = models.CharField(max_length=100)
    channel_slug = models.CharField(max_length=255)
    currency = models.CharField(max_length=3)
    price = models.DecimalField(max_digits=20, decimal_places=3)
    changed_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(
                fields=["installation", "variant_saleor_id", "channel_slug", "changed_at"],
                name="price_history",
            ),
            models.Index(fields=["installation", "changed_at"], name="price_changed"),
        ]
