"""What is tried on some people and not on others, so that its effect is measured and not guessed.

`operations` say on which side somebody is, `statistics` how sure a difference is, `results` what came of it.
"""
