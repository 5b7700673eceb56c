import logging  # as that of a tracing library
