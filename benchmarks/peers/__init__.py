"""Other servers, measured beside ours: installed, started, driven and stopped by the harness."""
