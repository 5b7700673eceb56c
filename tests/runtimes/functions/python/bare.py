import sys

loaded = list(sys.modules)


def modules(event, context):
    return loaded
