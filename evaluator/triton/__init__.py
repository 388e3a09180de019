"""The backend `triton`: a server runs the model, here one of our own or an operator's."""
