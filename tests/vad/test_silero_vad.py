from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from fake_queue import FakeQueue
from signals import FRAME, as_frames, corpus, voice_like

from engine.errors import ModelError
from engine.types import SAMPLE_RATE, Pcm
from engine.vad.silero import SileroVad, find_weights, load_weights
from kernels.graphs import buckets


def alone(vad: SileroVad, frames: Pcm, slot: int) -> npt.NDArray[np.float32]:
    return np.concatenate([vad.step(frame[None], np.array([slot])) for frame in frames])


@pytest.fixture(scope="module", params=["direct", "queued", "graphs"])
def made(request: pytest.FixtureRequest) -> SileroVad:
    """A CPU's way, and a GPU's without its graphs and with them."""
    if request.param == "direct":
        return SileroVad(8)
    return SileroVad(8, graphs=request.param == "graphs", queue=FakeQueue())


@pytest.fixture
def vad(made: SileroVad) -> SileroVad:
    for slot in range(8):
        made.reset(slot)
    return made


def reference(frames: Pcm) -> npt.NDArray[np.float32]:
    """Probabilities of the package's own TorchScript model."""
    model = torch.jit.load(str(find_weights()))
    with torch.inference_mode():
        probabilities = [model(torch.from_numpy(f.copy())[None], SAMPLE_RATE) for f in frames]
    return torch.cat(probabilities)[:, 0].numpy()


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated")
def test_equals_the_packages_own_model(vad: SileroVad) -> None:
    speech = [pcm[: 20 * SAMPLE_RATE] for pcm, _ in corpus("vad")[:2]]
    for pcm in [voice_like(6.0), *speech]:
        frames = as_frames(pcm)
        vad.reset(3)
        probabilities = alone(vad, frames, 3)
        assert np.ptp(probabilities) > 0.05  # the signal moves the model
        np.testing.assert_allclose(probabilities, reference(frames), atol=1e-4)


def test_batched_equals_alone(vad: SileroVad) -> None:
    streams = [as_frames(voice_like(2.0, seed)) for seed in range(5)]
    slots = np.array([6, 0, 3, 7, 1])
    batched = np.stack([vad.step(np.stack(column), slots) for column in zip(*streams, strict=True)])
    for row, frames in enumerate(streams):
        np.testing.assert_allclose(alone(vad, frames, 2), batched[:, row], atol=1e-5)
        vad.reset(2)


def test_slots_that_sit_out_keep_their_state(vad: SileroVad) -> None:
    first, second = as_frames(voice_like(2.0, 1)), as_frames(voice_like(2.0, 2))
    expected = alone(vad, first, 0)
    vad.reset(0)
    half = len(first) // 2
    before = alone(vad, first[:half], 0)
    alone(vad, second, 1)
    after = alone(vad, first[half:], 0)
    np.testing.assert_array_equal(np.concatenate([before, after]), expected)


def test_reset_forgets(vad: SileroVad) -> None:
    frames = as_frames(voice_like(2.0))
    expected = alone(vad, frames, 4)
    assert not np.array_equal(alone(vad, frames, 4), expected)  # the past matters
    vad.reset(4)
    np.testing.assert_array_equal(alone(vad, frames, 4), expected)


def test_reset_touches_no_other_slot(vad: SileroVad) -> None:
    frames = as_frames(voice_like(2.0))
    expected = alone(vad, frames, 4)
    vad.reset(4)
    before = alone(vad, frames[:20], 4)
    vad.reset(5)
    np.testing.assert_array_equal(np.concatenate([before, alone(vad, frames[20:], 4)]), expected)


def test_warmup_leaves_no_trace(vad: SileroVad) -> None:
    frames = as_frames(voice_like(1.0))
    expected = alone(vad, frames, 0)
    vad.warmup()
    np.testing.assert_array_equal(alone(vad, frames, 0), expected)


def test_no_active_slot_is_no_work(vad: SileroVad) -> None:
    none = vad.step(np.zeros((0, FRAME), np.float32), np.zeros(0, np.int64))
    assert none.shape == (0,)


def test_frames_that_numpy_holds_read_only_are_accepted(vad: SileroVad) -> None:
    frame = as_frames(voice_like(1.0))[10][None]
    expected = vad.step(frame, np.array([0]))
    vad.reset(0)
    view = np.frombuffer(frame.tobytes(), np.float32).reshape(1, FRAME)
    assert not view.flags.writeable
    np.testing.assert_array_equal(vad.step(view, np.array([0])), expected)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "silero_vad.jit"
    path.write_bytes(b"not a model")
    with pytest.raises(ModelError, match="does not hold Silero VAD"):
        load_weights(path, "cpu")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.vad.silero.find_spec", lambda _: None)
    with pytest.raises(ModelError, match="silero-vad"):
        find_weights()


def test_a_step_of_a_gpu_waits_once_and_prepares_every_size() -> None:
    queue = FakeQueue()
    vad = SileroVad(20, queue=queue)
    vad.warmup()
    captured = len(queue.graphs)
    assert captured == len(buckets(20))
    for n in (1, 3, 9, 20):
        before = queue.waits
        vad.step(np.zeros((n, FRAME), np.float32), np.arange(n))
        assert queue.waits == before + 1
    assert len(queue.graphs) == captured


def test_a_graph_that_is_captured_late_leaves_no_trace() -> None:
    """Capturing runs the step as well; nobody's state may advance by it."""
    frames = as_frames(voice_like(1.0))
    late, prepared = SileroVad(8, queue=FakeQueue()), SileroVad(8, queue=FakeQueue())
    prepared.warmup()
    np.testing.assert_array_equal(alone(late, frames, 5), alone(prepared, frames, 5))
    rows = np.stack([frames[3]] * 3)
    slots = np.array([5, 1, 7])
    np.testing.assert_array_equal(late.step(rows, slots), prepared.step(rows, slots))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("graphs", [False, True])
def test_cuda_equals_cpu(graphs: bool) -> None:
    frames = as_frames(voice_like(3.0))
    on_gpu = SileroVad(3, "cuda", graphs=graphs)
    on_gpu.warmup()
    np.testing.assert_allclose(alone(on_gpu, frames, 1), alone(SileroVad(1), frames, 0), atol=1e-4)
