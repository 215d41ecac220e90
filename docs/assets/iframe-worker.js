/* Search in a site that is opened from a folder: browsers start no worker from file://, so a hidden frame runs the
   worker's script. Served over http, the browser's own workers do it. */
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.srcdoc = "<!doctype html><title>worker</title>";
      this.ready = new Promise((resolve) => {
        this.frame.onload = () => resolve(this.start(new URL(url, location.href).href));
      });
      document.body.append(this.frame);
    }

    async start(url) {
      const inside = this.frame.contentWindow;
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      inside.importScripts = async (...urls) => {
        for (const each of urls) await load(inside.document, each);
      };
      await load(inside.document, url);
      return inside;
    }

    async postMessage(data) {
      const inside = await this.ready;
      inside.dispatchEvent(new inside.MessageEvent("message", { data }));
    }

    set onmessage(listener) {
      this.addEventListener("message", listener);
    }

    terminate() {
      this.frame.remove();
    }
  };
  window.Worker = window.IFrameWorker;

  function load(inside, url) {
    return new Promise((resolve, reject) => {
      const script = inside.createElement("script");
      script.src = url;
      script.onload = resolve;
      script.onerror = reject;
      inside.head.append(script);
    });
  }
}
