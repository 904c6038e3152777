"""The WebSocket front end: sockets and conversations. It never imports torch."""
