/** The page: it joins the client, the talk button, the log and the instruments. */

import { AntiphonClient } from "./antiphon-client.js";
import { recallChoices, rememberChoices } from "./choices.js";
import { LatencyChart } from "./latency-chart.js";
import { ConversationLog } from "./log.js";
import { LevelMeter } from "./meter.js";
import { Sparkline, watchMetrics } from "./metrics.js";
import { TalkButton } from "./talk-button.js";
import * as words from "./words.js";

const EVENTS = ["vad", "partial", "transcript", "token", "timings"];
const KEEP_MICROPHONE_MS = 60_000;
const LATENCIES_KEPT = 25; // of which the median is shown
const LANGUAGES = "ar cs da de el en es fi fr he hi hu id it ja ko nl no pl pt ro ru sv tr uk vi zh";

const $ = (id) => document.getElementById(id);
// After the #, so that the token is never part of a request for the page, nor of its log.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const socketUrl = new URL("ws/audio", location.href);
socketUrl.hash = "";
if (token) socketUrl.searchParams.set("token", token);
socketUrl.protocol = location.protocol === "https:" ? "wss:" : "ws:";

const client = new AntiphonClient(socketUrl.href, { events: EVENTS });
const log = new ConversationLog($("turns"), $("turn-template"), $("empty"));
const chart = new LatencyChart($("latency"), $("latency-words"));
const meter = new LevelMeter($("meter"));
const talk = new TalkButton($("talk"), { on: startTalking, off: stopTalking, canHold: isPush });
const modes = document.querySelectorAll('input[name="mode"]');
let mode = "push"; // or "free"
const latencies = {}; // stage → ms, newest last
let hearsSpeech = false;
let releaseTimer = 0;
let wentIdle = false; // the server closed the connection because nothing was said

function isPush() {
  return mode === "push";
}

// ---- talking ---------------------------------------------------------------------------------

async function startTalking() {
  clearTimeout(releaseTimer);
  if (wentIdle) client.connect();
  if (isPush()) log.begin();
  bargeIn();
  showState();
  try {
    await openMicrophone();
    showNotice("microphone", "");
  } catch (error) {
    talk.set(false);
    log.dropUnspoken();
    showNotice("microphone", words.microphoneProblem(error));
    showState();
  }
}

/** The chosen one, which may be gone since it was chosen: then the default. */
async function openMicrophone() {
  try {
    await client.startRecording({ deviceId: $("device").value });
  } catch (error) {
    if (error.name !== "OverconstrainedError" || !$("device").value) throw error;
    $("device").value = "";
    await client.startRecording();
  }
}

async function stopTalking() {
  if (isPush()) {
    const wasRecording = client.recording && client.hasMicrophone;
    if (wasRecording) log.end();
    else log.dropUnspoken();
    releaseTimer = setTimeout(() => client.releaseMicrophone(), KEEP_MICROPHONE_MS);
    showState();
    await client.stopRecording();
  } else {
    await client.stopRecording({ endSegment: hearsSpeech });
    client.releaseMicrophone();
    hearsSpeech = false;
    showState();
  }
}

/** Whoever speaks over a reply has heard enough of it. */
function bargeIn() {
  const speaks = isPush() ? talk.isOn : hearsSpeech;
  if (speaks) stopReplies();
}

function stopReplies() {
  for (const row of log.repliesInFlight.filter(({ stopped }) => !stopped)) {
    row.stopped = true;
    client.cancel(row.turn);
  }
}

// ---- what the server says ----------------------------------------------------------------------

client.on("state", (detail) => {
  $("connection").dataset.state = detail.reason === "full" ? "full" : detail.state;
  $("connection-words").textContent = words.connectionWords(detail);
  wentIdle = detail.state === "closed" && detail.reason === "idle";
  if (detail.state === "connecting") return;
  showNotice("connection", words.connectionProblem(detail));
  if (detail.state === "waiting" || detail.state === "closed") {
    hearsSpeech = false;
    log.interrupt({ willReplay: isPush() && detail.state === "waiting" });
  }
  if (detail.state === "closed") talk.set(false);
  showState();
});

client.on("speech_started", () => {
  hearsSpeech = true;
  bargeIn();
  showState();
});

client.on("speech_stopped", () => {
  hearsSpeech = false;
  showState();
});

client.on("partial_transcription", (message) => {
  log.partial(message);
  showState();
});

client.on("transcription", (message) => {
  if (message.text) {
    log.transcript(message);
    announce(`You: ${message.text}`);
  }
  bargeIn();
  showState();
});

client.on("response_delta", (message) => log.delta(message));

client.on("chatbot_response", (message) => {
  const { asr, first_token: firstToken, total } = message.timings ?? {};
  const stages = { recognise: asr, firstToken, complete: total };
  if (!isPush() && message.error_code === "no_speech") {
    log.forget(message);
    return showState();
  }
  log.finish(message, stages);
  $("backend").textContent = message.backend_used;
  if (!message.error) chart.add(stages);
  announce(words.turnProblem(message) || `Antiphon: ${message.response}`);
  showState();
});

client.on("error", ({ code, message }) => {
  if (!["overloaded", "busy", "idle"].includes(code)) showNotice("server", `${message} (${code})`);
});

client.on("session_ack", () => showNotice("server", ""));

client.on("latency", ({ stage, ms }) => {
  const last = (latencies[stage] = [...(latencies[stage] ?? []), ms].slice(-LATENCIES_KEPT));
  const median = last.toSorted((one, other) => one - other)[Math.floor(last.length / 2)];
  $(stage).textContent = words.formatMs(median);
});

client.on("microphone", ({ stream, lost }) => {
  meter.follow(stream);
  if (stream) listDevices();
  if (lost) {
    talk.set(false);
    showNotice("microphone", words.MICROPHONE_LOST);
  }
  showState();
});

// ---- what the page shows -----------------------------------------------------------------------

const CAUSES = ["token", "connection", "microphone", "server"]; // the first that holds is read
const notices = new Map();

/** One notice a cause; an empty text takes it back. */
function showNotice(cause, text) {
  if (text) notices.set(cause, text);
  else notices.delete(cause);
  const shown = notices.get(CAUSES.find((name) => notices.has(name))) ?? "";
  $("notice").hidden = shown === "";
  if ($("notice").textContent !== shown) $("notice").textContent = shown;
}

function announce(text) {
  const line = document.createElement("p");
  line.textContent = text;
  $("announcer").append(line);
  while ($("announcer").children.length > 4) $("announcer").firstElementChild.remove();
}

function showState() {
  const state = presentState();
  $("hearing").dataset.hearing = state;
  $("hearing").textContent = words.HEARING[state];
  $("talk-words").textContent = words.TALK[mode][talk.isOn ? "on" : "off"];
  $("talk-hint").textContent = words.HINT[mode];
  $("invitation").textContent = words.INVITATION[mode];
  $("cancel").hidden = log.repliesInFlight.length === 0;
  meter.active = talk.isOn;
}

function presentState() {
  if (talk.isOn && hearsSpeech) return "speech";
  if (talk.isOn && client.state !== "open") return isPush() ? "kept" : "deaf";
  if (log.repliesInFlight.length) return "answering";
  if (log.isWaiting) return "waiting";
  if (!talk.isOn) return "off";
  return client.hasMicrophone ? "quiet" : "opening";
}

async function listDevices() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  if (!devices.some(({ label }) => label)) return; // nothing is told before the first permission
  const chosen = $("device").value;
  const inputs = devices.filter(({ kind, deviceId, label }) => {
    return kind === "audioinput" && label && deviceId !== "default";
  });
  const options = inputs.map(({ label, deviceId }) => new Option(label, deviceId));
  $("device").replaceChildren(new Option("Default microphone", ""), ...options);
  if (inputs.some(({ deviceId }) => deviceId === chosen)) $("device").value = chosen;
}

function listLanguages() {
  const names = new Intl.DisplayNames([navigator.language, "en"], { type: "language" });
  const options = LANGUAGES.split(" ").map((code) => new Option(names.of(code), code));
  options.sort((one, other) => one.text.localeCompare(other.text));
  $("language").append(...options);
}

function beginAsLeft() {
  const { mode: lastMode, language, device } = recallChoices();
  if (lastMode === "free") mode = lastMode;
  for (const input of modes) input.checked = input.value === mode;
  const known = [...$("language").options].some(({ value }) => value === language);
  $("language").value = known ? language : "";
  // Shown, and asked for, before the browser tells which microphones there are.
  if (device?.id) $("device").append(new Option(device.label, device.id, false, true));
  configureClient();
}

function configureClient() {
  const endpointing = isPush() ? "client" : "server";
  client.configure({ endpointing, language: $("language").value || null });
}

// ---- beginning -------------------------------------------------------------------------------

for (const input of modes) {
  input.addEventListener("change", async () => {
    if (talk.isOn) {
      talk.set(false);
      await stopTalking();
    }
    client.releaseMicrophone();
    mode = input.value;
    rememberChoices({ mode });
    configureClient();
    showState();
  });
}
$("language").addEventListener("change", () => {
  rememberChoices({ language: $("language").value });
  configureClient();
});
$("device").addEventListener("change", async () => {
  const { value: id, text: label } = $("device").selectedOptions[0];
  rememberChoices({ device: { id, label } });
  if (!talk.isOn) return;
  await client.stopRecording({ endSegment: isPush() });
  await startTalking();
});
$("cancel").addEventListener("click", stopReplies);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") stopReplies();
});
navigator.mediaDevices?.addEventListener("devicechange", listDevices);
window.addEventListener("online", () => client.connect());
if (matchMedia("(max-width: 60rem)").matches) $("instruments").open = false;

watchMetrics({
  sessions: new Sparkline($("sessions-chart"), $("sessions")),
  batch: new Sparkline($("batch-chart"), $("batch")),
  token,
  isWanted: () => $("instruments").open && !document.hidden,
  onRefused: (status) => {
    if (status === 401) showNotice("token", words.TOKEN_WANTED);
    $("metrics").hidden = true;
    $("metrics-off").hidden = false;
  },
});
listLanguages();
beginAsLeft();
showState();
client.connect();
