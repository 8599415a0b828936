// Shared by the pages that listen and post.

// Calls show(data) for each item of a channel. EventSource comes back by itself when a stream ends, with the number of
// its last item; a refusal (429: every environment is busy) ends it, so there a new one goes on behind that item.
function listen(url, show) {
  const state = document.querySelector("#state");
  let last = 0, pause = 1000;
  (function open() {
    const source = new EventSource(last ? `${url}?after=${last}` : url);
    source.onopen = () => { state.textContent = "connected"; pause = 1000; };
    source.onmessage = (event) => { last = event.lastEventId; show(JSON.parse(event.data)); };
    source.onerror = () => {
      state.textContent = "reconnecting…";
      if (source.readyState !== EventSource.CLOSED) return;
      setTimeout(open, pause);
      pause = Math.min(2 * pause, 15000);
    };
    addEventListener("pagehide", () => source.close(), { once: true });
  })();
}

// Posts JSON. CloudFront signs a POST to a Function URL only if it comes with its body's hash. Browsers have crypto.subtle on
// https and on localhost only, and elsewhere there is no CloudFront.
async function post(url, value) {
  const body = new TextEncoder().encode(JSON.stringify(value));
  const headers = { "content-type": "application/json" };
  if (globalThis.crypto?.subtle) {
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", body));
    headers["x-amz-content-sha256"] = Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }
  const response = await fetch(url, { method: "POST", headers, body });
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
}
