"""Where machines come from, and how they are given back."""
