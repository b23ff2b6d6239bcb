import { type Description, describeModel, listModels, loadModel, type Model } from "../api/models.ts";
import { ServerError } from "../api/server.ts";
import { byId, element } from "../dom.ts";

/** Milliseconds after which a server that is gone, or a model that is being loaded, is looked at again; each time they
 * are more, up to the second number. */
const LOOK_AGAIN = 2000;
const SELDOM = 60_000;

type LoadState = "loaded" | "loading" | "idle" | "broken";

const WORDS: Record<LoadState, string> = {
  loaded: "Loaded",
  loading: "Being loaded…",
  idle: "Not loaded",
  broken: "Cannot be loaded",
};

export interface PickerActions {
  picked(model: string): void;
  described(): void;
  /** The picked model cannot be loaded. */
  broken(sentence: string): void;
  /** The models could not be listed; null: they could again. */
  failed(error: ServerError | null): void;
}

/** The models of the server, which of them is asked, and whether it is loaded. */
export class ModelPicker {
  private readonly select = byId("model", HTMLSelectElement);
  private readonly state = byId("model-state", HTMLElement);
  private models: Model[] = [];
  private loading: AbortController | null = null;
  private timer = 0;
  private delay = LOOK_AGAIN;
  description: Description | null = null;

  constructor(
    private wanted: string,
    private readonly actions: PickerActions,
  ) {
    this.select.addEventListener("change", () => {
      this.wanted = this.select.value;
      actions.picked(this.wanted);
      void this.load();
    });
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) void this.refresh();
    });
  }

  /** The model that is asked; "" where none is known. */
  get model(): string {
    return this.select.value;
  }

  /** Asks the server for its models, and again later while it is gone. */
  async refresh(): Promise<void> {
    clearTimeout(this.timer);
    try {
      this.models = await listModels();
      this.actions.failed(null);
    } catch (error) {
      const told = error instanceof ServerError ? error : new ServerError(String(error));
      this.actions.failed(told);
      if (told.status !== 401) this.lookAgain();
      return;
    }
    this.showModels();
    if (!this.description) await this.describe();
  }

  /** Takes from an answer of the model whether it is loaded: one that waits for the server may wait for that. */
  learn(isWaiting: boolean): void {
    if (!isWaiting) this.showState("loaded");
    else if (this.state.dataset.state !== "loaded") this.showState("loading");
  }

  private lookAgain(): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.refresh(), this.delay);
    this.delay = Math.min(this.delay * 1.5, SELDOM);
  }

  private showModels(): void {
    const options = this.models.map(({ name, isLoaded }) =>
      element("option", { value: name }, isLoaded || this.models.length === 1 ? name : `${name} (not loaded)`),
    );
    this.select.replaceChildren(...options);
    if (this.models.some(({ name }) => name === this.wanted)) this.select.value = this.wanted;
    const isLoaded = this.models.find(({ name }) => name === this.model)?.isLoaded;
    if (!this.loading) this.showState(isLoaded ? "loaded" : "idle");
    // The server loads its first model when it starts.
    if (!isLoaded && this.model === this.models[0]?.name) this.lookAgain();
    else this.delay = LOOK_AGAIN;
  }

  private async load(): Promise<void> {
    this.loading?.abort();
    const loading = new AbortController();
    this.loading = loading;
    this.description = null;
    void this.describe();
    this.showState("loading");
    try {
      await this.loaded(loading.signal);
    } catch (error) {
      if (loading.signal.aborted) return;
      this.showState("broken");
      this.loading = null;
      this.actions.broken(error instanceof Error ? error.message : WORDS.broken);
      return;
    }
    this.loading = null;
    this.description = null;
    await this.refresh();
  }

  /** Resolves when the model is loaded; the server may say several times that it is not yet. */
  private async loaded(signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        await loadModel(this.model, signal);
        return;
      } catch (error) {
        if (!(error instanceof ServerError) || error.retryAfter === null) throw error;
        await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN));
        signal.throwIfAborted();
      }
    }
  }

  private async describe(): Promise<void> {
    const { model } = this;
    if (!model) return;
    const description = await describeModel(model).catch(() => null);
    if (model !== this.model) return;
    this.description = description;
    this.actions.described();
  }

  private showState(state: LoadState): void {
    this.state.dataset.state = state;
    this.state.textContent = WORDS[state];
  }
}
