#!/usr/bin/env python
"""Django's command line, for contributors. It must stay at the top (docs/explanation)."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "saleor_personalize.project.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
