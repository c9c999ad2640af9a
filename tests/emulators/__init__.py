"""Loopback stand-ins for hosted services: stateful, strict about what they are sent, and able to fail on demand."""
