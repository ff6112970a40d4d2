"""`python -m saleor_personalize.project` is `saleor-personalize`."""

import sys

from saleor_personalize.project.cli import main

sys.exit(main())
