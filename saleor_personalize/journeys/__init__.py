"""What happens next to a person, and when."""
