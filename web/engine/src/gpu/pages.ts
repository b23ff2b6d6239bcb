/** Positions of a block, whose keys and values lie side by side. */
export const BLOCK = 64;

/** A text whose keys and values are there: its ids, and the blocks that hold them. */
interface Text {
  ids: number[];
  blocks: number[];
}

/** Which blocks of a cache hold which texts. Texts that begin alike share whole blocks; the one that was used least
 * recently gives its blocks up when there are none left. */
export class Pages {
  /** The one that was used last comes last. */
  private texts: Text[] = [{ ids: [], blocks: [] }];
  private readonly users: number[] = [];

  /** The text that is being written. */
  get current(): Text {
    return this.texts[this.texts.length - 1];
  }

  /** Blocks that there are. */
  get count(): number {
    return this.users.length;
  }

  /** Makes a text current that begins with these ids, and says how many of them it has: at most `ids.length - 1`, as a
   * prompt's last one is always computed. A text that loses little by it becomes it; another gives it whole blocks.
   * `isOnlyLast`: other texts than the last one have nothing to give. */
  begin(ids: readonly number[], isOnlyLast: boolean): number {
    let [best, common] = [this.current, 0];
    for (const text of isOnlyLast ? [this.current] : this.texts) {
      const own = commonLength(text.ids, ids);
      if (own >= common) [best, common] = [text, own];
    }
    const lost = best.ids.length - common;
    const isShared = this.users[best.blocks[Math.floor(common / BLOCK)]] > 1;
    if (lost < BLOCK && lost <= common && !isShared) {
      this.texts = [...this.texts.filter((text) => text !== best), best];
      best.ids.length = common;
      return common;
    }
    const blocks = best.blocks.slice(0, Math.floor(common / BLOCK));
    for (const block of blocks) this.users[block]++;
    this.texts.push({ ids: ids.slice(0, blocks.length * BLOCK), blocks });
    return blocks.length * BLOCK;
  }

  /** Forgets the ids of the current text; what is computed next is not known as any text's. */
  forget(): void {
    this.begin([], true);
  }

  /** Gives the current text blocks for `positions`, as far as they are free; whether it has as many now. */
  extend(positions: number): boolean {
    const { blocks } = this.current;
    const wanted = Math.ceil(positions / BLOCK);
    for (let block = 0; block < this.users.length && blocks.length < wanted; block++)
      if (this.users[block] === 0) {
        this.users[block] = 1;
        blocks.push(block);
      }
    return blocks.length >= wanted;
  }

  /** More blocks, all free. */
  add(count: number): void {
    for (let i = 0; i < count; i++) this.users.push(0);
  }

  /** Gives up the text that was used least recently, but for the current one; false where there is no other. */
  drop(): boolean {
    if (this.texts.length < 2) return false;
    for (const block of this.texts[0].blocks) this.users[block]--;
    this.texts.shift();
    return true;
  }
}

function commonLength(before: readonly number[], ids: readonly number[]): number {
  const most = Math.min(before.length, ids.length - 1);
  let count = 0;
  while (count < most && before[count] === ids[count]) count++;
  return Math.max(count, 0);
}
