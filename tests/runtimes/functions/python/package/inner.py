from . import parts


def handler(event, context):
    return "inner " + parts.word
