"""Which pages may call /graphql/ from a browser: STOREFRONT_ORIGINS, and those that a shop named itself."""

from __future__ import annotations

from urllib.parse import SplitResult

from corsheaders.middleware import CorsMiddleware

from saleor_personalize.saleor_api import installations


class ShopCorsMiddleware(CorsMiddleware):
    """Nothing here answers by cookie: an origin opens no data, it only lets a page read its answer."""

    def origin_found_in_white_lists(self, origin: str, url: SplitResult) -> bool:
        return (
            super().origin_found_in_white_lists(origin, url)
            or origin in installations.storefront_origins()
        )
