"""Writes a small event file with TensorBoard's own protobuf messages and record writer.

    python tools/golden/tensorboard_events.py

writes crates/orion-llm/tests/golden/tensorboard/events: the version, a restart at step 300, four scalars of that step and
a validation. Times are 1, 2, 3 and 4. Versions are in requirements.txt.
"""

from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

OUT = Path(__file__).resolve().parents[2] / "crates/orion-llm/tests/golden/tensorboard"


def scalars(**values):
    tags = {"loss_train": "loss/train", "loss_validation": "loss/validation"}
    return Summary(
        value=[Summary.Value(tag=tags.get(tag, tag), simple_value=value) for tag, value in values.items()]
    )


def main():
    OUT.mkdir(exist_ok=True)
    step = scalars(loss_train=2.5, learning_rate=3e-4, gradient_norm=0.75, tokens_per_second=12345.5)
    events = [
        Event(wall_time=1, file_version="brain.Event:2"),
        Event(wall_time=2, step=300, session_log=SessionLog(status=SessionLog.START)),
        Event(wall_time=3, step=300, summary=step),
        Event(wall_time=4, step=300, summary=scalars(loss_validation=2.625)),
    ]
    with open(OUT / "events", "wb") as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString(deterministic=True))
        writer.flush()


main()
