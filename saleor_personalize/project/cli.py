"""The console script `saleor-personalize`: one word per thing an operator does."""

import difflib
import importlib.util
import os
import sys
from importlib.metadata import version

#: word on the command line -> Django management command
COMMANDS = {
    "backfill": "personalize_backfill",
    "bus": "personalize_bus",
    "check": "check",
    "doctor": "personalize_doctor",
    "erase": "personalize_erase",
    "evaluate": "personalize_evaluate",
    "events": "personalize_events",
    "export": "personalize_export",
    "forget": "personalize_forget",
    "generate-key": "personalize_generate_key",
    "go-live-check": "personalize_go_live_check",
    "import": "personalize_import",
    "journeys": "personalize_journeys",
    "keys": "personalize_keys",
    "messages": "personalize_messages",
    "migrate": "migrate",
    "people": "personalize_people",
    "push": "personalize_push",
    "push-test": "personalize_push_test",
    "report": "personalize_report",
    "rhythms": "personalize_rhythms",
    "rollback": "personalize_rollback",
    "segments": "personalize_segments",
    "train": "personalize_train",
    "webhooks": "personalize_webhooks",
}
#: word -> what it does, in the order in which somebody new needs them
WORDS = {
    "demo": "a made-up shop, this app and a mailbox on this machine",
    "generate-key": "print a key for ENCRYPTION_KEYS",
    "check": "check the settings",
    "migrate": "make or change the tables",
    "serve": "the web server",
    "worker": "a Celery worker",
    "beat": "wake the workers; run exactly one",
    "doctor": "say what is wrong, and what mends it",
    "go-live-check": "look at SPF, DKIM, DMARC and what else receivers of mail look at",
    "backfill": "read a shop's history",
    "train": "make new models now, and say how good they are",
    "rollback": "have the models before answer again",
    "evaluate": "measure the recommenders on a folder of events and cases",
    "import": "bring purchases from outside Saleor, from a file",
    "segments": "see, count and copy segments",
    "events": "make the months of events that come next, drop old ones",
    "people": "see who is one person, why, and what happened; undo a merge",
    "journeys": "see, start and pause journeys, and what was sent or not",
    "messages": "look at a message as a real person would get it, or send it to yourself",
    "report": "what came of messages and recommendations, and the rows behind it",
    "rhythms": "how much and when people react to messages",
    "simulate": "run people through journeys with a simulated clock, and say who gets what",
    "keys": "list, make and revoke the keys of the shop's own server",
    "push": "see, save and remove the service account by which push is sent",
    "push-test": "have Firebase check it, without a message to anybody",
    "bus": "tell other apps what happens: add, test and replay outgoing webhooks",
    "webhooks": "see and replay deliveries that failed",
    "export": "all data of one person, or of one shop",
    "erase": "forget one person, with a proof",
    "forget": "delete everything of one shop",
}
#: environment variables without which the service cannot start -> what to set them to
NEEDED = {
    "SECRET_KEY": "a long random text",
    "DATABASE_URL": "postgresql://user:password@host:5432/personalize",
}
#: words that work without them
WITHOUT_SETTINGS = ("evaluate", "generate-key")
#: word -> what it does; these start processes and need no Django in this one
PROCESSES = ("demo", "serve", "simulate", "worker", "beat")


def main(argv: list[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "saleor_personalize.project.settings")
    if not words or words[0] in {"-h", "--help", "help"}:
        sys.stdout.write(_usage())
        return 0
    if words[0] in {"--version", "version"}:
        sys.stdout.write(f"saleor-personalize {version('saleor-personalize')}\n")
        return 0
    word, rest = words[0], words[1:]
    if word == "demo":
        from saleor_personalize.testing.demo import main as demo

        return demo(rest)
    if word == "simulate":
        from saleor_personalize.testing.simulation.command import main as simulate

        return simulate(rest)
    known = word in COMMANDS or word in PROCESSES
    if known and word not in WITHOUT_SETTINGS and (missing := _missing()):
        sys.stderr.write(missing)
        return 2
    if word == "serve" and importlib.util.find_spec("granian") is None:
        sys.stderr.write(
            "saleor-personalize: the web server is not installed. "
            "Install the extra: pip install 'saleor-personalize[service]'\n"
        )
        return 2
    if word in PROCESSES:
        from saleor_personalize.project import processes

        return int(getattr(processes, word)(rest))
    if word not in COMMANDS:
        close = difflib.get_close_matches(word, WORDS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        sys.stderr.write(f"saleor-personalize: {word!r} is not a command.{hint}\n\n{_usage()}")
        return 2
    return _run(word, rest)


def _run(word: str, rest: list[str]) -> int:
    """Run a management command under our own word, and tell in words what would be a traceback."""
    import django
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import get_commands, load_command_class
    from django.db import OperationalError

    try:
        # One command needs one connection, and the database's own answer instead of the pool's.
        settings.DATABASES["default"].get("OPTIONS", {}).pop("pool", None)
        django.setup()
        name = COMMANDS[word]
        command = load_command_class(get_commands()[name], name)
        command.run_from_argv(["saleor-personalize", word, *rest])
    except ImproperlyConfigured as error:
        sys.stderr.write(f"saleor-personalize: {error}\n")
        return 2
    except OperationalError as error:
        sys.stderr.write(
            f"saleor-personalize: the database does not answer: {str(error).strip().splitlines()[0]}\n"
            "Start PostgreSQL and check DATABASE_URL; `saleor-personalize doctor` looks at the rest.\n"
        )
        return 1
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
    lines = [f"  {word:<14}{does}\n" for word, does in WORDS.items()]
    return (
        "usage: saleor-personalize COMMAND [options]\n\n"
        + "".join(lines)
        + "\n`saleor-personalize COMMAND --help` explains one.\n"
    )
