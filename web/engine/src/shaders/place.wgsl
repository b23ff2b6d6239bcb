// Where a position of the text lies in the cache: in the block that the table names, or in a ring of the last positions.
fn place_of(position: u32) -> u32 {
  //#if RING
  return position % POSITIONS;
  //#else
  return table[position / BLOCK] * BLOCK + position % BLOCK;
  //#endif
}
