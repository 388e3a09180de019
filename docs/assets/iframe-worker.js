// Workers for pages that are opened from files, where browsers start none: the search needs one.
// Each runs its script in a hidden frame of the page; what is posted crosses as events. The theme's
// search looks for the name `IFrameWorker`.
class IFrameWorker extends EventTarget {
  constructor(url) {
    super();
    const frame = document.createElement("iframe");
    frame.hidden = true;
    document.body.append(frame);
    const inside = frame.contentWindow;
    inside.parent.IFrameWorker = IFrameWorker;
    inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
    this.inside = new Promise((resolve, reject) => {
      const script = frame.contentDocument.createElement("script");
      script.src = url;
      script.onload = () => resolve(inside);
      script.onerror = reject;
      frame.contentDocument.body.append(script);
    });
  }

  postMessage(data) {
    this.inside.then((inside) => inside.dispatchEvent(new inside.MessageEvent("message", { data })));
  }
}
if (location.protocol === "file:") window.Worker = IFrameWorker;
