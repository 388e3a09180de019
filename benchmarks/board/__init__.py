"""The project's example board: trained, evaluated, ranked and published by the project's verbs."""
