"""The interop run, from the namespaces up to the verdict on the capture."""
