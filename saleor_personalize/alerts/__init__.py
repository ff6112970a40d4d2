"""Waiting for a sold-out variant: sign-up, confirmation, waves, and the one message that each sign-up leads to."""
