"""Is the work of a shop being done? What rows tell of workers, waiting work and providers; nothing is asked outside."""
