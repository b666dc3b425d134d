#!/usr/bin/env python3
"""Make Fixtures/tensorboard/events.bin: events as TensorBoard's own writer writes them (tensorboard 2.21.0).

usage: make_event_fixture.py [--out Fixtures/tensorboard/events.bin]

EventFileTests writes the same events and holds its bytes against these.
"""

import argparse
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter

TIME = 1.75e9
EVALUATIONS = [(3, "eval/dev.json/", 0.25), (3, "eval/", 0.5), (300, "eval/", 2.0)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="Fixtures/tensorboard/events.bin")
    out = Path(parser.parse_args().out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=TIME, file_version="brain.Event:2").SerializeToString())
        for step, prefix, loss in EVALUATIONS:
            event = Event(wall_time=TIME, step=step)
            event.summary.value.add(tag=prefix + "loss", simple_value=loss)
            event.summary.value.add(tag=prefix + "perplexity", simple_value=4 * loss)
            writer.write(event.SerializeToString())
        writer.close()


if __name__ == "__main__":
    main()
