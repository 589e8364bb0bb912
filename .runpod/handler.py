"""Where RunPod's hub looks for a handler; the worker's own is worker/handler.py."""

import sys

from worker.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["handler"]))
