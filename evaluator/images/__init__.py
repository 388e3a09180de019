"""Images that predict: test images handed to a participant's container, and its masks taken in."""
