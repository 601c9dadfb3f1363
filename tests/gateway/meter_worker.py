"""A process that counts requests and publishes its numbers, for tests that kill it.

    python -m tests.gateway.meter_worker FOLDER COUNT

It counts COUNT circuit changes, publishes them, prints a line, and stays until it is killed or its input ends.
"""

import asyncio
import sys
import threading
from pathlib import Path

from gateway.meter_files import Condition, Publisher
from gateway.meters import Meters


async def main(folder: Path, count: int) -> None:
    meters = Meters()
    publisher = Publisher(folder, meters, lambda: Condition(1.0, 7, 0.5, "redis", 0, {}))
    publisher.start(asyncio.get_running_loop())
    for _ in range(count):
        meters.count_circuit_change("open")
    await publisher.totals()  # publishes
    sys.stdout.write("published\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set)), daemon=True).start()
    await ended.wait()
    publisher.stop()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
