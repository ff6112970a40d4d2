"""The time machine: people run through journeys with a simulated clock, in seconds.

`running.simulate` needs Django and an empty database; `command` brings up both.
"""
