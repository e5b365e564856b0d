"""`python -m jobs.run …` is `undertow run …`: the entrypoint for `ray job submit`."""

import sys

from jobs.cli import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
