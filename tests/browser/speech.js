// A browser's voice and ear, played by the test: they behave as Chromium's do, on a clock of their
// own. `stub.words(3)` lets the voice speak three words, `stub.flow(20)` lets it run, a word every
// 20 ms; `stub.hear("I'd like", false)` is an interim result of the recogniser.

(() => {
  const event = (type, fields) => Object.assign(new Event(type), fields);
  const later = (act) => queueMicrotask(act);

  class Utterance {
    constructor(text = "") {
      Object.assign(this, { text, lang: "", voice: null, volume: 1, rate: 1, pitch: 1 });
      for (const name of ["start", "boundary", "end", "error", "pause", "resume", "mark"]) this[`on${name}`] = null;
    }
    tell(type, fields) {
      this[`on${type}`]?.(event(type, { utterance: this, charIndex: 0, elapsedTime: 0, name: "", ...fields }));
    }
  }

  const voices = [
    { name: "Clara", lang: "en-US", localService: true, default: true, voiceURI: "clara" },
    { name: "Wolke", lang: "de-DE", localService: false, default: false, voiceURI: "wolke" },
  ];

  class Synthesis extends EventTarget {
    queue = [];
    current = null; // { utterance, words, next }
    paused = false;
    failure = "";
    get speaking() {
      return this.current !== null;
    }
    get pending() {
      return this.queue.length > 0;
    }
    getVoices() {
      return stub.voices;
    }
    speak(utterance) {
      if (!(utterance instanceof Utterance)) throw new TypeError("no utterance");
      this.queue.push(utterance);
      stub.asked.push(utterance.text);
      later(() => this.#next());
    }
    cancel() {
      const [now, waiting] = [this.current, this.queue];
      this.current = null;
      this.queue = [];
      if (now) stub.cut.push(now.utterance.text.slice(0, now.words[now.next - 1]?.end ?? 0));
      later(() => {
        now?.utterance.tell("error", { error: "interrupted" });
        for (const each of waiting) each.tell("error", { error: "canceled" });
      });
    }
    pause() {}
    resume() {}
    #next() {
      if (this.current || !this.queue.length) return;
      const utterance = this.queue.shift();
      if (stub.failure) {
        utterance.tell("error", { error: stub.failure });
        this.#next();
        return;
      }
      const words = [...utterance.text.matchAll(/\S+/g)].map((word) => ({
        index: word.index,
        length: word[0].length,
        end: word.index + word[0].length,
      }));
      this.current = { utterance, words, next: 0 };
      utterance.tell("start");
      this.#begin();
    }
    // A boundary is told when a word begins.
    #begin() {
      const { utterance, words, next } = this.current;
      if (stub.boundaries && words[next]) {
        utterance.tell("boundary", { name: "word", charIndex: words[next].index, charLength: words[next].length });
      }
    }
    // Speaks one word to its end.
    word() {
      if (!this.current) return false;
      this.current.next += 1;
      if (this.current.next < this.current.words.length) {
        this.#begin();
      } else {
        const { utterance } = this.current;
        stub.spoken.push(utterance.text);
        this.current = null;
        utterance.tell("end");
        later(() => this.#next());
      }
      return true;
    }
  }

  class Recognition extends EventTarget {
    constructor() {
      super();
      Object.assign(this, { lang: "", continuous: false, interimResults: false, maxAlternatives: 1 });
      for (const name of ["start", "end", "result", "error", "speechstart", "speechend"]) this[`on${name}`] = null;
      this.results = [];
      this.running = false;
    }
    start() {
      if (this.running) throw new DOMException("recognition has already started", "InvalidStateError");
      this.running = true;
      stub.ears.push(this);
      later(() => {
        if (stub.deafness) this.fail(stub.deafness);
        else this.tell("start");
      });
    }
    stop() {
      this.abort();
    }
    abort() {
      if (!this.running) return;
      this.running = false;
      later(() => this.tell("end"));
    }
    fail(error) {
      this.running = false;
      this.tell("error", { error, message: "" });
      this.tell("end");
    }
    hears(transcript, isFinal) {
      const last = this.results.at(-1);
      if (last && !last.isFinal) this.results.pop();
      else this.tell("speechstart");
      this.results.push(Object.assign([{ transcript, confidence: 0.9 }], { isFinal }));
      this.tell("result", { resultIndex: this.results.length - 1, results: this.results });
      if (isFinal) this.tell("speechend");
    }
    tell(type, fields) {
      const told = event(type, fields);
      this[`on${type}`]?.(told);
      this.dispatchEvent(told);
    }
  }

  let flowing = 0;
  const synthesis = new Synthesis();
  const stub = {
    voices,
    asked: [],
    spoken: [],
    cut: [],
    ears: [],
    boundaries: true,
    failure: "", // an error of the voice
    deafness: "", // an error of the ear
    words(count) {
      for (let spoken = 0; spoken < count && synthesis.current; spoken += 1) synthesis.word();
      return synthesis.current?.words.length ?? 0;
    },
    flow(everyMs) {
      clearInterval(flowing);
      if (everyMs) flowing = setInterval(() => synthesis.word(), everyMs);
    },
    speaking: () => synthesis.current?.utterance.text ?? "",
    hear(text, isFinal) {
      const ear = stub.ears.at(-1);
      if (!ear?.running) throw new Error("nobody listens");
      ear.hears(text, isFinal);
    },
    // Chromium ends recognition by itself after a while of silence.
    tire() {
      stub.ears.at(-1).abort();
    },
  };
  const set = (name, value) => Object.defineProperty(window, name, { value, configurable: true, writable: true });
  set("stub", stub);
  set("SpeechSynthesisUtterance", Utterance);
  set("speechSynthesis", synthesis);
  set("SpeechRecognition", undefined);
  set("webkitSpeechRecognition", Recognition);
})();
