"""`make schema`: print the public GraphQL schema."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from saleor_personalize.graphql.federation import sdl
from saleor_personalize.graphql.schema import schema


class Command(BaseCommand):
    help = "Print the public GraphQL schema."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--federation",
            action="store_true",
            help="as a subgraph to compose with Saleor's, for a gateway",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(sdl(schema) if options["federation"] else str(schema).strip())
