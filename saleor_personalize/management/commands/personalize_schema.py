"""`make schema`: print the public GraphQL schema."""

from typing import Any

from django.core.management.base import BaseCommand

from saleor_personalize.graphql.schema import schema


class Command(BaseCommand):
    help = "Print the public GraphQL schema."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(str(schema).strip())
