"""The console script `saleor-personalize`: one word per thing an operator does."""

import os
import sys

#: word on the command line -> Django management command
COMMANDS = {
    "backfill": "personalize_backfill",
    "check": "check",
    "doctor": "personalize_doctor",
    "events": "personalize_events",
    "generate-key": "personalize_generate_key",
    "import": "personalize_import",
    "journeys": "personalize_journeys",
    "migrate": "migrate",
    "segments": "personalize_segments",
    "train": "personalize_train",
    "webhooks": "personalize_webhooks",
}
#: environment variables without which the service cannot start -> what to set them to
NEEDED = {
    "SECRET_KEY": "a long random text",
    "DATABASE_URL": "postgresql://user:password@host:5432/personalize",
}
#: words that work without them
WITHOUT_SETTINGS = ("check", "generate-key")
#: word -> what it does; these start processes and need no Django in this one
PROCESSES = ("demo", "serve", "worker", "beat")


def main(argv: list[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "saleor_personalize.project.settings")
    if not words or words[0] in {"-h", "--help", "help"}:
        sys.stdout.write(_usage())
        return 0
    word, rest = words[0], words[1:]
    if word == "demo":
        from saleor_personalize.testing.demo import main as demo

        return demo(rest)
    known = word in COMMANDS or word in PROCESSES
    if known and word not in WITHOUT_SETTINGS and (missing := _missing()):
        sys.stderr.write(missing)
        return 2
    if word in PROCESSES:
        from saleor_personalize.project import processes

        return int(getattr(processes, word)(rest))
    if word not in COMMANDS:
        sys.stderr.write(f"saleor-personalize: {word!r} is not a command.\n{_usage()}")
        return 2
    from django.core.management import execute_from_command_line

    execute_from_command_line(["saleor-personalize", COMMANDS[word], *rest])
    return 0


def _missing() -> str:
    """Return what to set before the service's own settings can be used; nothing for other settings."""
    if os.environ["DJANGO_SETTINGS_MODULE"] != "saleor_personalize.project.settings":
        return ""
    lines = [
        f"saleor-personalize: the environment variable {name} is not set. Set it to {value}.\n"
        for name, value in NEEDED.items()
        if not os.environ.get(name) and not (name == "SECRET_KEY" and os.environ.get("DEBUG"))
    ]
    if lines:
        lines.append("`saleor-personalize demo` needs neither. See .env.example.\n")
    return "".join(lines)


def _usage() -> str:
    words = ", ".join(sorted([*COMMANDS, *PROCESSES]))
    return (
        "usage: saleor-personalize COMMAND [options]\n"
        f"commands: {words}\n"
        "`saleor-personalize COMMAND --help` explains one.\n"
    )
