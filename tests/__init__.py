"""Tests of umc; the folders mirror the package."""
