// A pass has `n` tokens, the first at `position` of the sequence. `step` counts the tokens that were sampled in this
// submission, `sampled` those of the whole text.
struct State {
  n: u32,
  position: u32,
  step: u32,
  sampled: u32,
}
