"""`saleor-personalize demo`: the whole product on this machine, with a made-up shop.

`story` plays what happens in a shop and checks it; `pages` shows it in a browser.
"""

from saleor_personalize.testing.demo.command import main

__all__ = ["main"]
