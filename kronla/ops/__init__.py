"""The functional API, one module per family. Import it from `kronla`."""
