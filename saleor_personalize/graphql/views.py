"""GraphQL over HTTP: one document per request, checked against limits before it runs."""

from __future__ import annotations

import functools
import json
import logging
from dataclasses import dataclass
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    OperationType,
    execute,
    get_operation_ast,
    parse,
    validate,
)
from graphql.validation.validate import ValidationAbortedError

from saleor_personalize.conf import settings
from saleor_personalize.events import callers
from saleor_personalize.exceptions import (
    AccessDenied,
    InvalidCursor,
    InvalidToken,
    KeysUnavailable,
    PersonalizeError,
    UnknownAlias,
    kind_and_place,
)
from saleor_personalize.graphql import federation, limits
from saleor_personalize.graphql.execution import PlainExecutionContext
from saleor_personalize.graphql.schema import schema
from saleor_personalize.graphql.types_recommendations import Asked, Cards
from saleor_personalize.saleor_api.auth import JWKS_REFRESH_INTERVAL

logger = logging.getLogger(__name__)

_MAX_BODY_BYTES = 1_000_000
_MAX_QUERY_LENGTH = 20_000
_MAX_TOKENS = 5_000
#: A parsed query takes hundreds of times its length. Only those of a usual length are remembered, so
#: that nobody can fill the memory with long ones.
_MAX_REMEMBERED_LENGTH = 2_000
_CODES: dict[type[Exception], str] = {
    InvalidToken: "INVALID_TOKEN",
    AccessDenied: "FORBIDDEN",
    UnknownAlias: "NOT_FOUND",
    InvalidCursor: "INVALID_CURSOR",
}


@dataclass(frozen=True)
class RequestContext:
    """What resolvers see of a request."""

    caller: callers.Caller
    refuses_tracking: bool
    address: str
    user_agent: str
    accepted_languages: str

    @functools.cached_property
    def asked(self) -> Asked:
        """What the recommendations of this request share."""
        return Asked()

    @functools.cached_property
    def cards(self) -> Cards:
        """The cards of this request."""
        return Cards(self.caller.installation, timezone.now())


@csrf_exempt  # tokens and ids come in headers, never in cookies
def graphql(request: HttpRequest) -> HttpResponseBase:
    if request.method == "GET" and django_settings.DEBUG and _wants_a_page(request):
        from graphene_django.views import GraphQLView

        return GraphQLView.as_view(schema=schema, graphiql=True)(request)  # type: ignore[no-any-return]
    if request.method != "POST":
        response = _refused(405, "BAD_REQUEST", "GraphQL takes POST with a JSON body here.")
        response["Allow"] = "POST"
        return response
    try:
        raw = request.body
    except RequestDataTooBig:
        raw = None
    if raw is None or len(raw) > _MAX_BODY_BYTES:
        return _refused(413, "TOO_LARGE", f"The body is larger than {_MAX_BODY_BYTES} bytes.")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return _refused(400, "BAD_REQUEST", "The body is not JSON.")
    if not isinstance(body, dict) or not isinstance(body.get("query"), str):
        return _refused(400, "BAD_REQUEST", 'The body takes one object with a "query" text.')
    variables = body.get("variables") or {}
    if not isinstance(variables, dict):
        return _refused(400, "BAD_REQUEST", '"variables" takes an object.')
    operation_name = body.get("operationName") or None
    if operation_name is not None and not isinstance(operation_name, str):
        return _refused(400, "BAD_REQUEST", '"operationName" takes a text.')
    if federation.is_about_schema(body["query"]):
        # A gateway that composes comes without a shop, and the schema is the same for all.
        return JsonResponse(_run(body["query"], variables, operation_name, None))
    headers = request.headers
    try:
        caller = callers.identify(
            saleor_api_url=headers.get("Saleor-Api-Url", ""),
            authorization=headers.get("Authorization", ""),
            anonymous_id=headers.get("X-Anonymous-Id", ""),
            origin=headers.get("Origin", ""),
            now=timezone.now(),
        )
    except InvalidToken as error:
        return _refused(401, "INVALID_TOKEN", str(error))
    except KeysUnavailable as error:
        response = _refused(503, "JWKS_NOT_AVAILABLE", str(error))
        response["Retry-After"] = str(round(JWKS_REFRESH_INTERVAL.total_seconds()))
        return response
    except AccessDenied as error:
        return _refused(403, "FORBIDDEN", str(error))
    context = RequestContext(
        caller=caller,
        refuses_tracking=headers.get("Sec-GPC") == "1" or headers.get("DNT") == "1",
        address=callers.address_of(
            forwarded_for=headers.get("X-Forwarded-For", ""),
            connected_from=request.META.get("REMOTE_ADDR") or "",
        ),
        user_agent=headers.get("User-Agent", ""),
        accepted_languages=headers.get("Accept-Language", ""),
    )
    return JsonResponse(_run(body["query"], variables, operation_name, context))


def _run(
    query: str,
    variables: dict[str, Any],
    operation_name: str | None,
    context: RequestContext | None,
) -> dict[str, Any]:
    if len(query) > _MAX_QUERY_LENGTH:
        return _error("TOO_LARGE", f"The query is longer than {_MAX_QUERY_LENGTH} characters.")
    document, errors = (
        _remembered(query) if len(query) <= _MAX_REMEMBERED_LENGTH else _prepared(query)
    )
    if document is None:
        return {"errors": [_as_asked(error) for error in errors]}
    operation = get_operation_ast(document, operation_name)
    if operation is None:
        return _error("BAD_REQUEST", "Say with operationName which operation to run.")
    try:
        limits.check(
            document,
            operation,
            variables,
            max_depth=settings.GRAPHQL_MAX_DEPTH,
            max_cost=settings.GRAPHQL_MAX_COST,
        )
    except GraphQLError as error:
        return {"errors": [_formatted(error)]}
    if operation.operation == OperationType.SUBSCRIPTION:
        return _error("BAD_REQUEST", "There are no subscriptions here.")
    result = execute(
        schema.graphql_schema,
        document,
        context_value=context,
        variable_values=variables,
        operation_name=operation_name,
        execution_context_class=PlainExecutionContext,
        is_awaitable=_never,
    )
    if not isinstance(result, ExecutionResult):
        raise TypeError("a resolver returned an awaitable")
    answer: dict[str, Any] = {"data": result.data}
    if result.errors:
        answer["errors"] = [_formatted(error) for error in result.errors]
    return answer


@functools.lru_cache(maxsize=128)
def _remembered(query: str) -> tuple[DocumentNode | None, tuple[GraphQLError, ...]]:
    """Prepare a query text once: storefronts send the same few over and over."""
    return _prepared(query)


def _prepared(query: str) -> tuple[DocumentNode | None, tuple[GraphQLError, ...]]:
    """Parse and validate a query text."""
    try:
        document = parse(query, max_tokens=_MAX_TOKENS)
        errors = validate(schema.graphql_schema, document, max_errors=10)
    except GraphQLError as error:
        return None, (error,)
    except RecursionError:
        too_deep = "The query is nested too deep to be read."
        return None, (GraphQLError(too_deep, extensions={"code": "QUERY_TOO_DEEP"}),)
    if len(errors) == 1 and isinstance(errors[0], ValidationAbortedError):
        # graphql-core gives up by itself where comparing all fields would take too long.
        too_much = "The query names too many fields to be checked. Ask for fewer at once."
        return None, (GraphQLError(too_much, extensions={"code": "QUERY_TOO_COSTLY"}),)
    return (None, tuple(errors)) if errors else (document, ())


def _never(value: Any) -> bool:
    return False


def _as_asked(error: GraphQLError) -> dict[str, Any]:
    """Show what GraphQL itself refuses: syntax, unknown fields, values of a wrong type. It gives no code."""
    return {"extensions": {"code": "BAD_REQUEST"}, **error.formatted}


def _formatted(error: GraphQLError) -> dict[str, Any]:
    """Show what we said on purpose; of a fault only that there was one."""
    cause = error.original_error
    formatted: dict[str, Any] = dict(error.formatted)
    if cause is None or isinstance(cause, GraphQLError):
        return _as_asked(error)
    if isinstance(cause, PersonalizeError):
        code = next((c for kind, c in _CODES.items() if isinstance(cause, kind)), "REFUSED")
        formatted["extensions"] = {"code": code}
        return formatted
    logger.error("A resolver failed: %s", kind_and_place(cause))
    return {
        "message": "Something went wrong here; it was logged.",
        "path": error.path,
        "extensions": {"code": "INTERNAL"},
    }


def _error(code: str, message: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": code}}]}


def _refused(status: int, code: str, message: str) -> HttpResponse:
    return JsonResponse(_error(code, message), status=status)


def _wants_a_page(request: HttpRequest) -> bool:
    return "text/html" in request.headers.get("Accept", "")
