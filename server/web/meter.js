/** The microphone's level as quiet bars around the talk button: newest in the middle. */

const FLOOR_DB = -60;
const STEP_MS = 50;
const GAP_PX = 6;
const BUTTON_PX = 46; // from the middle to where the talk button no longer hides a bar

export class LevelMeter {
  #canvas;
  #context = null;
  #analyser = null;
  #source = null;
  #samples = null;
  #levels = [];
  #frame = 0;
  #lastStep = 0;
  #still = matchMedia("(prefers-reduced-motion: reduce)");

  constructor(canvas) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.#fit()).observe(canvas);
  }

  /** Follow this stream, or nothing. */
  follow(stream) {
    this.#source?.disconnect();
    this.#source = null;
    cancelAnimationFrame(this.#frame);
    this.#levels = [];
    if (!stream) {
      this.#draw();
      return;
    }
    this.#context ??= new AudioContext();
    this.#context.resume();
    this.#analyser ??= new AnalyserNode(this.#context, { fftSize: 1024 });
    this.#samples = new Float32Array(this.#analyser.fftSize);
    this.#source = this.#context.createMediaStreamSource(stream);
    this.#source.connect(this.#analyser);
    this.#tick(performance.now());
  }

  /** Forget what was heard: the microphone is idle. */
  set active(active) {
    this.#canvas.classList.toggle("active", active);
  }

  #tick(now) {
    this.#frame = requestAnimationFrame((time) => this.#tick(time));
    if (now - this.#lastStep < STEP_MS) return;
    this.#lastStep = now;
    const bars = this.#barCount();
    const level = this.#level();
    // Without motion each bar is the present level: nothing travels.
    this.#levels = this.#still.matches
      ? Array(bars).fill(level)
      : [level, ...this.#levels].slice(0, bars);
    this.#draw();
  }

  /** 0 to 1, from the root mean square in decibels. */
  #level() {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    const power = this.#samples.reduce((sum, x) => sum + x * x, 0) / this.#samples.length;
    const db = 10 * Math.log10(power + 1e-12);
    const share = Math.min(1, Math.max(0, 1 - db / FLOOR_DB));
    return share ** 2; // so that speech moves the bars and a room's hum hardly does
  }

  #barCount() {
    return Math.max(0, Math.floor((this.#canvas.clientWidth / 2 - BUTTON_PX) / GAP_PX));
  }

  #fit() {
    this.#canvas.width = this.#canvas.clientWidth * devicePixelRatio;
    this.#canvas.height = this.#canvas.clientHeight * devicePixelRatio;
    this.#draw();
  }

  #draw() {
    const { width, height } = this.#canvas;
    const paint = this.#canvas.getContext("2d");
    paint.clearRect(0, 0, width, height);
    paint.fillStyle = getComputedStyle(this.#canvas).color;
    const bars = this.#barCount();
    for (let index = 0; index < bars; index += 1) {
      const size = Math.max(2, (this.#levels[index] ?? 0) * (height / devicePixelRatio));
      paint.globalAlpha = 1 - (index / bars) * 0.85;
      const away = (BUTTON_PX + index * GAP_PX) * devicePixelRatio;
      this.#bar(paint, width / 2 + away, size);
      this.#bar(paint, width / 2 - away, size);
    }
  }

  #bar(paint, x, size) {
    const [thick, tall] = [2 * devicePixelRatio, size * devicePixelRatio];
    paint.fillRect(x - thick / 2, (this.#canvas.height - tall) / 2, thick, tall);
  }
}
