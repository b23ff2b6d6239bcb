/** Models from URLs in the browser's own file system (OPFS), so that they open again without a network. Parts are kept
 * as they come: an interrupted download goes on where it was. */

import { SourceError } from "../errors.ts";
import { addressOf, BlobSource, type ByteSource, type UrlSource } from "./source.ts";

const FOLDER = "sterna-models";
const CHUNK_BYTES = 1 << 22;

/** A model in the cache. */
export interface CachedModel {
  url: string;
  bytes: number;
  /** Whether all of it is there. */
  whole: boolean;
}

/** What is kept beside a file. */
interface Label {
  url: string;
  version: string;
  size: number;
}

async function folder(): Promise<FileSystemDirectoryHandle | null> {
  try {
    const root = await navigator.storage.getDirectory();
    return await root.getDirectoryHandle(FOLDER, { create: true });
  } catch {
    return null; // a browser without it, or one in private mode
  }
}

async function nameOf(url: string): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(url));
  return Array.from(new Uint8Array(hash).subarray(0, 16), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function readLabel(directory: FileSystemDirectoryHandle, name: string): Promise<Label | null> {
  try {
    const file = await (await directory.getFileHandle(`${name}.json`)).getFile();
    return JSON.parse(await file.text());
  } catch {
    return null;
  }
}

/** A source that keeps the file: `keep` downloads what is not there yet, and tells `progress` the bytes that are,
 * whenever some have come. Where the browser has no file system of its own, or no room in it, bytes come from the URL. */
export async function cachedSource(url: UrlSource, progress: (bytes: number) => void): Promise<ByteSource> {
  const directory = await folder();
  if (!directory) return url;
  const kept = await wholeFile(directory, url.url);
  if (kept?.version !== url.version) return new DownloadedSource(url, directory, progress);
  progress(url.size);
  return kept.source;
}

/** Asks the browser not to clear what it keeps when it needs room; only a page can, not a worker. */
export function persist(): void {
  globalThis.navigator?.storage?.persist?.().catch(() => {}); // a person may be asked; nothing waits for it
}

/** The model of a URL that is whole in the cache, without asking the network; null where there is none. */
export async function fromCache(url: string | URL): Promise<ByteSource | null> {
  const directory = await folder();
  if (!directory) return null;
  return (await wholeFile(directory, addressOf(url)))?.source ?? null;
}

async function wholeFile(directory: FileSystemDirectoryHandle, address: string) {
  const name = await nameOf(address);
  const label = await readLabel(directory, name);
  const file = await fileOf(directory, name);
  if (!label || file?.size !== label.size) return null;
  return { version: label.version, source: new BlobSource(file, address) };
}

async function fileOf(directory: FileSystemDirectoryHandle, name: string): Promise<File | null> {
  try {
    return await (await directory.getFileHandle(`${name}.gguf`)).getFile();
  } catch {
    return null;
  }
}

class DownloadedSource implements ByteSource {
  readonly name: string;
  readonly size: number;
  private kept: ByteSource | undefined;

  constructor(
    private readonly url: UrlSource,
    private readonly directory: FileSystemDirectoryHandle,
    private readonly progress: (bytes: number) => void,
  ) {
    this.name = url.name;
    this.size = url.size;
  }

  read(start: number, end: number, signal?: AbortSignal): Promise<Uint8Array> {
    return (this.kept ?? this.url).read(start, end, signal);
  }

  async keep(signal?: AbortSignal): Promise<void> {
    const name = await nameOf(this.url.url);
    try {
      this.kept = new BlobSource(await this.download(name, signal), this.name);
    } catch (error) {
      if (!isFull(error)) throw error;
      await remove(this.directory, name); // a part of a file for which there is no room
    }
  }

  private async download(name: string, signal?: AbortSignal): Promise<File> {
    const label = await readLabel(this.directory, name);
    const same = label?.version === this.url.version && label.size === this.size;
    // The label is written first, and a page may go away at any time: another version's bytes must not lie beside it.
    if (!same) await remove(this.directory, name);
    const handle = await this.directory.getFileHandle(`${name}.gguf`, { create: true });
    let done = same ? Math.min((await handle.getFile()).size, this.size) : 0;
    const { quota, usage } = (await navigator.storage.estimate?.()) ?? {};
    if (quota !== undefined && usage !== undefined && this.size - done > quota - usage)
      throw new DOMException("There is no room for the file.", FULL);
    await writeAll(await this.directory.getFileHandle(`${name}.json`, { create: true }), {
      url: this.url.url,
      version: this.url.version,
      size: this.size,
    });
    this.progress(done);
    while (done < this.size) {
      // Each part is a file of its own until it is closed, so parts are large.
      const writable = await handle.createWritable({ keepExistingData: done > 0 });
      try {
        const end = Math.min(done + 16 * CHUNK_BYTES, this.size);
        while (done < end) {
          const part = await this.url.read(done, Math.min(done + CHUNK_BYTES, end), signal);
          await writable.write({ type: "write", position: done, data: part as Uint8Array<ArrayBuffer> });
          done += part.length;
          this.progress(done);
        }
      } catch (error) {
        if (isFull(error)) await writable.abort().catch(() => {});
        else await writable.close();
        throw error;
      }
      await writable.close();
    }
    return handle.getFile();
  }
}

const FULL = "QuotaExceededError";

function isFull(error: unknown): boolean {
  return error instanceof DOMException && error.name === FULL;
}

async function writeAll(handle: FileSystemFileHandle, label: Label): Promise<void> {
  const writable = await handle.createWritable();
  await writable.write(JSON.stringify(label));
  await writable.close();
}

/** The models in the cache. */
export async function listModels(): Promise<CachedModel[]> {
  const directory = await folder();
  const found: CachedModel[] = [];
  if (!directory) return found;
  for await (const entry of directory.keys()) {
    if (!entry.endsWith(".json")) continue;
    const name = entry.slice(0, -".json".length);
    const label = await readLabel(directory, name);
    const bytes = (await fileOf(directory, name))?.size ?? 0;
    if (label) found.push({ url: label.url, bytes, whole: bytes === label.size });
  }
  return found;
}

/** Takes a model out of the cache. */
export async function removeModel(url: string | URL): Promise<void> {
  const directory = await folder();
  if (!directory) throw new SourceError("This browser keeps no models.");
  await remove(directory, await nameOf(addressOf(url)));
}

async function remove(directory: FileSystemDirectoryHandle, name: string): Promise<void> {
  for (const end of ["gguf", "json"]) await directory.removeEntry(`${name}.${end}`).catch(() => {});
}
