"""Results to text and pages for people, and the publishers that carry them there."""
