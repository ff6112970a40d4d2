"""GraphQL over HTTP to one shop: bounded retries, errors that say whether time can cure them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx

from saleor_personalize.exceptions import SaleorApiError, TokenRefused
from saleor_personalize.models import Installation
from saleor_personalize.saleor_api import documents, network

logger = logging.getLogger(__name__)

#: Seconds to wait before the second and the third attempt of a call that time may cure.
RETRY_DELAYS = (0.5, 2.0)

#: How many nodes Saleor gives at once.
MAX_PAGE = 100

JSONDict = dict[str, Any]


@dataclass(frozen=True)
class Page:
    """One page of a connection. `cost` is what Saleor counted for it (limit 50 000), if it said."""

    nodes: list[JSONDict]
    end_cursor: str
    has_next_page: bool
    total_count: int | None
    cost: int | None


@dataclass(frozen=True)
class AppIdentity:
    """Who a token makes us in a shop (`app` of Saleor's GraphQL API)."""

    app_id: str
    identifier: str
    permissions: list[str]
    saleor_version: str


class SaleorClient:
    """Calls one installation's Saleor with its app token. Usable as a context manager."""

    def __init__(
        self,
        installation: Installation,
        *,
        token: str | None = None,
        timeout: float | None = None,
        retry_delays: Sequence[float] = RETRY_DELAYS,
    ) -> None:
        """Use `token` instead of the installation's own to find out whose it is."""
        self.installation = installation
        self._url = installation.saleor_api_url
        self._token = installation.auth_token if token is None else token
        self._retry_delays = retry_delays
        self._http = network.open_client(timeout=timeout)

    def __enter__(self) -> SaleorClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def execute(self, operation_name: str, variables: Mapping[str, Any] | None = None) -> JSONDict:
        """Run an operation of `queries/*.graphql` and return its `data`.

        A nested field that the shop's staff did not permit is null, as it is in webhooks; the missing
        permission is logged. Raises TokenRefused when our token no longer works, SaleorApiError for
        everything else that went wrong.
        """
        return self._run(operation_name, variables)["data"]  # type: ignore[no-any-return]

    def page(
        self,
        operation_name: str,
        connection: str,
        *,
        first: int,
        after: str | None,
        variables: Mapping[str, Any] | None = None,
    ) -> Page:
        """Return one page of the root field `connection`; `after` is the last page's `end_cursor`."""
        answer = self._run(
            operation_name, {**(variables or {}), "first": first, "after": after or None}
        )
        try:
            found = answer["data"][connection]
            return Page(
                nodes=[edge["node"] for edge in found["edges"]],
                end_cursor=found["pageInfo"]["endCursor"] or "",
                has_next_page=found["pageInfo"]["hasNextPage"],
                total_count=found.get("totalCount"),
                cost=answer.get("extensions", {}).get("cost", {}).get("requestedQueryCost"),
            )
        except (KeyError, TypeError, AttributeError):
            raise self._odd(operation_name) from None

    def every_node(self, operation_name: str, connection: str) -> Iterator[JSONDict]:
        """Yield the nodes of the root field `connection`, page after page to its end."""
        cursor: str | None = None
        has_more = True
        while has_more:
            page = self.page(operation_name, connection, first=MAX_PAGE, after=cursor)
            yield from page.nodes
            cursor, has_more = page.end_cursor, page.has_next_page

    def identity(self) -> AppIdentity:
        """Ask the shop who our token makes us.

        Raises TokenRefused when it makes us nobody: Saleor answers public fields to anyone, so only
        this tells that a token works.
        """
        answer = self._post("App", {})
        data = answer.get("data") or {}
        if not data.get("app"):
            if any(not _is_denied(error) for error in answer.get("errors") or []):
                raise _failure("App", answer["errors"])
            raise TokenRefused(
                f"{self._url} does not accept our app token. The app was deactivated or deleted there: "
                "activate or install it again in the Dashboard."
            )
        try:
            app = data["app"]
            return AppIdentity(
                app_id=app["id"],
                identifier=app.get("identifier") or "",
                permissions=sorted(permission["code"] for permission in app["permissions"] or []),
                saleor_version=(data.get("shop") or {}).get("version") or "",
            )
        except (KeyError, TypeError, AttributeError):
            raise self._odd("App") from None

    def _run(self, name: str, variables: Mapping[str, Any] | None) -> JSONDict:
        answer = self._post(name, variables or {})
        errors = answer.get("errors") or []
        data = answer.get("data")
        denied = [error for error in errors if _is_denied(error)]
        if denied:
            # A dead token looks like a missing permission; asking who we are tells them apart.
            self.identity()
        roots = {_path(error).partition(".")[0] for error in denied}
        if data is None or len(denied) < len(errors) or any(data.get(r) is None for r in roots):
            raise _failure(name, errors)
        for path in sorted({_path(error) for error in denied}):
            logger.warning("Saleor withholds %s in %s: the app lacks a permission", path, name)
        return answer

    def _post(self, name: str, variables: Mapping[str, Any]) -> JSONDict:
        """Send an operation and return the whole answer: `data`, `errors`, `extensions`."""
        for delay in self._retry_delays:
            try:
                return self._post_once(name, variables)
            except SaleorApiError as error:
                if not error.is_retryable:
                    raise
                logger.info("%s will be tried again in %s s: %s", name, delay, error)
            time.sleep(delay)
        return self._post_once(name, variables)

    def _post_once(self, name: str, variables: Mapping[str, Any]) -> JSONDict:
        status, answer = network.request_json(
            self._http,
            "POST",
            self._url,
            max_bytes=network.MAX_ANSWER_BYTES,
            json={
                "query": documents.operation(name),
                "operationName": name,
                "variables": dict(variables),
            },
            headers={"Authorization": f"Bearer {self._token}"},
        )
        if not _is_graphql(answer):
            raise SaleorApiError(
                f"{self._url} answered {status} and no GraphQL. Is this the address of a Saleor API?",
                is_retryable=False,
            )
        # A query that Saleor will not run (too costly, not valid) is answered 400 with `errors`.
        if status != httpx.codes.OK and not answer.get("errors"):
            raise SaleorApiError(f"{self._url} answered {status} to {name}.", is_retryable=False)
        return answer  # type: ignore[no-any-return]

    def _odd(self, name: str) -> SaleorApiError:
        return SaleorApiError(
            f"{self._url} answered {name} in another shape than was asked for. Is it a Saleor that this "
            "app supports?",
            is_retryable=False,
        )


def _is_graphql(answer: Any) -> bool:
    """Tell whether an answer has the shape that GraphQL promises, whatever it holds."""
    if not isinstance(answer, dict) or not ("data" in answer or "errors" in answer):
        return False
    errors = answer.get("errors") or []
    return (
        isinstance(answer.get("data"), dict | None)
        and isinstance(answer.get("extensions"), dict | None)
        and isinstance(errors, list)
        and all(isinstance(error, dict) for error in errors)
    )


def _is_denied(error: Mapping[str, Any]) -> bool:
    exception = (error.get("extensions") or {}).get("exception") or {}
    return exception.get("code") == "PermissionDenied"


def _path(error: Mapping[str, Any]) -> str:
    """Return the path of an error without list positions, e.g. "checkouts.edges.node.user"."""
    return ".".join(str(part) for part in error.get("path") or [] if not isinstance(part, int))


def _failure(name: str, errors: list[Any]) -> SaleorApiError:
    said = "; ".join(
        dict.fromkeys(f"{_path(error)}: {error.get('message')}".lstrip(": ") for error in errors)
    )
    return SaleorApiError(f"Saleor refused {name}: {said[:500]}", is_retryable=False)
