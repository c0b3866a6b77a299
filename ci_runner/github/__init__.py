"""What GitHub says and hears: event payloads, workflow commands, the client."""
