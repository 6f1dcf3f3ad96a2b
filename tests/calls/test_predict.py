"""What data are made into before an endpoint is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import awsllm
from awsllm.calls.predict import prepare_predict, read_data
from awsllm.types import Audio, Bytes, Image
from awsllm.types.predict import Series, Tensor

PNG, WAV = b"\x89PNG\r\n\x1a\n....", b"RIFF....WAVE"


class Frame:
    """What there is of a pandas frame here."""

    def to_csv(self, *, header: bool, index: bool) -> str:
        assert not header
        assert not index
        return "1,a\n"


@pytest.mark.parametrize(
    ("data", "task", "members"),
    [
        ("Hi", None, {"texts": ("Hi",)}),
        (("a", "b"), None, {"texts": ("a", "b")}),
        (PNG, None, {"media": PNG, "media_type": "image/png"}),
        (WAV, None, {"media": WAV, "media_type": "audio/wav"}),
        (b"unknown", None, {"media": b"unknown", "media_type": None}),
        (Image("jpeg", Bytes(b"x")), None, {"media": b"x", "media_type": "image/jpeg"}),
        (Audio("flac", Bytes(b"x")), None, {"media": b"x", "media_type": "audio/flac"}),
        (Frame(), None, {"texts": ("1,a\n",)}),
        ([[1, "a"], [2, "b"]], None, {"rows": ((1, "a"), (2, "b")), "series": ()}),
        (["a", "b"], "tabular_regression", {"rows": (("a", "b"),), "series": ()}),
        ([1, 2.5], "tabular_regression", {"rows": ((1, 2.5),), "series": ()}),
        ([1, 2.5], "forecasting", {"series": (Series(target=(1, 2.5)),)}),
        ([1, 2], None, {"rows": ((1, 2),), "series": (Series(target=(1, 2)),)}),
        (np.array([[1.0, 2.0]]), "tabular_regression", {"rows": ((1.0, 2.0),), "series": ()}),
        (
            {"target": [1, None], "item_id": "a", "covariate": [0]},
            None,
            {"series": (Series(target=(1.0, None), item_id="a", extra={"covariate": [0]}),)},
        ),
        ([{"target": np.array([1.0])}], None, {"series": (Series(target=(1.0,)),)}),
        ({"sequences": "a"}, None, {"body": {"sequences": "a"}}),
        (
            {"x": [[1, 2]], "y": ["a"], "z": [True], "w": [0.5]},
            "tensors",
            {
                "tensors": (
                    Tensor(name="x", shape=(1, 2), datatype="INT64", data=(1, 2)),
                    Tensor(name="y", shape=(1,), datatype="BYTES", data=("a",)),
                    Tensor(name="z", shape=(1,), datatype="BOOL", data=(True,)),
                    Tensor(name="w", shape=(1,), datatype="FP32", data=(0.5,)),
                )
            },
        ),
        (
            {"x": np.array([[1, 2]], dtype=">i2")},
            None,
            {"tensors": (Tensor(name="x", shape=(1, 2), datatype="INT16", data=b"\1\0\2\0"),)},
        ),
    ],
)
def test_data_by_what_they_look_like(data: Any, task: str | None, members: Any) -> None:
    assert read_data(data, task) == members


def test_files_by_their_names_and_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2\n")
    (tmp_path / "a.bin").write_bytes(PNG)
    assert read_data(tmp_path / "a.csv") == {"texts": ("1,2\n",)}
    assert read_data(tmp_path / "a.bin") == {"media": PNG, "media_type": "image/png"}
    (tmp_path / "b.txt").write_bytes(b"\xff")
    for name, words in (("b.txt", "no text in UTF-8"), ("c.txt", "cannot read")):
        with pytest.raises(awsllm.ValidationError, match=words):
            read_data(tmp_path / name)


@pytest.mark.parametrize(
    ("data", "task", "words"),
    [
        (" ", None, "blank"),
        (b"", None, "empty"),
        ([], None, "empty"),
        (7, None, "not a int"),
        ([object()], None, "all of one kind"),
        ([[1], "a"], None, "all of one kind"),
        ({"a": object()}, None, "cannot be written as JSON"),
        ({"x": [[1], [1, 2]]}, "tensors", "of one length"),
        ({"x": [1, "a"]}, "tensors", "all of one kind"),
        ({"x": np.array(["a"])}, "tensors", "no tensor that Triton takes"),
        ([{"a": 1}], None, "with a target"),
    ],
)
def test_data_that_are_none_are_named(data: Any, task: str | None, words: str) -> None:
    with pytest.raises(awsllm.ValidationError, match=words):
        read_data(data, task)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: prepare_predict("bedrock:m.x", "a", None, {}), "predict is for sagemaker:"),
        (lambda: prepare_predict("ep", "a", "cooking", {}), "unknown task 'cooking'"),
        (lambda: prepare_predict("ep", "a", None, {"label": "x"}), "did you mean 'labels'"),  # type: ignore[typeddict-unknown-key]
        (lambda: prepare_predict("ep", "a", None, {"labels": "x"}), "labels is a list"),
        (lambda: prepare_predict("ep", "a", None, {"count": "2"}), "count is '2'"),  # type: ignore[typeddict-item]
    ],
)
def test_a_call_that_cannot_be_made_is_named(call: Any, words: str) -> None:
    with pytest.raises(awsllm.AwsllmError, match=words):
        call()


def test_endpoints_by_name_and_reference() -> None:
    for named in ("ep", "sagemaker:ep"):
        reference, request = prepare_predict(named, "a", "ner", {"labels": ["x"]})
        assert str(reference) == "sagemaker:ep"
        assert (request.task, request.labels) == ("named_entity_recognition", ("x",))
    assert str(prepare_predict("local:all-minilm-l6-v2", "a", None, {})[0]) == "local:all-minilm-l6-v2"
