"""From the installation to the first live journey: which steps there are, and how far a shop is."""
