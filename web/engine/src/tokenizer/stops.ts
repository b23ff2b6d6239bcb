/** Holds back what may be the beginning of a stop string, and finds the first that is whole. */
export class StopStrings {
  /** Whether a stop string ended the text. */
  found = false;
  private held = "";
  private readonly stops: readonly string[];

  /** Empty ones stop nothing, as on the server. */
  constructor(stops: readonly string[]) {
    this.stops = stops.filter((stop) => stop !== "");
  }

  /** The text that is certain to come before any stop string. */
  push(text: string): string {
    this.held += text;
    const places = this.stops.map((stop) => this.held.indexOf(stop)).filter((place) => place >= 0);
    if (places.length) {
      this.found = true;
      return this.take(Math.min(...places));
    }
    let kept = 0;
    for (const stop of this.stops)
      for (let length = Math.min(stop.length - 1, this.held.length); length > kept; length--)
        if (this.held.endsWith(stop.slice(0, length))) kept = length;
    return this.take(this.held.length - kept);
  }

  /** What was held back, at the end of the text; nothing after a stop string. */
  flush(): string {
    return this.found ? "" : this.held;
  }

  private take(length: number): string {
    const text = this.held.slice(0, length);
    this.held = this.held.slice(length);
    return text;
  }
}
