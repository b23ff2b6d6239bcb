const NAME = "sterna";
const STORE = "conversations";

/** The browser's database of conversations. All methods reject with what the browser says where it fails: it may be
 * switched off, broken or full. */
export class Database {
  private constructor(private readonly database: IDBDatabase) {}

  static async open(): Promise<Database> {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
    const database = await result(request);
    database.onversionchange = () => database.close();
    return new Database(database);
  }

  all(): Promise<unknown[]> {
    return result(this.database.transaction(STORE).objectStore(STORE).getAll());
  }

  get(id: string): Promise<unknown> {
    return result(this.database.transaction(STORE).objectStore(STORE).get(id));
  }

  put(value: { id: string }): Promise<void> {
    return this.write((store) => store.put(value));
  }

  delete(id: string): Promise<void> {
    return this.write((store) => store.delete(id));
  }

  /** Settles when the change is on the disk: a full disk is known no earlier. */
  private write(change: (store: IDBObjectStore) => IDBRequest): Promise<void> {
    const transaction = this.database.transaction(STORE, "readwrite");
    change(transaction.objectStore(STORE));
    transaction.commit(); // at once: what a page writes while it is being left is lost otherwise
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error);
    });
  }
}

function result<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
