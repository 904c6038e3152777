/**
 * A client of Antiphon's /ws/audio: connect, reconnect, record, events, cancel.
 *
 * One module without dependencies, to copy into any front end. docs/PROTOCOL.md has the messages.
 *
 *     const client = new AntiphonClient("wss://example.org/ws/audio", {
 *       events: ["vad", "partial", "transcript", "token"],
 *     });
 *     client.on("response_delta", ({ text }) => show(text));
 *     client.connect();
 *     await client.startRecording();   // asks for the microphone
 *     await client.stopRecording();    // the last blob, then segment_end
 *
 * Every message of the server is an event of its own type. Besides them:
 *
 *     state       { state, reason, retryMs }   connecting, open, waiting (to retry) or closed
 *                                              (reason "idle": `connect` again when it is needed)
 *     microphone  { stream, lost }             the MediaStream in use, or null; lost: unplugged
 *     replayed    { segments }                 unanswered segments were sent again
 *     latency     { stage, ms }                handshake, or chunk (sent until acknowledged)
 */

const BACKOFF_MS = { first: 500, longest: 5_000 };
const CLOSE = { tooBig: 1009, tryAgainLater: 1013, idle: 4002 };
const MAX_KEPT_BYTES = 4_000_000;
const MAX_UNSENT_BYTES = 4_000_000;
const TIMESLICE_MS = 100;
const MIME_TYPES = [
  "audio/webm;codecs=opus",
  "audio/ogg;codecs=opus",
  "audio/mp4;codecs=opus",
  "audio/mp4",
];

/** What this browser's MediaRecorder can make that the server understands, best first. */
export function bestMimeType() {
  return MIME_TYPES.find((type) => MediaRecorder.isTypeSupported(type)) ?? "";
}

export class AntiphonClient extends EventTarget {
  #url;
  #session;
  #socket = null;
  #state = "closed";
  #refusal = null;
  #isBusy = false; // the session could not be changed while a turn was unanswered
  #attempt = 0;
  #connectingSince = 0;
  #sentAt = []; // times of audio that is not acknowledged yet, oldest first
  #retryTimer = 0;
  #wanted = false; // should record, even if the microphone is still being asked for
  #stream = null;
  #deviceId = "";
  #recorder = null;
  #stopping = Promise.resolve(); // the last recording's last blob goes out before the next's first
  #unanswered = []; // segments to send again after a reconnect: { blobs, bytes, ended }

  /** `session` holds the optional fields of the protocol's session message. */
  constructor(url, session = {}) {
    super();
    this.#url = url;
    this.#session = { session_id: randomId(), ...session };
  }

  get state() {
    return this.#state;
  }

  get recording() {
    return this.#wanted;
  }

  get hasMicrophone() {
    return this.#stream !== null;
  }

  /** Segments that will be sent again if the connection drops now. */
  get unanswered() {
    return this.#unanswered.length;
  }

  get sessionId() {
    return this.#session.session_id;
  }

  /** Call `listener(detail)` for each event of this type; returns a function that stops it. */
  on(type, listener) {
    const wrapped = (event) => listener(event.detail);
    this.addEventListener(type, wrapped);
    return () => this.removeEventListener(type, wrapped);
  }

  // ---- connection ------------------------------------------------------------------------

  /** Connect, and stay connected until `close`. Also cuts a wait for the next try short. */
  connect() {
    if (this.#socket) return;
    clearTimeout(this.#retryTimer);
    this.#refusal = null;
    this.#setState("connecting");
    this.#connectingSince = performance.now();
    this.#sentAt = [];
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.onopen = () => this.#sendSession();
    socket.onmessage = (event) => this.#receive(JSON.parse(event.data));
    socket.onclose = (event) => this.#closed(socket, event);
  }

  close() {
    clearTimeout(this.#retryTimer);
    const socket = this.#socket;
    this.#socket = null;
    this.#unanswered = [];
    socket?.close(1000);
    this.releaseMicrophone();
    this.#setState("closed");
  }

  /** Change fields of the session: now, or as soon as the turns under way are answered. */
  configure(session) {
    Object.assign(this.#session, session);
    if (this.#state === "open") this.#sendSession();
  }

  // ---- speaking --------------------------------------------------------------------------

  /** Record the microphone into the session. Rejects with the browser's DOMException. */
  async startRecording({ deviceId = "" } = {}) {
    if (this.#wanted) return;
    this.#wanted = true;
    try {
      await this.#stopping;
      await this.#openMicrophone(deviceId);
    } catch (error) {
      this.#wanted = false;
      throw error;
    }
    if (this.#wanted) this.#startRecorder();
  }

  /** Stop; when the recorder has given its last blob, end the segment (unless told not to). */
  async stopRecording({ endSegment = true } = {}) {
    this.#wanted = false;
    if (!this.#recorder) return this.#stopping;
    this.#stopping = this.#stopRecorder().then(() => {
      if (endSegment) this.endSegment();
    });
    return this.#stopping;
  }

  /** Give the microphone back to the system: the browser's sign of recording goes out. */
  releaseMicrophone() {
    this.#wanted = false;
    this.#discardRecorder();
    if (!this.#stream) return;
    for (const track of this.#stream.getTracks()) track.stop();
    this.#stream = null;
    this.#emit("microphone", { stream: null, lost: false });
  }

  /** A piece of a recording (Blob or ArrayBuffer), for front ends that record by themselves. */
  sendAudio(data) {
    this.#keep(data);
    if (this.#state === "open") this.#send(data);
  }

  /** The turn is over; a chatbot_response follows. */
  endSegment() {
    const segment = this.#unanswered.at(-1);
    if (segment) segment.ended = true;
    if (this.#state === "open") this.#send({ type: "segment_end" });
  }

  /**
   * Stop the reply to `turn`, or the oldest in flight: the user speaks over it, or has heard enough.
   * The number keeps a cancel that comes too late from stopping the next turn.
   */
  cancel(turn = null) {
    if (this.#state === "open") this.#send({ type: "cancel", turn });
  }

  // ---- within ----------------------------------------------------------------------------

  #sendSession() {
    this.#send({ type: "session", ...this.#session });
  }

  #send(message) {
    const isAudio = message instanceof Blob || message instanceof ArrayBuffer;
    if (isAudio) this.#sentAt.push(performance.now());
    this.#socket.send(isAudio ? message : JSON.stringify(message));
    if (this.#socket.bufferedAmount > MAX_UNSENT_BYTES) this.#socket.close(4000, "stalled");
  }

  #receive(message) {
    if (message.type === "session_ack" && this.#state !== "open") this.#opened();
    if (message.type === "chunk_received" && this.#sentAt.length) {
      this.#emitLatency("chunk", this.#sentAt.shift());
    }
    if (message.type === "segment_processed" && this.#unanswered[0]?.ended) {
      this.#unanswered.shift();
    }
    if (message.type === "error" && this.#state === "connecting") this.#refusal = message;
    if (message.code === "busy") this.#isBusy = true;
    if (message.type === "segment_processed" && this.#isBusy) {
      this.#isBusy = false;
      this.#sendSession();
    }
    this.#emit(message.type, message);
  }

  #opened() {
    this.#attempt = 0;
    this.#setState("open");
    this.#emitLatency("handshake", this.#connectingSince);
    this.#replay();
    // With the server's endpointing nothing was kept: the new socket needs a new header.
    if (this.#recorder && !this.#keeps()) {
      this.#discardRecorder();
      this.#startRecorder();
    }
  }

  #closed(socket, { code, reason }) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    if (code === CLOSE.tooBig) this.#unanswered = [];
    const isFinal = code === 1008 || (code > 4000 && code < 5000);
    if (isFinal) {
      this.releaseMicrophone();
      this.#setState("closed", { reason: code === CLOSE.idle ? "idle" : reason || "refused" });
      return;
    }
    const full = code === CLOSE.tryAgainLater || this.#refusal?.code === "overloaded";
    const retryMs = Math.max(this.#backoffMs(), this.#refusal?.retry_after_ms ?? 0);
    this.#retryTimer = setTimeout(() => this.connect(), retryMs);
    this.#setState("waiting", { reason: full ? "full" : "dropped", retryMs });
  }

  /** Exponential, with jitter, so that a server's many clients do not come back as one. */
  #backoffMs() {
    const step = Math.min(BACKOFF_MS.first * 2 ** this.#attempt, BACKOFF_MS.longest);
    this.#attempt += 1;
    return Math.round(step * (0.75 + Math.random() / 2));
  }

  /** With the server's endpointing only the server knows where segments end: none is kept. */
  #keeps() {
    return this.#session.endpointing !== "server";
  }

  #keep(data) {
    if (!this.#keeps()) return;
    let segment = this.#unanswered.at(-1);
    if (!segment || segment.ended) {
      segment = { blobs: [], bytes: 0, ended: false };
      this.#unanswered.push(segment);
    }
    segment.blobs.push(data);
    segment.bytes += data.size ?? data.byteLength;
    const kept = () => this.#unanswered.reduce((sum, { bytes }) => sum + bytes, 0);
    while (kept() > MAX_KEPT_BYTES) this.#unanswered.shift();
  }

  #replay() {
    const segments = this.#unanswered.length;
    for (const { blobs, ended } of this.#unanswered) {
      for (const blob of blobs) this.#send(blob);
      if (ended) this.#send({ type: "segment_end" });
    }
    if (segments) this.#emit("replayed", { segments });
  }

  async #openMicrophone(deviceId) {
    if (this.#stream?.active && deviceId === this.#deviceId) return;
    const wanted = this.#wanted;
    this.releaseMicrophone();
    this.#wanted = wanted;
    const audio = { channelCount: 1, echoCancellation: true, noiseSuppression: true };
    if (deviceId) audio.deviceId = { exact: deviceId };
    this.#stream = await navigator.mediaDevices.getUserMedia({ audio });
    this.#deviceId = deviceId;
    for (const track of this.#stream.getTracks()) track.onended = () => this.#lostMicrophone();
    this.#emit("microphone", { stream: this.#stream, lost: false });
  }

  async #lostMicrophone() {
    this.#stream = null;
    await this.stopRecording();
    this.#emit("microphone", { stream: null, lost: true });
  }

  #startRecorder() {
    const recorder = new MediaRecorder(this.#stream, { mimeType: bestMimeType() });
    recorder.ondataavailable = ({ data }) => {
      if (data.size) this.sendAudio(data);
    };
    recorder.start(TIMESLICE_MS);
    this.#recorder = recorder;
  }

  async #stopRecorder() {
    const recorder = this.#recorder;
    this.#recorder = null;
    if (!recorder || recorder.state === "inactive") return;
    const stopped = new Promise((resolve) => recorder.addEventListener("stop", resolve));
    recorder.stop();
    await stopped;
  }

  /** Without its last blob: that belongs to a socket or a turn that is gone. */
  #discardRecorder() {
    if (!this.#recorder) return;
    this.#recorder.ondataavailable = null;
    if (this.#recorder.state !== "inactive") this.#recorder.stop();
    this.#recorder = null;
  }

  #setState(state, { reason = "", retryMs = 0 } = {}) {
    this.#state = state;
    this.#emit("state", { state, reason, retryMs });
  }

  #emitLatency(stage, since) {
    this.#emit("latency", { stage, ms: performance.now() - since });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
