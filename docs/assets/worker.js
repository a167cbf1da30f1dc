// A page that is opened from disk may start no worker: an inner frame runs the worker's script in its place.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      this.frame = frame
      this.inner = frame.contentWindow
      this.waiting = []
      this.inner.postMessage = data => this.deliver(this, data)
      const script = frame.contentDocument.createElement("script")
      script.src = new URL(address, document.baseURI).href
      script.onload = () => {
        const waiting = this.waiting
        this.waiting = null
        waiting.forEach(data => this.deliver(this.inner, data))
      }
      frame.contentDocument.body.append(script)
    }

    deliver(target, data) {
      setTimeout(() => {
        const event = new MessageEvent("message", { data })
        target.dispatchEvent(event)
        if (target === this && this.onmessage) this.onmessage(event)
      })
    }

    postMessage(data) {
      if (this.waiting) this.waiting.push(data)
      else this.deliver(this.inner, data)
    }

    terminate() {
      this.frame.remove()
    }
  }
}
