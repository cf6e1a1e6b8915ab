"""Every name and signature of TensorRT and CUDA that defnet uses exists, in TensorRT 10 and in 11."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tensorrt.bindings import WHY_NONE, Bindings, installed
from tests.tensorrt.facts import Facts, facts_of, mistake, names_used
from tests.tensorrt.uses import all_uses, uses_of

RECORD: dict[str, Facts] = json.loads((Path(__file__).parent / "signatures.json").read_text(encoding="utf-8"))


def uses(module: str):
    return [use for use in all_uses() if use.module == module]


@pytest.mark.parametrize("version", RECORD)
def test_every_use_of_tensorrt_fits_the_recorded_signatures(version: str) -> None:
    mistakes = [text for use in uses("trt") if (text := mistake(use, RECORD[version]))]
    assert not mistakes, "\n".join(mistakes)


def test_the_record_spans_the_versions_that_the_extra_allows() -> None:
    majors = {tuple(map(int, version.split(".")[:2])) for version in RECORD}
    assert min(majors) == (10, 12) and max(majors) >= (11, 4)


@pytest.mark.parametrize("bindings", installed() or [None], ids=str)
def test_every_use_of_tensorrt_fits_the_real_bindings(bindings: Bindings | None, tmp_path: Path) -> None:
    if bindings is None:
        pytest.skip(WHY_NONE)
    result = bindings.run(["-m", "tests.tensorrt.facts"], tmp_path)
    assert result.returncode == 0, result.stderr
    real = json.loads(result.stdout)
    mistakes = [text for use in uses("trt") if (text := mistake(use, real["facts"]))]
    assert not mistakes, "\n".join(mistakes)
    assert real["facts"] == RECORD.get(real["version"], real["facts"]), "the record is not what the bindings say"


def test_every_use_of_cuda_fits_the_real_bindings() -> None:
    cudart = pytest.importorskip("cuda.bindings.runtime", reason="needs: pip install cuda-bindings")
    facts = facts_of(cudart, names_used("cudart"))
    mistakes = [text for use in uses("cudart") if (text := mistake(use, facts))]
    assert not mistakes, "\n".join(mistakes)
    properties = cudart.cudaDeviceProp()
    assert isinstance(properties.name, bytes)
    assert properties.major == properties.minor == 0
    assert cudart.cudaError_t.cudaSuccess.value == 0
    assert int(cudart.cudaStream_t(77)) == 77, "a stream is handed to TensorRT as a number"


def test_the_reader_sees_the_calls_that_matter() -> None:
    found = {use.name for use in uses("trt")}
    assert {"Builder.build_serialized_network", "OnnxParser.parse", "IExecutionContext.execute_async_v3"} <= found
    assert {"IProgressMonitor.step_complete", "ILogger.log", "Runtime.deserialize_cuda_engine"} <= found
    assert len(found) > 50
    assert {"cudaGraphLaunch", "cudaMemcpyAsync"} <= {use.name for use in uses("cudart")}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("config.set_flag(trt.BuilderFlag.FP16)", "BuilderFlag.FP16 does not exist"),
        ("config.max_workspace_size = 1", "max_workspace_size does not exist"),
        ("config.set_timing_cache(cache)", "takes"),
        ("config.set_timing_cache(cache, ignore_missmatch=False)", "takes"),
        ("self._context.execute_async_v3(bindings, stream)", "takes"),
        ("context.engine = engine", "cannot be set"),
        ("made(trt.OnnxParser, network, reason=reason)", "takes"),
        ("class L(trt.ILogger):\n    def log(self, severity, message): ...", "takes"),
    ],
)
def test_a_use_that_is_wrong_is_found(line: str, complaint: str) -> None:
    facts = RECORD["11.4.0.106"]
    found = [text for use in uses_of(line) if (text := mistake(use, facts))]
    assert any(complaint in text for text in found), found
