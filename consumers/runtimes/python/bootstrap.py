"""Starts the runtime beside it. Python compiles what it is given as a program at every start, 10 ms for sluice_runtime.py; of what is imported it
keeps the compiled form."""

import sluice_runtime

sluice_runtime.main()
