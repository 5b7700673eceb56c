from .parts import word


def handler(event, context):
    return word
