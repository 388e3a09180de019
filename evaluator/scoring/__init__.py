"""The stage score: from packed masks and sealed labels to the scores of a submission."""
