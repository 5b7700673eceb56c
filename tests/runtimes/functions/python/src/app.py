def handler(event, context):
    return "nested file " + __name__
