"""What can go wrong in the demo."""

from saleor_personalize.exceptions import PersonalizeError


class StoryError(PersonalizeError):
    """The story took a turn that it must not take."""
