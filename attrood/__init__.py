"""Says why an image is out of distribution for a vision-language model: sparse, named, stable axes from its inference log."""

__version__ = "0.1.0"
