import { ArgumentError, SourceError } from "../errors.ts";

/** Bytes that can be read in parts. */
export interface ByteSource {
  /** What a person calls it, for error messages. */
  readonly name: string;
  /** Bytes in all. */
  readonly size: number;
  /** The bytes from `start` to `end`; rejects with SourceError where they cannot be had. */
  read(start: number, end: number, signal?: AbortSignal): Promise<Uint8Array>;
  /** Called when the file is known to run, before its weights are read: a source may keep the whole file then. */
  keep?(signal?: AbortSignal): Promise<void>;
}

/** A File that somebody picked, a Blob, or a file of the browser's own file system. */
export class BlobSource implements ByteSource {
  readonly size: number;

  constructor(
    private readonly blob: Blob,
    readonly name = blob instanceof File ? blob.name : "the file",
  ) {
    this.size = blob.size;
  }

  async read(start: number, end: number, signal?: AbortSignal): Promise<Uint8Array> {
    signal?.throwIfAborted();
    try {
      return new Uint8Array(await this.blob.slice(start, end).arrayBuffer());
    } catch {
      throw new SourceError(`${this.name} can no longer be read: it was changed or removed.`);
    }
  }
}

/** Bytes in memory. */
export class BytesSource implements ByteSource {
  readonly size: number;

  constructor(
    private readonly bytes: Uint8Array,
    readonly name = "the file",
  ) {
    this.size = bytes.length;
  }

  async read(start: number, end: number): Promise<Uint8Array> {
    return this.bytes.subarray(start, end);
  }
}

/** The whole address of a file; one without a host is meant from the page on. Raises ArgumentError where it is none. */
export function addressOf(url: string | URL): string {
  try {
    return new URL(url, globalThis.location?.href).href;
  } catch {
    throw new ArgumentError(`'${url}' is no address of a file.`);
  }
}

const TRIES = 4;
const FIRST_WAIT_MS = 250;

/** A file on a server that answers requests for ranges (HTTP 206). */
export class UrlSource implements ByteSource {
  private constructor(
    readonly url: string,
    readonly size: number,
    /** What tells this content from another at the same address: its ETag or date; "" where the server gives none. */
    readonly version: string,
  ) {}

  get name(): string {
    return this.url;
  }

  static async open(url: string | URL, signal?: AbortSignal): Promise<UrlSource> {
    const address = String(url);
    const reply = await ask(address, 0, 1, signal);
    await reply.body?.cancel();
    const total = /\/(\d+)$/.exec(reply.headers.get("content-range") ?? "")?.[1];
    if (reply.status !== 206)
      throw new SourceError(`${address} comes from a server that sends no parts of files, which loading needs.`);
    if (total === undefined)
      throw new SourceError(
        `${address} comes from a server that does not let this page read Content-Range ` +
          "(Access-Control-Expose-Headers), which loading needs.",
      );
    return new UrlSource(address, Number(total), versionOf(reply));
  }

  /** Tries several times; a part of another version of the file is refused. */
  async read(start: number, end: number, signal?: AbortSignal): Promise<Uint8Array> {
    for (let attempt = 1; ; attempt++) {
      try {
        const reply = await ask(this.url, start, end, signal);
        if (reply.status !== 206 || versionOf(reply) !== this.version)
          throw new Changed(`${this.url} changed while it was loaded: load it again.`);
        const bytes = await bodyOf(reply, this.url);
        if (bytes.length !== end - start) throw new SourceError(`${this.url} sent too few bytes.`);
        return bytes;
      } catch (error) {
        signal?.throwIfAborted();
        if (attempt === TRIES || error instanceof Changed) throw error;
        await new Promise((resolve) => setTimeout(resolve, FIRST_WAIT_MS * 2 ** (attempt - 1)));
      }
    }
  }
}

class Changed extends SourceError {}

function versionOf(reply: Response): string {
  return reply.headers.get("etag") ?? reply.headers.get("last-modified") ?? "";
}

async function bodyOf(reply: Response, url: string): Promise<Uint8Array> {
  try {
    return new Uint8Array(await reply.arrayBuffer());
  } catch {
    throw new SourceError(`${url} broke off while it was loaded.`);
  }
}

async function ask(url: string, start: number, end: number, signal?: AbortSignal): Promise<Response> {
  let reply: Response;
  try {
    reply = await fetch(url, { headers: { Range: `bytes=${start}-${end - 1}` }, ...(signal && { signal }) });
  } catch (error) {
    signal?.throwIfAborted();
    throw new SourceError(`${url} cannot be reached: ${error instanceof Error ? error.message : error}.`);
  }
  if (!reply.ok) throw new SourceError(`${url} cannot be loaded: the server answered ${reply.status}.`);
  return reply;
}
