"""The recommenders that ship with the library. They do not know each other."""
