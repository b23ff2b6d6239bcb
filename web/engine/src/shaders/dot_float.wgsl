// Four products of signed bytes, added in float32: they are whole numbers below 2^24, so the sum is exact. Processors
// without byte products (Apple's) do this faster than integers.
fn dot4(a: u32, b: u32) -> i32 {
  let shift = vec4<u32>(24u, 16u, 8u, 0u);
  let x = vec4<f32>((vec4<i32>(bitcast<i32>(a)) << shift) >> vec4<u32>(24u));
  let y = vec4<f32>((vec4<i32>(bitcast<i32>(b)) << shift) >> vec4<u32>(24u));
  return i32(dot(x, y));
}
