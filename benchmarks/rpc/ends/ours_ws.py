"""Our own peers over a WebSocket."""

import sys

from benchmarks.rpc.ends.ours import main

if __name__ == "__main__":
    main(sys.argv[1:], is_websocket=True)
