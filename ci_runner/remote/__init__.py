"""How a leased machine is spoken to: the Shell protocol and its implementations."""
