"""Records in a store, and questions asked of them."""
