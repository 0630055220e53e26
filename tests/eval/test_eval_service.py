"""The detector without Kafka says of rows what it says of records: order, gaps, memory and verdicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from eval import data
from eval.service import Service
from twinloop.contracts.models import ModelContract
from twinloop.trainer.errors import BadRecording
from twinloop.tritonio.onnx_file import digest


def counting() -> tuple[ModelContract, bytes]:
    """Remembers how many windows an asset has had: its score. Windows of 4 rows, every 2."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["windows"], ["features"], axes=[1], keepdims=0),
            helper.make_node("Identity", ["features"], ["deviations"]),
            helper.make_node("Add", ["memory", "one"], ["next_memory"]),
            helper.make_node("ReduceSum", ["next_memory", "last"], ["score"], keepdims=0),
        ],
        "counting",
        [
            helper.make_tensor_value_info("windows", TensorProto.FLOAT, ["N", 4, 1]),
            helper.make_tensor_value_info("memory", TensorProto.FLOAT, ["N", 1]),
        ],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
            *(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 1])
                for name in ("features", "deviations", "next_memory")
            ),
        ],
        [
            numpy_helper.from_array(np.ones(1, np.float32), "one"),
            numpy_helper.from_array(np.array([1], np.int64), "last"),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    onnx.checker.check_model(made)
    file = bytes(made.SerializeToString())
    contract = ModelContract(
        model="counting",
        version=0,
        signal_set="s.v1",
        signals=("a",),
        features=("a.mean",),
        window=4,
        hop=2,
        threshold=2.5,
        digest=digest(file),
        memory=1,
    )
    return contract, file


@pytest.mark.parametrize("frame_rows", [1, 2])
async def test_each_row_has_the_verdict_of_the_last_window_and_a_gap_begins_a_window_anew(
    tmp_path: Path, frame_rows: int
) -> None:
    service = Service(tmp_path)
    await service.serve(*counting(), "s.v1")
    one, other = np.zeros((9, 1), np.float32), np.zeros((200, 1), np.float32)
    said = await service.judge("s.v1", {"x": [one, one[:6]], "y": [other]}, frame_rows)
    first, second = said["x"]
    # Windows end at rows 3, 5 and 7; after the gap again at 3 and 5.
    assert first.score[3:8].tolist() == [1, 1, 2, 2, 3]
    assert np.isnan(first.score[:3]).all()
    assert first.alarmed.tolist() == [False] * 7 + [True] * 2
    assert second.score[3:].tolist() == [4, 4, 5]
    assert said["y"][0].score[-1] == 99
    again = await service.judge("s.v1", {"x": [one]}, frame_rows)
    assert again["x"][0].score[3] == 1


def test_without_data_it_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(BadRecording, match="TWINLOOP_DATA names no folder: set it"):
        data.root({})
    with pytest.raises(BadRecording, match="TWINLOOP_DATA names no folder"):
        data.root({"TWINLOOP_DATA": str(tmp_path / "away")})
    assert data.root({"TWINLOOP_DATA": str(tmp_path)}) == tmp_path


def test_channels_are_read_with_all_their_labels(tmp_path: Path) -> None:
    for part, rows in (("train", 30), ("test", 40)):
        (tmp_path / part).mkdir()
        np.savez(tmp_path / part / "P-2.npz", values=np.full((rows, 25), rows, np.float64))
    lines = (
        "chan_id,spacecraft,anomaly_sequences",
        'P-2,S,"[[20, 25]]"',
        'P-2,S,"[[5, 9]]"',
        'X-1,M,"[[1, 2]]"',
    )
    (tmp_path / "labeled_anomalies.csv").write_text("\n".join(lines))
    (channel,) = data.channels(tmp_path)
    assert (channel.name, channel.events) == ("P-2", ((5, 9), (20, 25)))
    assert (channel.train.shape, channel.test.shape, channel.test.dtype) == ((30, 1), (40, 1), np.float32)
    with pytest.raises(BadRecording):
        data.channels(tmp_path / "train")
