"""A placement in, products out: each one can be seen and bought now, and says why it is shown."""
