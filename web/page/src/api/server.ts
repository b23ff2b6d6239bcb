import { fields, number, parseJson, text } from "../json.ts";

const KEY = "sterna-key";

/** Why a request has no answer: a sentence for people. `status` is 0 where the server could not be reached or its
 * reply broke off. `retryAfter`: seconds after which the same request may have an answer. */
export class ServerError extends Error {
  constructor(
    message: string,
    readonly status = 0,
    readonly code = "",
    readonly retryAfter: number | null = null,
  ) {
    super(message);
  }
}

export const UNREACHABLE = "The server cannot be reached. Check that sterna serve is running, then try again.";

let key = storedKey();

/** The key is kept until the tab is closed, and is never exported. */
export function setKey(value: string): void {
  key = value;
  try {
    sessionStorage.setItem(KEY, value);
  } catch {
    // Without storage the key lasts until the page is loaded anew.
  }
}

function storedKey(): string {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

/** Asks the server that this page came from; a body is sent as JSON. Throws `ServerError` where it does not succeed,
 * and the signal's reason where that ends the request. */
export async function ask(path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const init: RequestInit = { headers, signal: signal ?? null };
  if (body !== undefined) {
    init.method = "POST";
    init.body = JSON.stringify(body);
    headers["Content-Type"] = "application/json";
  }
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    throw signal?.aborted ? error : new ServerError(UNREACHABLE);
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

export async function askJson(path: string, body?: unknown, signal?: AbortSignal): Promise<unknown> {
  const response = await ask(path, body, signal);
  try {
    return await response.json();
  } catch (error) {
    throw signal?.aborted ? error : new ServerError("The server's reply broke off, or is no JSON. Try again.");
  }
}

/** The error that a body or an event tells, in the forms of OpenAI's and Ollama's APIs. */
export function toldError(value: unknown, status = 0, retryAfter: number | null = null): ServerError | null {
  const error = fields(value).error;
  const message = text(error) ?? text(fields(error).message);
  return message === undefined ? null : new ServerError(message, status, text(fields(error).code) ?? "", retryAfter);
}

async function refusal(response: Response): Promise<ServerError> {
  const seconds = number(Number.parseInt(response.headers.get("Retry-After") ?? "", 10)) ?? null;
  const body = parseJson(await response.text().catch(() => ""));
  const told = toldError(body, response.status, seconds);
  return (
    told ?? new ServerError(`The server answered with the status ${response.status}.`, response.status, "", seconds)
  );
}
