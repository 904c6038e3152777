/**
 * One button for every hand: held it talks while it is held, tapped it talks until the next tap,
 * and a click that no pointer or key made (a screen reader's) is a tap. The space bar works
 * anywhere on the page where it has no other meaning.
 */

const HOLD_MS = 350;
const TAKES_SPACE = "input, select, textarea, button, summary, a[href]";

export class TalkButton {
  #button;
  #handlers;
  #isOn = false;
  #pressedAt = null;
  #ignoreClick = false;

  /** `handlers`: `on()`, `off()`, and `canHold()`: false where only taps count. */
  constructor(button, handlers) {
    this.#button = button;
    this.#handlers = handlers;
    button.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      button.setPointerCapture(event.pointerId);
      this.#press();
    });
    button.addEventListener("pointerup", () => this.#release());
    button.addEventListener("pointercancel", () => {
      this.#ignoreClick = false; // no click follows
      this.#release();
    });
    button.addEventListener("click", () => this.#click());
    button.addEventListener("contextmenu", (event) => event.preventDefault());
    document.addEventListener("keydown", (event) => this.#keyDown(event));
    document.addEventListener("keyup", (event) => this.#keyUp(event));
    window.addEventListener("blur", () => this.#release());
  }

  get isOn() {
    return this.#isOn;
  }

  /** Show on or off without calling the handlers: the microphone was refused or lost. */
  set(isOn) {
    this.#isOn = isOn;
    this.#pressedAt = null;
    this.#button.setAttribute("aria-pressed", String(isOn));
  }

  #toggle(isOn) {
    this.set(isOn);
    if (isOn) this.#handlers.on();
    else this.#handlers.off();
  }

  #press() {
    this.#ignoreClick = true;
    if (this.#isOn) {
      this.#toggle(false);
      return;
    }
    this.#toggle(true);
    this.#pressedAt = performance.now();
  }

  #release() {
    if (this.#pressedAt === null) return;
    const held = performance.now() - this.#pressedAt >= HOLD_MS;
    this.#pressedAt = null;
    if (held && this.#isOn && this.#handlers.canHold()) this.#toggle(false);
  }

  #click() {
    if (this.#ignoreClick) {
      this.#ignoreClick = false;
      return;
    }
    this.#toggle(!this.#isOn);
  }

  #isOurs(event) {
    const onButton = event.target === this.#button;
    if (event.key === "Enter") return onButton;
    return event.key === " " && (onButton || !event.target.closest?.(TAKES_SPACE));
  }

  #keyDown(event) {
    if (!this.#isOurs(event) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (!event.repeat) this.#press();
  }

  #keyUp(event) {
    if (!this.#isOurs(event)) return;
    event.preventDefault();
    this.#ignoreClick = false;
    this.#release();
  }
}
