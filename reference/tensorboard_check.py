"""TensorBoard's own package against the event files of rigl. Its protocol buffers make the bytes of the golden test
in crates/metrics/src/tensorboard.rs, and its reader must find in a run's files exactly what the run's log tells.

    python -m pip install tensorboard==2.21.0
    python reference/tensorboard_check.py golden           prints the bytes of the golden test
    python reference/tensorboard_check.py check RIGL       trains with this program, breaks off, goes on, reads back
"""

import io
import json
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tensorboard.backend.event_processing import event_accumulator, plugin_event_accumulator
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
from tensorboard.plugins.text import metadata as text_plugin
from tensorboard.summary.writer.record_writer import RecordWriter

CONFIG = """
preset = 'quickstart'
[data]
train-samples = 2000
test-samples = 500
validation = 0.2
batch = 20
[schedule]
unit = 'steps'
length = 1500
milestones = [800]
divide-by = [5]
[method]
update-interval = 10
[checkpoint]
every-seconds = 0.2
[log]
every-steps = 7
evaluate-every = 2
"""


def golden():
    scalars = [("loss/train", 0.30000000000000004), ("accuracy/train", 0.9), ("learning-rate", 0.2), ("samples-per-s", 1e5)]
    text = text_plugin.create_summary_metadata(None, None)
    text.data_class = summary_pb2.DATA_CLASS_TENSOR
    tensor = tensor_pb2.TensorProto(
        dtype=types_pb2.DT_STRING, tensor_shape=tensor_shape_pb2.TensorShapeProto(), string_val=["a × b".encode()]
    )
    value = summary_pb2.Summary.Value
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    events = [
        event_pb2.Event(wall_time=1.8e9 + 0.25, file_version="brain.Event:2"),
        event_pb2.Event(wall_time=1.8e9 + 0.25, step=300, session_log=start),
        event_pb2.Event(
            wall_time=1.8e9 + 1.5,
            step=301,
            summary=summary_pb2.Summary(value=[value(tag=tag, simple_value=x) for tag, x in scalars]),
        ),
        event_pb2.Event(
            wall_time=1.8e9 + 2,
            step=2**40,
            summary=summary_pb2.Summary(value=[value(tag="network", tensor=tensor, metadata=text)]),
        ),
    ]
    file = io.BytesIO()
    writer = RecordWriter(file)
    for event in events:
        writer.write(event.SerializeToString(deterministic=True))
    digits = file.getvalue().hex()
    print("\n".join(digits[i : i + 96] for i in range(0, len(digits), 96)))


def event_files(run):
    return sorted(path.name for path in run.glob("events.out.tfevents.*"))


def checkpoints(run):
    return list(run.glob("checkpoints/step-*.safetensors"))


def shown(event):
    """The scalars that TensorBoard should show of an event of the log."""
    if event["event"] == "train":
        yield "loss/train", event["loss"]
        yield "accuracy/train", event["accuracy"]
        yield "learning-rate", event["learning_rate"]
        yield "samples-per-s", event["samples_per_s"]
    elif event["event"] == "evaluation":
        yield f"loss/{event['split']}", event["loss"]
        yield f"accuracy/{event['split']}", event["accuracy"]
    elif event["event"] == "update":
        yield "drop-fraction", event["drop_fraction"]
        for parameter in event["parameters"]:
            for quantity in ["active", "dropped", "grown", "regrown", "explored"]:
                yield f"{quantity}/{parameter['name']}", parameter[quantity]


def compare(run):
    """What TensorBoard reads of a run must be what its log tells: no more, no less, no record twice."""
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    single = lambda x: struct.unpack("f", struct.pack("f", x))[0]
    expected = sorted((tag, event["step"], single(x)) for event in log for tag, x in shown(event))
    # What scripts read with; it purges scalars only.
    board = event_accumulator.EventAccumulator(str(run), size_guidance={"scalars": 0, "tensors": 0})
    board.Reload()
    found = sorted((tag, e.step, e.value) for tag in board.Tags()["scalars"] for e in board.Scalars(tag))
    assert found == expected, f"{run}: {set(found) ^ set(expected)}, {len(found)} and {len(expected)} values"
    # What TensorBoard itself reads with; to it all values are tensors.
    board = plugin_event_accumulator.EventAccumulator(str(run), tensor_size_guidance={"scalars": 0, "text": 0})
    board.Reload()
    scalars, texts = (board.PluginTagToContent(plugin) for plugin in ["scalars", "text"])
    values = [(tag, e.step, e.tensor_proto.float_val[0]) for tag in scalars for e in board.Tensors(tag)]
    assert sorted(values) == expected, f"{run}: {set(values) ^ set(expected)}"
    texts = {tag: [e.tensor_proto.string_val[0].decode() for e in board.Tensors(tag)] for tag in texts}
    assert sorted(texts) == ["configuration", "network", "run"], list(texts)
    assert all(len(found) == 1 for found in texts.values()), f"{run}: a text is there twice"
    assert log[0]["configuration"].strip() in texts["configuration"][0]
    files = event_files(run)
    for number, name in enumerate(files):
        assert re.fullmatch(r"events\.out\.tfevents\.\d{10}\.[\w-]+\.\d+\." + str(number), name), name
    print(f"{run.name}: {len(found)} values in {len(files)} files are those of the log")
    return len(files)


def check(rigl):
    rigl = Path(rigl).resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "my.toml").write_text(CONFIG)
        train = lambda *arguments: [rigl, "train", *arguments, "--threads", "1", "-q"]
        subprocess.run(train("my.toml", "--run-dir", "whole"), cwd=folder, check=True, capture_output=True)
        assert compare(folder / "whole") == 1
        for name, end in [("killed", signal.SIGKILL), ("interrupted", signal.SIGINT)]:
            run, breaks = folder / name, 0
            while not (run / "summary.json").exists():
                arguments = ["--resume", name] if (run / "config.toml").exists() else ["my.toml", "--run-dir", name]
                process = subprocess.Popen(train(*arguments), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                if breaks < 6:
                    while process.poll() is None and (len(event_files(run)) <= breaks or not checkpoints(run)):
                        time.sleep(0.001)
                    time.sleep(0.05 + 0.1 * breaks)
                    process.send_signal(end)
                    breaks += process.wait() != 0
                elif process.wait() != 0:
                    sys.exit(f"{name}: going on with it failed")
            assert compare(run) == breaks + 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["golden"]:
            golden()
        case ["check", rigl]:
            check(rigl)
        case _:
            sys.exit(__doc__)
