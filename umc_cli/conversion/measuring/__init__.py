"""What `umc eval conversion` measures with: the converters, what targets really recorded, and judges."""
