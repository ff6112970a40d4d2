"""Which people match a rule, now and from now on."""
