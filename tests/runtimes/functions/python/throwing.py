def fails():
    raise RuntimeError("while loading")


fails()
