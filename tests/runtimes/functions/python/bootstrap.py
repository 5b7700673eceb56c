def handler(event, context):
    return "the function's own"
