"""The version of mmprune."""

__version__ = '0.1.0'
