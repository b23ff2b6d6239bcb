// Four products of signed bytes, added, where there is no instruction for it.
fn dot4(a: u32, b: u32) -> i32 {
  let shift = vec4<u32>(24u, 16u, 8u, 0u);
  let x = (vec4<i32>(bitcast<i32>(a)) << shift) >> vec4<u32>(24u);
  let y = (vec4<i32>(bitcast<i32>(b)) << shift) >> vec4<u32>(24u);
  return x.x * y.x + x.y * y.y + x.z * y.z + x.w * y.w;
}
