// The agent's voice: speaks a piece aloud where the browser can, else lets it be read at the pace
// of speech. Either way it tells how far it got, word by word, so that a cut is cut where it was.

const CHARS_PER_S = 15; // how fast people speak, and how fast words appear when nobody does
const STARTS_WITHIN_MS = 4000; // some browsers drop an utterance without an error
const BOUNDARY_WITHIN_MS = 700; // voices from the net tell no words: then time must do
const LOOK_EVERY_MS = 50;
const ECHO_MS = 1500; // recognisers are that far behind

const TROUBLE = {
  "not-allowed": "the browser wants a click on this page first",
  "audio-busy": "the loudspeaker is in use",
  "audio-hardware": "there is no loudspeaker",
  "network": "its voice comes from the net, which cannot be reached",
  "synthesis-unavailable": "it has no voices",
  "synthesis-failed": "its voice does not work",
  "language-unavailable": "it has no voice for this language",
  "voice-unavailable": "it has no such voice",
};

export class Mouth {
  trouble = ""; // why nothing is spoken aloud; empty if it is
  aloud = true;
  #job = null;
  #report;
  #changed;
  #voices = [];
  #lately = { text: "", at: -ECHO_MS };

  // report: gets messages for the server. changed: is called when `trouble` or `talking` did.
  constructor(report, changed) {
    this.#report = report;
    this.#changed = changed;
  }

  // Looks for voices: they come late in some browsers, and never in others.
  async look() {
    if (!("speechSynthesis" in window) || !("SpeechSynthesisUtterance" in window)) {
      this.#fail("it has no speech synthesis");
      return;
    }
    speechSynthesis.addEventListener?.("voiceschanged", () => this.#count());
    for (let tries = 0; tries < 8 && !this.#count(); tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    if (!this.#voices.length) this.#fail(TROUBLE["synthesis-unavailable"]);
  }

  #count() {
    this.#voices = speechSynthesis.getVoices();
    if (this.#voices.length && this.trouble === TROUBLE["synthesis-unavailable"]) this.#fail("");
    return this.#voices.length;
  }

  get talking() {
    return this.#job !== null;
  }

  // What the microphone may hear of the agent: what it spoke lately, and is about to speak.
  get spoken() {
    const lately = performance.now() - this.#lately.at < ECHO_MS ? this.#lately.text : "";
    return this.#job ? `${lately} ${this.#job.text.slice(0, this.#job.reached + 40)}` : lately;
  }

  voiceFor(lang) {
    const wanted = lang.toLowerCase().replace("_", "-");
    const fits = (voice) => voice.lang.toLowerCase().replace("_", "-");
    const same = this.#voices.filter((voice) => fits(voice) === wanted);
    const near = this.#voices.filter((voice) => fits(voice).split("-")[0] === wanted.split("-")[0]);
    const all = [...same, ...near];
    return all.find((voice) => voice.localService) ?? all[0] ?? null;
  }

  // Speaks a piece; one that is still spoken makes room. progress: gets the characters spoken.
  speak(piece, text, lang, progress) {
    this.stop();
    this.#job = { piece, text, lang, progress, reached: 0, started: false, timer: 0 };
    if (this.aloud && !this.trouble) this.#say(this.#job);
    else this.#read(this.#job);
    this.#changed();
  }

  // Falls silent at once, in the middle of a word.
  stop() {
    if (!this.#job) return;
    this.#leave(this.#job);
    if ("speechSynthesis" in window) speechSynthesis.cancel();
    this.#changed();
  }

  setAloud(aloud) {
    this.aloud = aloud;
    const job = this.#job;
    if (!aloud && job?.utterance) this.#readOn(job);
  }

  #say(job) {
    const utterance = new SpeechSynthesisUtterance(job.text);
    const voice = this.voiceFor(job.lang);
    if (voice) utterance.voice = voice;
    utterance.lang = voice?.lang ?? job.lang;
    job.utterance = utterance; // one that nobody holds is collected in mid-sentence by some browsers
    const asked = performance.now();
    let boundary = false;
    const mine = (act) => (event) => {
      if (this.#job === job && job.utterance === utterance) act(event);
    };
    utterance.onstart = mine(() => this.#start(job));
    utterance.onboundary = mine((event) => {
      boundary = true;
      this.#reach(job, event.charIndex);
    });
    utterance.onend = mine(() => this.#end(job));
    utterance.onerror = mine((event) => {
      this.#fail(TROUBLE[event.error] ?? `its voice failed (${event.error})`);
      this.#readOn(job);
    });
    job.timer = setInterval(
      mine(() => {
        const now = performance.now();
        if (!job.started && now - asked > STARTS_WITHIN_MS) {
          this.#fail("its voice does not start");
          this.#readOn(job);
        } else if (job.started && !boundary && now - job.started > BOUNDARY_WITHIN_MS) {
          const chars = Math.floor(((now - job.started) / 1000) * CHARS_PER_S);
          this.#reach(job, Math.min(chars, job.text.length - 1));
        }
      }),
      LOOK_EVERY_MS,
    );
    speechSynthesis.resume(); // another page may have left it paused
    speechSynthesis.speak(utterance);
  }

  // Goes on in silence where the voice left off.
  #readOn(job) {
    clearInterval(job.timer);
    job.utterance = null;
    speechSynthesis.cancel();
    this.#read(job);
  }

  #read(job) {
    const from = job.reached;
    const began = performance.now();
    this.#start(job);
    job.timer = setInterval(() => {
      const chars = from + Math.floor(((performance.now() - began) / 1000) * CHARS_PER_S);
      if (chars >= job.text.length) this.#end(job);
      else this.#reach(job, wordsWithin(job.text, chars));
    }, LOOK_EVERY_MS);
  }

  #start(job) {
    if (job.started) return;
    job.started = performance.now();
    this.#report({ do: "started", piece: job.piece });
  }

  #reach(job, chars) {
    if (chars <= job.reached) return;
    job.reached = chars;
    this.#report({ do: "reached", piece: job.piece, chars });
    job.progress(chars);
  }

  #end(job) {
    job.reached = job.text.length;
    this.#leave(job);
    job.progress(job.text.length);
    this.#report({ do: "ended", piece: job.piece });
    this.#changed();
  }

  #leave(job) {
    clearInterval(job.timer);
    this.#job = null;
    this.#lately = { text: job.utterance ? job.text.slice(0, job.reached) : "", at: performance.now() };
  }

  #fail(why) {
    this.trouble = why;
    this.#changed();
  }
}

// Gives the end of the last whole word among the first characters.
export function wordsWithin(text, chars) {
  let end = 0;
  for (const word of text.matchAll(/\S+/g)) {
    if (word.index + word[0].length > chars) break;
    end = word.index + word[0].length;
  }
  return end;
}
