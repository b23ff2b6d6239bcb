import { fields, list, number, text } from "../json.ts";
import { askJson } from "./server.ts";

export interface Model {
  name: string;
  isLoaded: boolean;
}

/** What is known of a model without loading it. */
export interface Description {
  /** As `4.2M parameters · TQ2_0`. */
  size: string;
  /** Most tokens of a conversation. */
  context: number | undefined;
  thinks: boolean;
  /** Without a chat template a model continues texts rather than answers. */
  hasTemplate: boolean;
}

const TAG = ":latest";

/** The models that the server knows, the one of requests that name none first. */
export async function listModels(): Promise<Model[]> {
  const [known, running] = await Promise.all([askJson("v1/models"), askJson("api/ps")]);
  const loaded = new Set(list(fields(running).models).map((model) => text(fields(model).name)));
  const names = list(fields(known).data).map((model) => text(fields(model).id));
  return names
    .filter((name) => name !== undefined)
    .map((name) => ({ name, isLoaded: loaded.has(name) || loaded.has(name + TAG) }));
}

export async function describeModel(model: string): Promise<Description> {
  const shown = fields(await askJson("api/show", { model }));
  const details = fields(shown.details);
  const info = fields(shown.model_info);
  const context = number(info[`${text(info["general.architecture"])}.context_length`]);
  const parameters = text(details.parameter_size);
  const size = [parameters && `${parameters} parameters`, text(details.quantization_level)].filter(Boolean).join(" · ");
  const thinks = list(shown.capabilities).includes("thinking");
  return { size, context, thinks, hasTemplate: Boolean(text(shown.template)) };
}

/** Has the server load a model. Returns the most tokens of a conversation with it. */
export async function loadModel(model: string, signal?: AbortSignal): Promise<number | undefined> {
  const props = fields(await askJson(`props?model=${encodeURIComponent(model)}`, undefined, signal));
  return number(fields(props.default_generation_settings).n_ctx);
}
