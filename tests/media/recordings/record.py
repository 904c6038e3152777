"""Make the recordings in this folder: synthetic speech through Chromium's ``MediaRecorder``.

Needs ``chromium`` and ``espeak-ng`` (Debian packages) and ``playwright`` (PyPI):

    python tests/media/recordings/record.py

Writes ``NAME.bin``, the recorder's blobs joined, and ``recordings.json`` with the sizes of the
blobs, in the order in which the browser gave them, and the browser's version.
"""

from __future__ import annotations

import base64
import http.server
import json
import subprocess
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
WORDS = "The quick brown fox jumps over the lazy dog, and the dog goes on sleeping."


@dataclass(frozen=True)
class Recipe:
    """One recording: how long, in which pieces, and where the recorder is paused (all ms)."""

    name: str
    mime_type: str
    length_ms: int = 3000
    timeslice_ms: int | None = 250
    pause_ms: tuple[int, int] | None = None  # paused at, for how long
    bits_per_second: int = 48_000


RECIPES = (
    Recipe("webm_opus", "audio/webm;codecs=opus"),
    Recipe("webm_opus_whole", "audio/webm;codecs=opus", timeslice_ms=None, length_ms=2000),
    Recipe("webm_opus_paused", "audio/webm;codecs=opus", pause_ms=(1000, 1500)),
    Recipe("webm_pcm", "audio/webm;codecs=pcm", length_ms=300, timeslice_ms=100),
    Recipe("mp4_opus", "audio/mp4;codecs=opus"),
    Recipe("mp4_opus_whole", "audio/mp4;codecs=opus", timeslice_ms=None, length_ms=2000),
    Recipe("mp4_opus_paused", "audio/mp4;codecs=opus", pause_ms=(1000, 1500)),
    Recipe("mp4_aac", "audio/mp4;codecs=mp4a.40.2"),
    Recipe("webm_video", "video/webm;codecs=vp8,opus", length_ms=1000, timeslice_ms=200),
    Recipe("webm_video_only", "video/webm;codecs=vp8", length_ms=500),
)

RECORD_JS = """
async (recipe) => {
  if (!MediaRecorder.isTypeSupported(recipe.mime_type)) return null;
  const constraints = {audio: {echoCancellation: false, noiseSuppression: false,
                               autoGainControl: false}};
  if (recipe.mime_type.startsWith("video")) constraints.video = {width: 160, height: 120};
  if (recipe.name.endsWith("video_only")) delete constraints.audio;
  const stream = await navigator.mediaDevices.getUserMedia(constraints);
  const recorder = new MediaRecorder(stream, {mimeType: recipe.mime_type,
                                              audioBitsPerSecond: recipe.bits_per_second,
                                              videoBitsPerSecond: 60000});
  const blobs = [];
  recorder.ondataavailable = (event) => blobs.push(event.data);
  const stopped = new Promise((resolve) => { recorder.onstop = resolve; });
  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  if (recipe.timeslice_ms) recorder.start(recipe.timeslice_ms); else recorder.start();
  if (recipe.pause_ms) {
    await wait(recipe.pause_ms[0]); recorder.pause();
    await wait(recipe.pause_ms[1]); recorder.resume();
  }
  await wait(recipe.length_ms);
  recorder.stop();
  await stopped;
  stream.getTracks().forEach((track) => track.stop());
  return Promise.all(blobs.map(async (blob) => {
    const bytes = new Uint8Array(await blob.arrayBuffer());
    let text = "";
    for (const byte of bytes) text += String.fromCharCode(byte);
    return btoa(text);
  }));
}
"""


def speak(path: Path) -> None:
    """Synthetic speech as a 48 kHz mono WAV file, which is what the fake microphone plays."""
    spoken = path.with_suffix(".spoken.wav")
    subprocess.run(["espeak-ng", "-a", "40", "-w", str(spoken), WORDS], check=True)
    with av.open(str(spoken)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("pcm_s16le", rate=48_000, layout="mono")
        resampler = av.AudioResampler(format="s16", layout="mono", rate=48_000)
        for frame in [*source.decode(audio=0), None]:
            for ready in resampler.resample(frame):
                target.mux(stream.encode(ready))
        target.mux(stream.encode(None))


def record(page: Page, recipe: Recipe) -> dict[str, Any] | None:
    blobs = page.evaluate(RECORD_JS, asdict(recipe))
    if blobs is None:
        print(f"{recipe.name}: this browser does not record {recipe.mime_type}")
        return None
    parts = [base64.b64decode(blob) for blob in blobs]
    (HERE / f"{recipe.name}.bin").write_bytes(b"".join(parts))
    sizes = [len(part) for part in parts]
    print(f"{recipe.name}: {sum(sizes)} bytes in {len(sizes)} blobs")
    return {"mime_type": recipe.mime_type, "blob_bytes": sizes}


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """An empty page: ``getUserMedia`` exists only in a secure context, which localhost is."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>record</title>")

    def log_message(self, *args: Any) -> None:
        pass


def main() -> None:
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), QuietHandler)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    made = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        speech = Path(folder) / "speech.wav"
        speak(speech)
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--headless", "--no-sandbox", "--disable-gpu",
                  "--disable-background-networking", "--use-fake-device-for-media-stream",
                  "--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={speech}"],
        )  # fmt: skip
        page = browser.new_page()
        page.goto(f"http://localhost:{site.server_port}/")
        for recipe in RECIPES:
            if entry := record(page, recipe):
                made[recipe.name] = entry
        index = {"browser": f"Chromium {browser.version}", "recordings": made}
        browser.close()
    (HERE / "recordings.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()
