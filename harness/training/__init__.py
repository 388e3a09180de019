"""Training in a container, on a training bundle."""
