"""What we work out about a person: value, habits, stage, what comes next."""
