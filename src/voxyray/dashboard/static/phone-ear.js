// The caller's words: the browser's speech recognition, kept running while it is wanted.

const Recognition = window.SpeechRecognition ?? window.webkitSpeechRecognition;
const AGAIN_AFTER_MS = 250;
const MOST_FAILURES = 5; // in a row, without a word between

const TROUBLE = {
  "not-allowed": "the microphone was not allowed. Allow it in the address bar, then switch it on again",
  "service-not-allowed": "the browser does not allow its speech service on this page",
  "audio-capture": "no microphone was found",
  "network": "the browser's speech service cannot be reached",
  "language-not-supported": "the browser does not know this language",
};

// Says why this browser cannot listen; empty if it can.
export function whyDeaf() {
  if (!window.isSecureContext) return "a page may listen only over https:// or on localhost";
  if (!Recognition) return "it has no speech recognition; Chrome, Edge and Safari have";
  return "";
}

// Tells whether the browser recognises this language without sending the voice anywhere.
export async function listensHere(lang) {
  try {
    const state = await Recognition.available({ langs: [lang], processLocally: true });
    return state === "available";
  } catch {
    return false;
  }
}

export class Ear {
  trouble = "";
  #recognition = null;
  #wanted = false;
  #failures = 0;
  #interim = false;
  #tell;
  #lang = "en-US";
  #here = false;

  // tell: words(text, last), silence(), changed().
  constructor(tell) {
    this.#tell = tell;
  }

  get listening() {
    return this.#wanted;
  }

  async start(lang) {
    this.trouble = whyDeaf();
    this.#wanted = !this.trouble;
    this.#failures = 0;
    if (this.#wanted) {
      this.#lang = lang;
      this.#here = await listensHere(lang);
      if (this.#wanted) this.#begin();
    }
    this.#tell.changed();
  }

  stop() {
    this.#wanted = false;
    const recognition = this.#recognition;
    this.#recognition = null;
    recognition?.abort();
    this.#nothing();
    this.#tell.changed();
  }

  speakLanguage(lang) {
    if (lang === this.#lang || !this.#wanted) return;
    this.stop();
    this.start(lang);
  }

  #begin() {
    const recognition = new Recognition();
    this.#recognition = recognition;
    recognition.lang = this.#lang;
    recognition.continuous = true;
    recognition.interimResults = true;
    recognition.maxAlternatives = 1;
    if (this.#here) recognition.processLocally = true;
    const mine = (act) => (event) => {
      if (this.#recognition === recognition) act(event);
    };
    recognition.onresult = mine((event) => this.#take(event));
    recognition.onerror = mine((event) => this.#fail(event.error));
    recognition.onend = mine(() => this.#again());
    try {
      recognition.start();
    } catch {
      this.#fail("audio-capture");
    }
  }

  #take(event) {
    this.#failures = 0;
    let interim = "";
    for (let index = event.resultIndex; index < event.results.length; index += 1) {
      const result = event.results[index];
      const text = result[0].transcript;
      if (!result.isFinal) {
        interim += text;
      } else if (text.trim()) {
        this.#interim = false;
        this.#tell.words(text.trim(), true);
      }
    }
    if (interim.trim()) {
      this.#interim = true;
      this.#tell.words(interim.trim(), false);
    }
  }

  #fail(error) {
    this.#failures += 1;
    if (error in TROUBLE || this.#failures >= MOST_FAILURES) {
      this.trouble = TROUBLE[error] ?? `speech recognition failed (${error})`;
      this.stop();
    }
  }

  // Recognition ends by itself after some silence: a telephone does not.
  #again() {
    this.#nothing();
    if (!this.#wanted) return;
    setTimeout(() => {
      if (this.#wanted) this.#begin();
    }, AGAIN_AFTER_MS);
  }

  #nothing() {
    if (this.#interim) this.#tell.silence();
    this.#interim = false;
  }
}

// Tells whether the microphone only heard the agent: nearly all words, in the order it spoke them.
// Once it is silent, short answers are the caller's, even in its own words: "Pickup or delivery?"
export function isEcho(heard, spoken, stillTalking) {
  const words = plain(heard);
  const source = plain(spoken);
  if (!words.length || !source.length) return false;
  if (!stillTalking && words.length < 2) return false;
  if (!stillTalking && words.length === 2) return source.slice(-2).join() === words.join();
  let found = 0;
  let from = 0;
  for (const word of words) {
    const at = source.indexOf(word, from);
    if (at < 0) continue;
    found += 1;
    from = at + 1;
  }
  return found / words.length >= 0.8;
}

function plain(text) {
  return text.toLowerCase().match(/[\p{L}\p{N}']+/gu) ?? [];
}
