"""Turn sound recordings made with one device into what other devices would have recorded."""

__version__ = "0.1.0"
