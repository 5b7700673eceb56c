import json
import logging

logging.getLogger().warning("while loading")
logging.info("below the level")
own = logging.getLogger("own")


def levels(event, context):
    for level in ("debug", "info", "warning", "error", "critical"):
        getattr(own, level)("a %s of %s", "word", level)
    own.log(35, "between levels")
    own.warning("two\nlines")
    own.warning({"a": "dict"})
    return "logged"


def lower(event, context):
    logging.getLogger().setLevel(logging.DEBUG)
    logging.basicConfig(level=logging.ERROR, format="never used")
    return levels(event, context)


def exception(event, context):
    try:
        {}["missing"]
    except KeyError:
        own.exception("caught")
        own.error("extra", extra={"order": 7, "nested": {"a": [1]}, "object": object, "tenant_id": None})
    return "logged"


def handlers(event, context):
    root = logging.getLogger()
    return [type(handler).__name__ for handler in root.handlers] + [root.level]


def own_format(event, context):
    logging.getLogger().handlers[0].setFormatter(logging.Formatter("%(aws_request_id)s says %(message)s\n"))
    own.warning("this")
    return json.dumps("logged")
