// The socket between the page and the twin on the server: one call, small JSON both ways.

export class Line {
  #socket;

  // message: takes what the server tells. closed: is told whether the socket ever opened.
  constructor(first, message, closed) {
    const url = new URL("phone/socket", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    let opened = false;
    this.#socket = new WebSocket(url);
    this.#socket.addEventListener("open", () => {
      opened = true;
      this.send(first);
    });
    this.#socket.addEventListener("message", (event) => message(JSON.parse(event.data)));
    this.#socket.addEventListener("close", () => closed(opened));
  }

  send(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  close() {
    this.#socket.close();
  }
}
