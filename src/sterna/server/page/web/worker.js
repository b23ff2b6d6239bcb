var e=class extends Error{name=`SternaError`},t=class extends e{name=`FormatError`},n=class extends e{name=`UnsupportedError`},r=class extends e{name=`ArgumentError`},i=class extends e{name=`SourceError`},a=class extends e{name=`WebGPUUnavailable`},o=class extends e{name=`OutOfMemory`},s=class extends e{name=`DeviceLost`};function c(e,t,n,r,i=!1){return{name:e,block:t,blockBytes:n,activations:r,ternary:i}}const l={f32:c(`f32`,1,4,`none`),f16:c(`f16`,1,2,`none`),bf16:c(`bf16`,1,2,`none`),q4_0:c(`q4_0`,32,18,`int15`),q8_0:c(`q8_0`,32,34,`int15`),q6_k:c(`q6_k`,256,210,`int15`),i2_s:c(`i2_s`,128,32,`int8`,!0),tq1_0:c(`tq1_0`,256,54,`int8`,!0),tq2_0:c(`tq2_0`,256,66,`int8`,!0),q2_0:c(`q2_0`,64,18,`int15`,!0),pq2_0:c(`pq2_0`,128,34,`int15`,!0),ptq1_0:c(`ptq1_0`,128,28,`int15`,!0),q1_0:c(`q1_0`,128,18,`int15`,!0)},u={0:l.f32,1:l.f16,2:l.q4_0,8:l.q8_0,14:l.q6_k,30:l.bf16,34:l.tq1_0,35:l.tq2_0,36:l.i2_s,41:l.q1_0,142:l.pq2_0,143:l.ptq1_0},d=[l.q2_0,l.pq2_0];function f(e,n){let r=n.reduce((e,t)=>e*t,1);if((e.name===`i2_s`?r:n[n.length-1])%e.block)throw new t(`${e.name} keeps blocks of ${e.block} weights, which [${n}] does not fill.`);return r/e.block*e.blockBytes}function p(e,t,n,r){return e===42?d.find(e=>t[t.length-1]%e.block===0&&m(f(e,t),r)===n):u[e]}function m(e,t){return Math.ceil(e/t)*t}const h=1<<21,g=1<<26,_=2**44;async function v(e,n){if(e.size<24)throw new t(`${e.name} is too short to be a GGUF file.`);let r=/* @__PURE__ */ new Uint8Array;for(let i=1048576;;i*=4){let a=Math.min(i,e.size,g),o=await e.read(r.length,a,n),s=new Uint8Array(a);s.set(r),s.set(o,r.length),r=s;try{return b(new te(r),e.size)}catch(n){if(n instanceof y){if(a<Math.min(e.size,g))continue;throw new t(`${e.name} is no valid GGUF file: its header ends early.`)}throw n instanceof t?new t(`${e.name} is no valid GGUF file: ${n.message}`):n}}}var y=class extends Error{};function b(e,r){if(e.u32()!==1179993927)throw new t(`it does not begin with the letters GGUF.`);let i=e.u32();if(i!==2&&i!==3)throw new n(`GGUF version ${i} is not 2 or 3.`);let a=e.count(`tensors`,131072),o=e.count(`metadata keys`,65536),s=/* @__PURE__ */ new Map;for(let n=0;n<o;n++){let n=e.name();if(s.has(n))throw new t(`the metadata key '${n}' occurs twice.`);s.set(n,e.value(e.u32(),n))}let c=Array.from({length:a},()=>e.entry());if(new Set(c.map(e=>e.name)).size!==a)throw new t(`two of its tensors have the same name.`);if(s.has(`split.count`)&&Number(s.get(`split.count`))>1)throw new n(`A model that is split into several files is not read here: merge its parts first.`);let l=s.get(`general.alignment`)??32;if(typeof l!=`number`||l<8||l>1048576||l&l-1)throw new t(`its alignment is not a power of two from 8 on.`);return{metadata:s,...x(c,m(e.position,l),l,r)}}function x(e,n,r,i){let a=/* @__PURE__ */ new Map,o=/* @__PURE__ */ new Map,s=[...new Set(e.map(e=>e.offset))].sort((e,t)=>e-t),c=new Map(s.map((e,t)=>[e,s[t+1]])),l=[];for(let{name:s,shape:u,type:d,offset:h}of e){let e=p(d,u,(c.get(h)??m(i-n,r))-h,r),g=e?f(e,u):1,_=h+g+(e?.name===`i2_s`?32:0);if(h%r)throw new t(`the tensor '${s}' does not lie on a multiple of ${r}.`);if(n+_>i)throw new t(`the tensor '${s}' reaches past the end of the file (a broken download?).`);l.push([h,_,s]),e?a.set(s,{name:s,shape:u,encoding:e,offset:n+h,bytes:g}):o.set(s,d)}l.sort((e,t)=>e[0]-t[0]||e[1]-t[1]);for(let e=1;e<l.length;e++)if(l[e][0]<l[e-1][1])throw new t(`the tensors '${l[e-1][2]}' and '${l[e][2]}' overlap.`);return{tensors:a,unsupported:o}}const ee={0:[1,e=>new Uint8Array(e)],1:[1,e=>new Int8Array(e)],2:[2,e=>new Uint16Array(e)],3:[2,e=>new Int16Array(e)],4:[4,e=>new Uint32Array(e)],5:[4,e=>new Int32Array(e)],6:[4,e=>new Float32Array(e)],7:[1,e=>new Uint8Array(e)],10:[8,e=>Array.from(new BigUint64Array(e),Number)],11:[8,e=>Array.from(new BigInt64Array(e),Number)],12:[8,e=>new Float64Array(e)]};var te=class{bytes;position=0;stringsLeft=h;view;text=new TextDecoder(`utf-8`,{ignoreBOM:!0});strictText=new TextDecoder(`utf-8`,{fatal:!0,ignoreBOM:!0});constructor(e){this.bytes=e,this.view=new DataView(e.buffer,e.byteOffset,e.length)}advance(e){let t=this.position;if(e>this.bytes.length-t)throw new y;return this.position=t+e,t}u32(){return this.view.getUint32(this.advance(4),!0)}u64(){return Number(this.view.getBigUint64(this.advance(8),!0))}count(e,n){let r=this.u64();if(r>n)throw new t(`it claims ${r} ${e}.`);return r}name(){let e=this.u64();if(e>1024)throw new t(`a name in it claims ${e} bytes.`);let n=this.advance(e);try{return this.strictText.decode(this.bytes.subarray(n,this.position))}catch{throw new t(`a name in it is not UTF-8.`)}}value(e,t){if(e===8)return this.string();if(e===9)return this.array(t);let n=this.numbers(e,1,t)[0];return e===7?n!==0:n}string(){if(--this.stringsLeft<0)throw new t(`it has more than ${h} strings.`);let e=this.count(`bytes of one string`,g),n=this.advance(e);return this.text.decode(this.bytes.subarray(n,this.position))}array(e){let t=this.u32();if(t!==8)return this.numbers(t,this.count(`numbers in '${e}'`,g),e);let n=this.count(`strings in '${e}'`,h),r=[];for(let e=0;e<n;e++)r.push(this.string());return r}numbers(e,t,r){let i=ee[e];if(!i)throw new n(`The metadata key '${r}' has the type ${e}, which is not read here.`);let a=this.advance(t*i[0]);return i[1](this.bytes.slice(a,this.position).buffer)}entry(){let e=this.name(),n=this.u32();if(n>4)throw new t(`the tensor '${e}' has ${n} dimensions.`);let r=Array.from({length:n},()=>this.u64()),i=n?r.reverse():[1];if(!i.every(e=>e>=1)||i.reduce((e,t)=>e*t,1)>_)throw new t(`the tensor '${e}' has an impossible shape.`);return{name:e,shape:i,type:this.u32(),offset:this.u64()}}};function ne(e,t,r,i){let{matrix:a,x:o,form:s,out:c,residual:l,bias:u}=t,{kind:d}=a.layout,f=d===`f16`||d===`f32`;if(f===!!s)throw new n(`A matrix in ${d} is multiplied with other activations.`);if(u&&a.parts.length>1)throw new n(`A matrix with a bias is larger than a buffer.`);let p=i===`many`&&d===`ternary`;return a.parts.map(t=>{let{lanes:n}=r;for(;n>1&&Math.ceil(t.rows*n/64)>65535;)n/=2;let m=r.subgroups&&d===`ternary`&&!p&&n===r.lanes,h={COLUMNS:a.layout.columns,ROWS:t.rows,FIRST_ROW:t.firstRow,OUT_STRIDE:c.stride,OUT_AT:c.at,X_STRIDE:o.stride,X_AT:o.at,LANES:n,SHARED:n>1&&!m,SUBGROUPS:m,LAST:i===`last`,RESIDUAL:l,BIAS:u!==void 0,...f?{[d.toUpperCase()]:!0}:re(a,s)},g={state:e,weights:t.words,scales:t.scales,out:c.buffer,x:o.buffer,...s&&{codes:s.codes,info:s.info},...u&&{bias:u}},_=p?256:64/n,v=e=>[Math.ceil(t.rows/_),i===`last`?1:p?Math.ceil(e/4):e];return{kernel:f?`linear_float`:p?`linear_ternary_tile`:`linear_${d}`,constants:h,...!f&&{dot:r.dot},buffers:()=>g,groups:v}})}function re({layout:e},t){let{group:n}=e;return{PLANES:t.activations===`int15`?2:1,INT15:t.activations===`int15`,PADDED:t.padded,GROUPED:n>0,GROUP:n||e.columns,PARTS:n>0&&n<128?128/n:1}}function S(e,t){let r=e=>Math.ceil(t/e)*e;if(t%4)throw new n(`A matrix has ${t} columns, no multiple of 4.`);switch(e.name){case`f32`:case`bf16`:return{kind:`f32`,columns:t,group:0};case`f16`:return{kind:`f16`,columns:t,group:0};case`q8_0`:case`q4_0`:return{kind:`bytes`,columns:t,group:32};case`q6_k`:return{kind:`bytes`,columns:t,group:16};case`i2_s`:return{kind:`ternary`,columns:r(128),group:0};default:return{kind:`ternary`,columns:r(128),group:e.block}}}function ie(e,t){let[n,r]=[t,e.block];for(;r;)[n,r]=[r,n%r];return e.block/n}function ae(e){return e.columns/{ternary:16,bytes:4,f16:2,f32:1}[e.kind]}function C(e){return e.kind===`f16`||e.kind===`f32`?0:e.group?e.columns/e.group:1}function oe(e,t,n,r,i){let a=S(e,r),o=n*r/e.block,s=new DataView(t.buffer,t.byteOffset,t.byteLength),c=/* @__PURE__ */ new Float32Array;switch(e.name){case`f32`:case`f16`:return{words:ce(t),scales:c};case`bf16`:return{words:Uint32Array.from({length:o},(e,t)=>s.getUint16(2*t,!0)<<16),scales:c};case`i2_s`:{let e=new Float32Array(n).fill(i);if(r===a.columns)return{words:le(ce(t)),scales:e};let o=new Uint8Array(n*r);for(let e=0;e<o.length;e++)o[e]=t[(e>>7)*32+(e&31)]>>6-2*(e>>5&3)&3;return{words:le(ue(o,n,r,a.columns)),scales:e}}case`q8_0`:case`q4_0`:case`q6_k`:return pe(e,s,o);default:{let t=new Uint8Array(n*r),i=new Float32Array(o);for(let n=0;n<o;n++)i[n]=fe[e.name](s,n*e.blockBytes,t,n);let c=ue(t,n,r,a.columns);return{words:e.name===`tq2_0`?le(c):c,scales:se(i,n,a)}}}}function se(e,t,n){let[r,i]=[e.length/t,C(n)];if(r===i)return e;let a=new Float32Array(t*i);for(let n=0;n<t;n++)a.set(e.subarray(n*r,(n+1)*r),n*i);return a}function ce(e){if(e.byteOffset%4==0&&e.byteLength%4==0)return new Uint32Array(e.buffer,e.byteOffset,e.byteLength/4);let t=new Uint8Array(Math.ceil(e.length/4)*4);return t.set(e),new Uint32Array(t.buffer)}function le(e){let t=new Uint32Array(e.length);for(let n=0;n<e.length;n++){let r=e[n]&e[n]>>>1&1431655765;t[n]=e[n]^r<<1}return t}function ue(e,t,n,r){let i=new Uint8Array(t*r/4).fill(85);for(let a=0;a<t;a++)for(let t=0;t<n;t++){let o=r/4*a+(t>>7)*32+(t&31),s=6-2*(t>>5&3);i[o]=i[o]&~(3<<s)|e[a*n+t]<<s}return new Uint32Array(i.buffer)}function w(e,t){let n=[1,3,9,27,81];return(r,i,a,o)=>{let s=o*e,c=i;for(let[e,i]of t){for(let t=0;t<i;t++)for(let i=0;i<e;i++)a[s++]=(r.getUint8(c+i)*n[t]&255)*3>>8;c+=e}return T(r.getUint16(c,!0))}}function de(e,t){return(n,r,i,a)=>{for(let o=0;o<e;o++){let s=n.getUint8(r+2+(o*t>>3))>>(o*t&7)&(1<<t)-1;i[a*e+o]=t===1?2*s:s}return T(n.getUint16(r,!0))}}const fe={tq1_0:w(256,[[32,5],[16,5],[4,4]]),ptq1_0:w(128,[[16,5],[8,5],[2,4]]),tq2_0:(e,t,n,r)=>{for(let i=0;i<256;i++){let a=e.getUint8(t+(i>>7)*32+(i&31));n[r*256+i]=a>>2*(i>>5&3)&3}return T(e.getUint16(t+64,!0))},q2_0:de(64,2),pq2_0:de(128,2),q1_0:de(128,1)};function pe(e,t,n){let r=new Int8Array(n*e.block),i=new Float32Array(e.name===`q6_k`?n*16:n);for(let a=0;a<n;a++){let n=a*e.blockBytes,o=a*e.block;if(e.name===`q8_0`){i[a]=T(t.getUint16(n,!0));for(let e=0;e<32;e++)r[o+e]=t.getInt8(n+2+e)}else if(e.name===`q4_0`){i[a]=T(t.getUint16(n,!0));for(let e=0;e<16;e++){let i=t.getUint8(n+2+e);r[o+e]=(i&15)-8,r[o+16+e]=(i>>4)-8}}else{let e=T(t.getUint16(n+208,!0));for(let r=0;r<16;r++)i[a*16+r]=e*t.getInt8(n+192+r);for(let e=0;e<256;e++){let[i,a,s]=[e>>7,e>>5&3,e&31],c=t.getUint8(n+i*64+32*(a&1)+s)>>4*(a>>1),l=t.getUint8(n+128+i*32+s)>>2*a;r[o+e]=(c&15|(l&3)<<4)-32}}}return{words:new Uint32Array(r.buffer),scales:i}}function T(e){let[t,n,r]=[e>>15?-1:1,e>>10&31,e&1023];return n===0?t*r*2**-24:n===31?r?NaN:t*(1/0):t*(1+r/1024)*2**(n-15)}const me={processor:4,gpu:128};function he(e){let t=e.packed?`packed`:`shifts`,n=me[e.isProcessor?`processor`:`gpu`];return{lanes:e.isProcessor?1:8,subgroups:!1,dot:t,rowThreads:n}}function ge(e){let t=e.packed?[`packed`,`shifts`,`float`]:[`shifts`,`float`],n=Math.min(e.device.adapterInfo?.subgroupMaxSize??0,64),{rowThreads:r}=he(e);return t.flatMap(t=>[{lanes:1,subgroups:!1,dot:t,rowThreads:r},{lanes:8,subgroups:!1,dot:t,rowThreads:r},...e.subgroups&&n?[{lanes:n,subgroups:!0,dot:t,rowThreads:r}]:[]])}const E=1024,_e=/* @__PURE__ */ new Map;async function ve(e){let t=`${e.adapterName} ${e.packed} ${e.subgroups}`,n=_e.get(t);if(n)return n;let r=new ye(e),i=1/0;for(let t of ge(e)){let e=await r.time(t);e>=i||(i=e,n=t)}return r.destroy(),n??=he(e),_e.set(t,n),n}var ye=class{gpu;buffers;expected=/* @__PURE__ */ new Float32Array(256);constructor(e){this.gpu=e;let t=Uint8Array.from({length:256*E/4},(e,t)=>be[t*2654435761>>>24]),n=Int8Array.from({length:E},(e,t)=>(t*40503&255)-128),{words:r,scales:i}=oe(l.i2_s,t,256,E,1),a=n.reduce((e,t)=>e+t,0);for(let e=0;e<256;e++)for(let r=0;r<E;r++){let i=t[e*E/4+(r>>7)*32+(r&31)];this.expected[e]+=((i>>6-2*(r>>5&3)&3)-1)*n[r]}let o=/* @__PURE__ */ new Int32Array(34);o[0]=1065353216,o[1]=a;let s=t=>{let n=e.buffer(t.byteLength,`trial`);return e.device.queue.writeBuffer(n,0,t),n};this.buffers={state:s(Uint32Array.of(1,0,0,0)),words:s(r),scales:s(i),codes:s(n),info:s(o),out:e.buffer(1024,`trial`)}}async time(e){let{device:t}=this.gpu,{state:n,words:r,scales:i,codes:a,info:o,out:s}=this.buffers,c={buffer:s,stride:256,at:0,width:256},[l]=ne(n,{matrix:{layout:{kind:`ternary`,columns:E,group:0},columns:E,rows:256,parts:[{firstRow:0,rows:256,words:r,scales:i}]},x:c,form:{activations:`int8`,padded:E,codes:a,info:o},out:c,residual:!1},e,`one`),u;try{u=await this.gpu.pipeline(l)}catch{return 1/0}let d=this.gpu.bind(l,u),f=1/0,p=t.createBuffer({size:1024,usage:GPUBufferUsage.COPY_DST|GPUBufferUsage.MAP_READ});for(let e=0;e<3;e++){let n=performance.now(),r=t.createCommandEncoder();r.clearBuffer(s);let i=r.beginComputePass();i.setPipeline(u),i.setBindGroup(0,d);for(let e=0;e<8;e++)i.dispatchWorkgroups(...l.groups(1));i.end(),e===0&&r.copyBufferToBuffer(s,0,p,0,1024),t.queue.submit([r.finish()]),await t.queue.onSubmittedWorkDone(),f=Math.min(f,performance.now()-n)}await p.mapAsync(GPUMapMode.READ);let m=new Float32Array(p.getMappedRange()),h=this.expected.every((e,t)=>e===m[t]);return p.destroy(),h?f:1/0}destroy(){for(let e of Object.values(this.buffers))e.destroy()}};const be=Uint8Array.from({length:256},(e,t)=>[t%3,Math.floor(t/3)%3,Math.floor(t/9)%3,Math.floor(t/27)%3].reduce((e,t,n)=>e|t<<2*n,0));function xe(e){switch(e.kind){case`embed`:return[];case`attention`:return[e.q,e.k,e.v];case`gated`:return[e.gate,e.up];case`add`:return[e.x,e.y];default:return[e.x]}}var Se=class{texts=[{ids:[],blocks:[]}];users=[];get current(){return this.texts[this.texts.length-1]}get count(){return this.users.length}begin(e,t){let[n,r]=[this.current,0];for(let i of t?[this.current]:this.texts){let t=Ce(i.ids,e);t>=r&&([n,r]=[i,t])}let i=n.ids.length-r,a=this.users[n.blocks[Math.floor(r/64)]]>1;if(i<64&&i<=r&&!a)return this.texts=[...this.texts.filter(e=>e!==n),n],n.ids.length=r,r;let o=n.blocks.slice(0,Math.floor(r/64));for(let e of o)this.users[e]++;return this.texts.push({ids:e.slice(0,o.length*64),blocks:o}),o.length*64}forget(){this.begin([],!0)}extend(e){let{blocks:t}=this.current,n=Math.ceil(e/64);for(let e=0;e<this.users.length&&t.length<n;e++)this.users[e]===0&&(this.users[e]=1,t.push(e));return t.length>=n}add(e){for(let t=0;t<e;t++)this.users.push(0)}drop(){if(this.texts.length<2)return!1;for(let e of this.texts[0].blocks)this.users[e]--;return this.texts.shift(),!0}};function Ce(e,t){let n=Math.min(e.length,t.length-1),r=0;for(;r<n&&e[r]===t[r];)r++;return Math.max(r,0)}function we({head_dim:e},t){return t===`f16`?e/2:e/4+1}function Te({window:e},t){return e===null?null:Math.ceil((e+t)/64)*64}var Ee=class{gpu;plan;type;tokens;capacity=0;pages=new Se;buffers=/* @__PURE__ */ new Map;reserved=0;constructor(e,t,n,r){this.gpu=e,this.plan=t,this.type=n,this.tokens=r}get ids(){return this.pages.current.ids}begin(e){let t=Object.values(this.plan.caches).filter(e=>e.window!==null),n=this.pages.begin(e,t.length>0),r=t.every(e=>{let t=this.reserved-this.ring(e);return t<=0||n-e.window>=t});return n&&r?n:(this.reserved=0,this.pages.forget(),0)}ring(e){return Te(e,this.tokens)}words(e){return we(this.plan.caches[e],this.type)}buffer(e,t,n){return this.buffers.get(`${e} ${t} ${n}`)}get parts(){return this.buffers.get(`parts`)}get splits(){return Math.ceil(this.capacity/256)}get table(){return this.buffers.get(`table`)}turns(e){return this.buffers.get(`turns ${e}`)}async reserve(e,t){let n=this.buffers;for(;!this.pages.extend(e);)this.capacity>=t?this.pages.drop():await this.grow(Math.min(Math.max(e,2*this.capacity),t)).catch(e=>{if(!(e instanceof o&&this.pages.drop()))throw e});return this.reserved=Math.max(this.reserved,e),this.gpu.device.queue.writeBuffer(this.table,0,Uint32Array.from(this.pages.current.blocks)),this.buffers!==n}async grow(e){let t=Math.ceil(Math.max(e,this.capacity+1)/64)*64,n=/* @__PURE__ */ new Map,r=(e,t)=>n.set(e,this.gpu.buffer(t,e));await this.gpu.allocating(`${t} positions of context`,async()=>{for(let[e,n]of Object.entries(this.plan.caches)){let i=Math.min(t,this.ring(n)??t);for(let t=0;t<n.layers;t++)for(let a of[`keys`,`values`])r(`${e} ${t} ${a}`,i*n.kv_heads*this.words(e)*4)}for(let[e,n]of Object.entries(this.plan.frequencies))r(`turns ${e}`,t*n.length*8);r(`table`,t/64*4),r(`parts`,Math.ceil(t/256)*De(this.plan)*4)}).catch(e=>{for(let e of n.values())e.destroy();throw e});let{queue:i}=this.gpu.device,a=this.gpu.device.createCommandEncoder();for(let[e,t]of this.buffers)/ (keys|values)$/.test(e)&&a.copyBufferToBuffer(t,0,n.get(e),0,t.size);i.submit([a.finish()]);for(let[e,r]of Object.entries(this.plan.frequencies))i.writeBuffer(n.get(`turns ${e}`),0,Oe(r,t));for(let e of this.buffers.values())e.destroy();this.buffers=n,this.pages.add((t-this.capacity)/64),this.capacity=t}};function De({operations:e,caches:t}){let n=e.map(e=>e.kind===`attention`?e.heads*(t[e.cache].head_dim+2):0);return Math.max(0,...n)}function Oe(e,t){let n=new Float32Array(t*e.length*2),r=0;for(let i=0;i<t;i++)for(let t of e)n[r++]=Math.cos(i*t),n[r++]=Math.sin(i*t);return n}function ke(e,t,r,i,a,o,s){let[c,l,u]=[t.q,t.k,t.v].map(e=>o.view(e)),d=r.filter(e=>e.kind===`rope`),f=r.filter(e=>e.kind===`norm`),p=/* @__PURE__ */ new Map([[t.q,t.heads],[t.k,a.kv_heads]]),m=e=>e.length===2&&e[0].out!==e[1].out&&e.every(e=>e.heads===p.get(e.out)),[h,g]=d;if(!([...f,...d].every((e,t)=>e===r[t])&&m(d)&&(f.length===0||m(f))&&h.style===g.style&&h.frequencies===g.frequencies&&f[0]?.eps===f[1]?.eps)||c.buffer!==l.buffer||c.buffer!==u.buffer)throw new n(`The attention of this plan is none that the browser's engine computes.`);let _=o.view(t.out),v=s.ring(a),y={HEADS:t.heads,KV_HEADS:a.kv_heads,HEAD_DIM:a.head_dim,KV_WORDS:s.words(t.cache),INT8_KV:s.type===`int8`,BLOCK:64,...v?{RING:!0,POSITIONS:v}:{}},b=()=>({state:e,table:s.table,keys:s.buffer(t.cache,t.layer,`keys`),values:s.buffer(t.cache,t.layer,`values`)}),x={HEADS:t.heads,HEAD_DIM:a.head_dim,WINDOW:a.window??0,SPLIT:256},ee={...y,...x,Q_STRIDE:c.stride,Q_AT:c.at,SCALE:t.scale};return{heads:{kernel:`heads`,constants:{...y,STRIDE:c.stride,Q_AT:c.at,K_AT:l.at,V_AT:u.at,INTERLEAVED:h.style===`interleaved`,...f.length&&{NORM:!0,EPS:f[0].eps}},buffers:()=>({...b(),...i,qkv:c.buffer,turns:s.turns(h.frequencies)}),groups:e=>[t.heads+2*a.kv_heads,e]},many:{kernel:`attention`,constants:{...ee,OUT_STRIDE:_.stride,OUT_AT:_.at},buffers:()=>({...b(),q:c.buffer,out:_.buffer}),groups:e=>[t.heads,e]},one:{kernel:`attention`,constants:{...ee,PARTED:!0},buffers:()=>({...b(),q:c.buffer,out:s.parts}),groups:()=>[t.heads,s.splits]},parted:{state:e,buffer:()=>s.parts,constants:x}}}function Ae(e,t,n,r,i){let{layout:a,columns:o,parts:s}=n;return s.map(n=>{let s={...Fe(i),COLUMNS:o,ROWS:n.rows,FIRST_ROW:n.firstRow,FACTOR:r,GROUP:a.group,[a.kind.toUpperCase()]:!0},c={state:e,tokens:t,weights:n.words,out:i.buffer,scales:n.scales};return{kernel:`embed`,constants:s,buffers:()=>c,groups:e=>[Math.ceil(o/64),e]}})}function je(e,t,n,{parted:r,gate:i,norm:a,quantize:o}){let s=e.buffer===t.buffer&&!r,c={...Fe(t),...Ie(e),THREADS:n,COLUMNS:e.width,HAS_INPUT:!s,IN_PLACE:s&&!i,PLAIN:!s&&!i&&!r,...r&&{PARTED:!0,...r.constants},...i&&{GATED:!0,UP_AT:i.up.at,[i.activation.toUpperCase()]:!0},...a&&{NORM:!0,EPS:a.eps},...o&&Me(o)},l={out:t.buffer,x:e.buffer,...a&&{weight:a.weight},...o&&{codes:o.codes,info:o.info}};return{kernel:`row`,constants:c,buffers:r?()=>({...l,state:r.state,x:r.buffer()}):()=>l,groups:e=>[e,1]}}function Me({activations:e,padded:t}){let n=e===`int8`?{LIMIT:127,LEAST:-128,PLANES:1}:{LIMIT:16256,LEAST:-16256,PLANES:2};return{QUANTIZE:!0,[e.toUpperCase()]:!0,PADDED:t,...n}}function Ne(e,t,n,{weight:r,eps:i}){let a={...Fe(t),...Ie(e),THREADS:n,COLUMNS:e.width,EPS:i},o={x:e.buffer,out:t.buffer,weight:r};return{kernel:`norm_add`,constants:a,buffers:()=>o,groups:e=>[e,1]}}function Pe(e,{block:t,direction:n},r,i,a){let o={...Fe(i),...Ie(r),BLOCK:t,NORMALIZER:t**-.5,HAS_INPUT:r.buffer!==i.buffer,SIGNS:a!==void 0,FORWARD:n===`forward`,INVERSE:n===`inverse`},s={state:e,out:i.buffer,x:r.buffer,...a&&{signs:a}};return{kernel:`hadamard`,constants:o,buffers:()=>s,groups:e=>[r.width/t,e]}}function Fe(e){return{OUT_STRIDE:e.stride,OUT_AT:e.at}}function Ie(e){return{X_STRIDE:e.stride,X_AT:e.at}}var Le=class{gpu;plan;views=/* @__PURE__ */ new Map;forms=/* @__PURE__ */ new Map;tokens;constructor(e,t,n){this.gpu=e,this.plan=t,this.tokens=Math.ceil(n/4)*4;for(let e of t.operations)e.kind===`attention`?this.place([e.q,e.k,e.v]):e.kind===`gated`&&this.place([e.gate,e.up]);for(let e of Object.keys(t.slots))this.place([e])}view(e){return this.views.get(e)}quantized(e,t){let n=`${e} ${t}`,r=this.forms.get(n);if(!r){let i=Math.ceil(this.plan.slots[e]/128)*128,a=t===`int15`?2:1;r={activations:t,padded:i,codes:this.gpu.buffer(this.tokens*a*i,`${n} codes`),info:this.gpu.buffer(this.tokens*(i/32+2)*4,`${n} info`)},this.forms.set(n,r)}return r}place(e){let t=e.filter(e=>!this.views.has(e)),n=t.reduce((e,t)=>e+this.plan.slots[t],0);if(!n)return;let r=this.gpu.buffer(this.tokens*n*4,t.join(` `)),i=0;for(let e of t){let t=this.plan.slots[e];this.views.set(e,{buffer:r,stride:n,at:i,width:t}),i+=t}}};async function Re(e,t,n,r,i,a,o,s){let c=new ze(e,t,n,r,i,a,o,s);return await c.run(),c}var ze=class{gpu;plan;tensors;loader;kv;frame;tuning;prefill=[];decode=[];head=[];slots;matrices=/* @__PURE__ */ new Map;fresh=/* @__PURE__ */ new Map;parted=/* @__PURE__ */ new Map;at=0;constructor(e,t,n,r,i,a,o,s){this.gpu=e,this.plan=t,this.tensors=n,this.loader=r,this.kv=i,this.frame=a,this.tuning=o,this.slots=new Le(e,t,s)}async run(){let{operations:e}=this.plan;for(;this.at<e.length;)await this.next(e[this.at]);await this.addHead(),this.gather(...this.parted.keys())}async next(e){let t=this.attentionAfter();if(t)return this.addAttention(t);switch(e.kind){case`embed`:return this.addEmbed(e.weight,e.out);case`linear`:return this.addLinears();case`norm`:if(e.heads!==1)throw new n(`A norm of heads stands where no attention follows.`);return this.addRow(e.x,e.out);case`gated`:return this.addRow(e.gate,e.out,e);case`hadamard`:return this.addHadamard(e);default:throw new n(`The browser's engine has no kernel for '${e.kind}' at this place.`)}}add(...e){this.decode.push(...e),this.prefill.push(...e)}get following(){return this.plan.operations[this.at]}readers(e){let t=[];for(let n of this.plan.operations.slice(this.at))if(xe(n).includes(e)&&t.push(n),n.out===e)return t;return e===this.plan.output?[...t,`head`]:t}wanted(e){let t=/* @__PURE__ */ new Set;for(let n of this.readers(e))n===`head`?t.add(this.plan.head.activations):n.kind===`linear`&&t.add(n.activations);return t.delete(`none`),t.size===1?[...t][0]:void 0}async loaded(e){let t=e.join(` `),n=this.matrices.get(t)??await this.loader.matrix(e);return this.matrices.set(t,n),n}async vector(e){return this.upload(await this.loader.vector(e),e)}upload(e,t){let n=this.gpu.buffer(e.byteLength,t);return this.gpu.device.queue.writeBuffer(n,0,e),n}async addEmbed(e,t){this.at++;let r=1,i=this.following;i?.kind===`scale`&&i.x===t&&i.out===t&&(r=i.factor,this.at++);let a=await this.loaded([e]);if(a.layout.kind===`ternary`)throw new n(`An embedding in a ternary encoding does not run in a browser yet.`);let{state:o,tokens:s}=this.frame;this.add(...Ae(o,s,a,r,this.slots.view(t))),this.fresh.delete(t)}async addRow(e,t,n){let r=this.following;this.at++;let i=r.kind===`norm`?r:void 0,a=this.following;if(!i&&a?.kind===`norm`&&a.heads===1&&a.x===t&&a.out===t)i=a,this.at++;else if(i&&a?.kind===`add`&&a.out===a.x&&a.y===t&&a.x!==t){if(this.at++,!this.readers(t).length)return this.addNormAdd(e,a.out,i);this.at--}n&&this.gather(n.gate,n.up),t!==e&&this.readers(e).length&&this.gather(e);let o=n&&{up:this.slots.view(n.up),activation:n.activation};await this.addRowStep(e,t,this.wanted(t),{...o&&{gate:o},...i&&{norm:await this.norm(i)}})}addRowStep(e,t,n,r){let i=n&&this.slots.quantized(t,n),[a,o,s]=[this.slots.view(e),this.slots.view(t),{...r,...i&&{quantize:i}}],c=this.parted.get(e),{rowThreads:l}=this.tuning;this.prefill.push(je(a,o,l,s)),this.decode.push(je(a,o,l,{...s,...c&&{parted:c}})),this.parted.delete(e),this.fresh.delete(t),n&&this.fresh.set(t,n)}gather(...e){for(let t of e)this.parted.has(t)&&this.addRowStep(t,t,void 0,{})}async addNormAdd(e,t,n){this.gather(e);let{rowThreads:r}=this.tuning;this.add(Ne(this.slots.view(e),this.slots.view(t),r,await this.norm(n))),this.fresh.delete(t)}async norm({weight:e,eps:t}){return{weight:await this.vector(e),eps:t}}input(e,t){let n=this.slots.view(e);return t===`none`?(this.gather(e),{x:n}):(this.fresh.get(e)!==t&&this.addRowStep(e,e,t,{}),{x:n,form:this.slots.quantized(e,t)})}async addLinears(){let e=this.following,t=[e];for(this.at++;this.following?.kind===`linear`;this.at++){let n=this.following;if(n.x!==e.x||n.activations!==e.activations||this.layoutKey(n.weight)!==this.layoutKey(e.weight))break;let r=this.slots.view(t[t.length-1].out),i=this.slots.view(n.out);if(i.buffer!==r.buffer||i.at!==r.at+r.width)break;t.push(n)}let n=this.slots.view(e.out),r=!1,i=this.following;t.length===1&&i?.kind===`add`&&i.x===i.out&&i.y===e.out&&(this.at++,this.readers(e.out).length?this.at--:(n=this.slots.view(i.out),r=!0,this.fresh.delete(i.out)));let a=this.input(e.x,e.activations),o=await this.loaded(t.map(e=>e.weight)),s=await this.biases(t),c={matrix:o,...a,out:n,residual:r,...s&&{bias:s}};this.decode.push(...ne(this.frame.state,c,this.tuning,`one`)),this.prefill.push(...ne(this.frame.state,c,this.tuning,`many`));for(let e of t)this.fresh.delete(e.out)}layoutKey(e){let{encoding:t,shape:n}=this.tensors.get(e);return JSON.stringify(S(t,n[1]))}async biases(e){if(e.every(e=>e.bias===null))return;let t=[];for(let n of e){let e=this.tensors.get(n.weight).shape[0];t.push(...n.bias===null?new Float32Array(e):await this.loader.vector(n.bias))}return this.upload(Float32Array.from(t),`biases`)}attentionAfter(){let{operations:e}=this.plan,t=this.at;for(;e[t]?.kind===`norm`||e[t]?.kind===`rope`;)t++;let n=e[t];if(n?.kind===`attention`)return e.slice(this.at,t).every(e=>e.out===e.x&&(e.out===n.q||e.out===n.k))?n:void 0}async addAttention(e){let t=[];for(;this.following!==e;this.at++)t.push(this.following);this.at++;let n={};for(let r of t)r.kind===`norm`&&(n[r.x===e.q?`q_weight`:`k_weight`]=await this.vector(r.weight));let r=this.plan.caches[e.cache],i=ke(this.frame.state,e,t,n,r,this.slots,this.kv);this.prefill.push(i.heads,i.many),this.decode.push(i.heads,i.one),this.parted.set(e.out,i.parted);for(let t of[e.out,e.q,e.k])this.fresh.delete(t)}addHadamard(e){this.at++,this.gather(e.x);let[t,n]=[this.slots.view(e.x),this.slots.view(e.out)],r=e.signs===null?void 0:this.plan.signs[e.signs],i=r&&this.upload(Float32Array.from(r),`signs`);this.add(Pe(this.frame.state,e,t,n,i)),this.fresh.delete(e.out)}async addHead(){let{head:e,output:t,vocab_size:n}=this.plan,r=this.input(t,e.activations),i=await this.loaded([e.weight]),a={buffer:this.frame.logits,stride:n,at:0,width:n},o={matrix:i,...r,out:a,residual:!1};this.head.push(...ne(this.frame.state,o,this.tuning,`last`))}},Be=`// Causal attention of one query head of one token: tiles of positions, with the softmax corrected from tile to tile
// (arXiv 2205.14135, algorithm 1). Positions are split in runs of SPLIT, each of which is summed by itself, so that the
// result does not depend on who does it: a workgroup all of them one after another, or, with PARTED, each its own; what
// reads the parts then adds them in the same order (row.wgsl).
@group(0) @binding(0) var<storage, read> state: State;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> keys: array<u32>;
@group(0) @binding(3) var<storage, read> values: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
//#if RING
//#else
@group(0) @binding(5) var<storage, read> table: array<u32>;
//#endif

const TILE = 64u;
const LEAST = -3.0e38;
//#if INT8_KV
const PARTS = 4u;  // values in a word
//#else
const PARTS = 2u;
//#endif
const WORDS = HEAD_DIM / PARTS;
const OWN = (WORDS + TILE - 1u) / TILE;  // words of the output that a thread computes
var<workgroup> query: array<f32, HEAD_DIM>;
var<workgroup> weight: array<f32, TILE>;
var<workgroup> reduced: array<f32, TILE>;
var<workgroup> places: array<u32, TILE>;  // where the heads of a tile's positions lie

//#if INT8_KV
fn bytes_of(word: u32) -> vec4<f32> {
  return vec4<f32>((vec4<i32>(bitcast<i32>(word)) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
}
//#endif

fn reduce(own: f32, lid: u32, is_sum: bool) -> f32 {
  workgroupBarrier();
  reduced[lid] = own;
  for (var width = TILE / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lid < width) {
      let other = reduced[lid + width];
      reduced[lid] = select(max(reduced[lid], other), reduced[lid] + other, is_sum);
    }
  }
  workgroupBarrier();
  return reduced[0];
}

fn score(at: u32) -> f32 {
  var sum = 0.0;
  for (var i = 0u; i < WORDS; i++) {
    //#if INT8_KV
    sum += dot(bytes_of(keys[at + i]), vec4<f32>(query[4u * i], query[4u * i + 1u], query[4u * i + 2u], query[4u * i + 3u]));
    //#else
    sum += dot(unpack2x16float(keys[at + i]), vec2<f32>(query[2u * i], query[2u * i + 1u]));
    //#endif
  }
  //#if INT8_KV
  sum *= bitcast<f32>(keys[at + WORDS]);
  //#endif
  return sum * SCALE;
}

// The sums over positions from \`begin\` to \`end\`: of values, of the weights, and the highest score.
var<private> sums: array<vec4<f32>, OWN>;
var<private> total: f32;
var<private> highest: f32;

fn attend(begin: u32, end: u32, kv_head: u32, lid: u32) {
  for (var o = 0u; o < OWN; o++) {
    sums[o] = vec4<f32>();
  }
  total = 0.0;
  highest = LEAST;
  for (var tile = begin; tile < end; tile += TILE) {
    let position = tile + lid;
    var own = LEAST;
    let place = (place_of(position) * KV_HEADS + kv_head) * KV_WORDS;
    places[lid] = place;
    if (position < end) {
      own = score(place);
    }
    let higher = max(highest, reduce(own, lid, false));
    let correction = exp(highest - higher);
    highest = higher;
    let share = select(0.0, exp(own - highest), position < end);
    //#if INT8_KV
    var scale = 0.0;
    if (position < end) {
      scale = bitcast<f32>(values[place + WORDS]);
    }
    weight[lid] = share * scale;
    //#else
    weight[lid] = share;
    //#endif
    total = total * correction + reduce(share, lid, true);
    let count = min(TILE, end - tile);
    for (var o = 0u; o < OWN; o++) {
      let word = lid + o * TILE;
      if (word < WORDS) {
        var sum = sums[o] * correction;
        for (var p = 0u; p < count; p++) {
          let stored = values[places[p] + word];
          //#if INT8_KV
          sum += weight[p] * bytes_of(stored);
          //#else
          sum += weight[p] * vec4<f32>(unpack2x16float(stored), 0.0, 0.0);
          //#endif
        }
        sums[o] = sum;
      }
    }
    workgroupBarrier();
  }
}

@compute @workgroup_size(TILE)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let head = wid.x;
  //#if PARTED
  let token = 0u;
  //#else
  let token = wid.y;
  //#endif
  let kv_head = head / (HEADS / KV_HEADS);
  let end = state.position + token + 1u;
  let begin = select(0u, end - WINDOW, WINDOW > 0u && end > WINDOW);
  for (var i = lid; i < HEAD_DIM; i += TILE) {
    query[i] = q[token * Q_STRIDE + Q_AT + head * HEAD_DIM + i];
  }
  workgroupBarrier();
  //#if PARTED
  let first = max(wid.y * SPLIT, begin);
  let last = min((wid.y + 1u) * SPLIT, end);
  if (first >= last) {
    return;
  }
  attend(first, last, kv_head, lid);
  let place = (wid.y * HEADS + head) * (HEAD_DIM + 2u);
  for (var o = 0u; o < OWN; o++) {
    let word = lid + o * TILE;
    if (word < WORDS) {
      for (var part = 0u; part < PARTS; part++) {
        out[place + word * PARTS + part] = sums[o][part];
      }
    }
  }
  if (lid == 0u) {
    out[place + HEAD_DIM] = highest;
    out[place + HEAD_DIM + 1u] = total;
  }
  //#else
  var all: array<vec4<f32>, OWN>;
  var all_total = 0.0;
  var all_highest = LEAST;
  for (var split = begin / SPLIT; split * SPLIT < end; split++) {
    attend(max(split * SPLIT, begin), min((split + 1u) * SPLIT, end), kv_head, lid);
    let higher = max(all_highest, highest);
    let before = exp(all_highest - higher);
    let now = exp(highest - higher);
    all_total = all_total * before + total * now;
    for (var o = 0u; o < OWN; o++) {
      all[o] = all[o] * before + sums[o] * now;
    }
    all_highest = higher;
  }
  for (var o = 0u; o < OWN; o++) {
    let word = lid + o * TILE;
    if (word < WORDS) {
      for (var part = 0u; part < PARTS; part++) {
        out[token * OUT_STRIDE + OUT_AT + head * HEAD_DIM + word * PARTS + part] = all[o][part] / all_total;
      }
    }
  }
  //#endif
}
`,Ve=`// Four products of signed bytes, added in float32: they are whole numbers below 2^24, so the sum is exact. Processors
// without byte products (Apple's) do this faster than integers.
fn dot4(a: u32, b: u32) -> i32 {
  let shift = vec4<u32>(24u, 16u, 8u, 0u);
  let x = vec4<f32>((vec4<i32>(bitcast<i32>(a)) << shift) >> vec4<u32>(24u));
  let y = vec4<f32>((vec4<i32>(bitcast<i32>(b)) << shift) >> vec4<u32>(24u));
  return i32(dot(x, y));
}
`,He=`// Four products of signed bytes, added: the processor's own instruction.
fn dot4(a: u32, b: u32) -> i32 {
  return dot4I8Packed(a, b);
}
`,Ue=`// Four products of signed bytes, added, where there is no instruction for it.
fn dot4(a: u32, b: u32) -> i32 {
  let shift = vec4<u32>(24u, 16u, 8u, 0u);
  let x = (vec4<i32>(bitcast<i32>(a)) << shift) >> vec4<u32>(24u);
  let y = (vec4<i32>(bitcast<i32>(b)) << shift) >> vec4<u32>(24u);
  return x.x * y.x + x.y * y.y + x.z * y.z + x.w * y.w;
}
`,We=`// out[t] = weight[token_t] * FACTOR: rows FIRST_ROW to FIRST_ROW + ROWS of the embedding are in this buffer.
@group(0) @binding(0) var<storage, read> state: State;
@group(0) @binding(1) var<storage, read> tokens: array<u32>;
@group(0) @binding(2) var<storage, read> weights: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
//#if BYTES
@group(0) @binding(4) var<storage, read> scales: array<f32>;
//#endif

fn value(row: u32, column: u32) -> f32 {
  //#if F32
  return bitcast<f32>(weights[row * COLUMNS + column]);
  //#endif
  //#if F16
  return unpack2x16float(weights[(row * COLUMNS + column) / 2u])[column % 2u];
  //#endif
  //#if BYTES
  let word = weights[(row * COLUMNS + column) / 4u];
  let code = extractBits(bitcast<i32>(word), 8u * (column % 4u), 8u);
  return f32(code) * scales[(row * COLUMNS + column) / GROUP];
  //#endif
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let column = id.x;
  let row = tokens[id.y] - FIRST_ROW;  // wraps around for rows before this part
  if (column >= COLUMNS || id.y >= state.n || row >= ROWS) {
    return;
  }
  out[id.y * OUT_STRIDE + OUT_AT + column] = value(row, column) * FACTOR;
}
`,Ge=`// The normalised Walsh-Hadamard transform of one run of BLOCK columns of one token a workgroup, in workgroup memory.
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
//#if HAS_INPUT
@group(0) @binding(2) var<storage, read> x: array<f32>;
//#endif
//#if SIGNS
@group(0) @binding(3) var<storage, read> signs: array<f32>;
//#endif

const THREADS = 64u;
var<workgroup> row: array<f32, BLOCK>;

fn sign_of(column: u32) -> f32 {
  //#if SIGNS
  return signs[column];
  //#else
  return 1.0;
  //#endif
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let token = wid.y;
  let first = wid.x * BLOCK;
  for (var i = lid; i < BLOCK; i += THREADS) {
    //#if HAS_INPUT
    var value = x[token * X_STRIDE + X_AT + first + i];
    //#else
    var value = out[token * OUT_STRIDE + OUT_AT + first + i];
    //#endif
    //#if FORWARD
    value *= sign_of(first + i);
    //#endif
    row[i] = value;
  }
  for (var width = 1u; width < BLOCK; width *= 2u) {
    workgroupBarrier();
    for (var pair = lid; pair < BLOCK / 2u; pair += THREADS) {
      let a = (pair / width) * 2u * width + pair % width;
      let sum = row[a] + row[a + width];
      row[a + width] = row[a] - row[a + width];
      row[a] = sum;
    }
  }
  workgroupBarrier();
  for (var i = lid; i < BLOCK; i += THREADS) {
    var value = row[i] * NORMALIZER;
    //#if INVERSE
    value *= sign_of(first + i);
    //#endif
    out[token * OUT_STRIDE + OUT_AT + first + i] = value;
  }
}
`,Ke=`// One head of q, k or v of one token a workgroup: the norm of a head, the rotary embedding, and the place of keys and
// values in the cache. Heads are numbered q first, then k, then v.
@group(0) @binding(0) var<storage, read> state: State;
@group(0) @binding(1) var<storage, read_write> qkv: array<f32>;
// cos and sin of each position's pairs.
@group(0) @binding(2) var<storage, read> turns: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read_write> keys: array<u32>;
@group(0) @binding(4) var<storage, read_write> values: array<u32>;
//#if RING
//#else
@group(0) @binding(7) var<storage, read> table: array<u32>;
//#endif
//#if NORM
@group(0) @binding(5) var<storage, read> q_weight: array<f32>;
@group(0) @binding(6) var<storage, read> k_weight: array<f32>;
//#endif

const THREADS = 64u;
const HALF = HEAD_DIM / 2u;
var<workgroup> row: array<f32, HEAD_DIM>;
var<workgroup> shared_values: array<f32, THREADS>;

//#if INT8_KV
fn largest_of_all(own: f32, lid: u32) -> f32 {
  workgroupBarrier();
  shared_values[lid] = own;
  for (var width = THREADS / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lid < width) {
      shared_values[lid] = max(shared_values[lid], shared_values[lid + width]);
    }
  }
  workgroupBarrier();
  return shared_values[0];
}
//#endif

fn keep(is_key: bool, at: u32, word: u32) {
  if (is_key) {
    keys[at] = word;
  } else {
    values[at] = word;
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let token = wid.y;
  let is_q = wid.x < HEADS;
  let is_v = wid.x >= HEADS + KV_HEADS;
  let kv_head = select(wid.x - HEADS, wid.x - HEADS - KV_HEADS, is_v);
  let at = token * STRIDE + select(select(K_AT, V_AT, is_v) + kv_head * HEAD_DIM, Q_AT + wid.x * HEAD_DIM, is_q);
  for (var i = lid; i < HEAD_DIM; i += THREADS) {
    row[i] = qkv[at + i];
  }
  workgroupBarrier();
  //#if NORM
  var squares = 0.0;
  for (var i = lid; i < HEAD_DIM; i += THREADS) {
    squares += row[i] * row[i];
  }
  shared_values[lid] = squares;
  for (var width = THREADS / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lid < width) {
      shared_values[lid] += shared_values[lid + width];
    }
  }
  workgroupBarrier();
  let inverse = 1.0 / sqrt(shared_values[0] / f32(HEAD_DIM) + EPS);
  if (!is_v) {
    for (var i = lid; i < HEAD_DIM; i += THREADS) {
      row[i] = row[i] * inverse * select(k_weight[i], q_weight[i], is_q);
    }
  }
  workgroupBarrier();
  //#endif
  let position = state.position + token;
  if (!is_v) {
    for (var i = lid; i < HALF; i += THREADS) {
      //#if INTERLEAVED
      let first = 2u * i;
      let second = 2u * i + 1u;
      //#else
      let first = i;
      let second = i + HALF;
      //#endif
      let turn = turns[position * HALF + i];
      let a = row[first];
      let b = row[second];
      row[first] = a * turn.x - b * turn.y;
      row[second] = b * turn.x + a * turn.y;
    }
  }
  workgroupBarrier();
  if (is_q) {
    for (var i = lid; i < HEAD_DIM; i += THREADS) {
      qkv[at + i] = row[i];
    }
    return;
  }
  let place = (place_of(position) * KV_HEADS + kv_head) * KV_WORDS;
  //#if INT8_KV
  // The last word is the scale: absmax of the head.
  var largest = 1e-5;
  for (var i = lid; i < HEAD_DIM; i += THREADS) {
    largest = max(largest, abs(row[i]));
  }
  let s = 127.0 / largest_of_all(largest, lid);
  for (var i = lid; i < HEAD_DIM / 4u; i += THREADS) {
    var word = 0u;
    for (var byte = 0u; byte < 4u; byte++) {
      let q = i32(clamp(round(row[4u * i + byte] * s), -128.0, 127.0));
      word = insertBits(word, bitcast<u32>(q), 8u * byte, 8u);
    }
    keep(!is_v, place + i, word);
  }
  if (lid == 0u) {
    keep(!is_v, place + HEAD_DIM / 4u, bitcast<u32>(1.0 / s));
  }
  //#else
  for (var i = lid; i < HALF; i += THREADS) {
    keep(!is_v, place + i, pack2x16float(vec2<f32>(row[2u * i], row[2u * i + 1u])));
  }
  //#endif
}
`,qe=`// out = W · x for W in signed bytes (Q8_0, Q6_K, Q4_0), GROUP columns of which share a scale; x in int15.
// One row of one token for LANES threads.
@group(0) @binding(3) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> scales: array<f32>;
@group(0) @binding(5) var<storage, read> codes: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read> info: array<u32>;

alias Sum = f32;
const GROUPS = COLUMNS / GROUP;
const QUADS = PADDED / 16u;  // vectors of words in a plane of codes
const INFO = PADDED / 32u + 2u;

fn products(w: vec4<u32>, x: vec4<u32>) -> i32 {
  return dot4(w.x, x.x) + dot4(w.y, x.y) + dot4(w.z, x.z) + dot4(w.w, x.w);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let lane = lid % LANES;
  let row = wid.x * (THREADS / LANES) + lid / LANES;
  let own = min(row, ROWS - 1u);
  let token = token_of(wid.y);
  var sum = 0.0;
  for (var g = lane; g < GROUPS; g += LANES) {
    var whole = 0;
    for (var quad = g * (GROUP / 16u); quad < (g + 1u) * (GROUP / 16u); quad++) {
      let w = weights[own * (COLUMNS / 16u) + quad];
      let at = token * 2u * QUADS + quad;
      whole += 128 * products(w, codes[at + QUADS]) + products(w, codes[at]);
    }
    sum += f32(whole) * scales[own * GROUPS + g];
  }
  sum = sum_of_lanes(sum, lane, lid);
  if (lane != 0u || row >= ROWS) {
    return;
  }
  store(token, row, sum * (1.0 / bitcast<f32>(info[token * INFO])));
}
`,Je=`// out = W · x for W in F16 or F32 and x in float32.
// One row of one token for LANES threads.
@group(0) @binding(3) var<storage, read> weights: array<u32>;
@group(0) @binding(4) var<storage, read> x: array<f32>;

alias Sum = f32;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let lane = lid % LANES;
  let row = wid.x * (THREADS / LANES) + lid / LANES;
  let own = min(row, ROWS - 1u);
  let token = token_of(wid.y);
  var sum = 0.0;
  // Two columns at a time.
  for (var pair = lane; pair < COLUMNS / 2u; pair += LANES) {
    //#if F16
    let w = unpack2x16float(weights[own * (COLUMNS / 2u) + pair]);
    //#else
    let w = bitcast<vec2<f32>>(vec2<u32>(weights[own * COLUMNS + 2u * pair], weights[own * COLUMNS + 2u * pair + 1u]));
    //#endif
    let at = token * X_STRIDE + X_AT + 2u * pair;
    sum += dot(w, vec2<f32>(x[at], x[at + 1u]));
  }
  sum = sum_of_lanes(sum, lane, lid);
  if (lane != 0u || row >= ROWS) {
    return;
  }
  store(token, row, sum);
}
`,Ye=`// What the kernels share that compute one row of W · x for one token in LANES threads (\`lane\` is a thread's number
// among them): the token, the sum over lanes, and where the product goes. Each kernel says what a Sum is.
//#if LAST
@group(0) @binding(0) var<storage, read> state: State;
//#endif
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
//#if BIAS
@group(0) @binding(2) var<storage, read> bias: array<f32>;
//#endif

const THREADS = 64u;

//#if SHARED
var<workgroup> partial: array<Sum, THREADS>;
//#endif

// The last token of the pass, or that of the workgroup.
fn token_of(workgroup: u32) -> u32 {
  //#if LAST
  return state.n - 1u;
  //#else
  return workgroup;
  //#endif
}

// The sum of all lanes; only lane 0 has it whole.
fn sum_of_lanes(own: Sum, lane: u32, lid: u32) -> Sum {
  var sum = own;
  //#if SHARED
  partial[lid] = sum;
  workgroupBarrier();
  if (lane == 0u) {
    for (var other = 1u; other < LANES; other++) {
      sum += partial[lid + other];
    }
  }
  //#endif
  return sum;
}

// Writes a product with its bias, added to what \`out\` has where it is a residual.
fn store(token: u32, row: u32, product: f32) {
  var value = product;
  //#if BIAS
  value += bias[row];
  //#endif
  //#if LAST
  let place = FIRST_ROW + row;
  //#else
  let place = token * OUT_STRIDE + OUT_AT + FIRST_ROW + row;
  //#endif
  //#if RESIDUAL
  value += out[place];
  //#endif
  out[place] = value;
}
`,Xe=`// out = W · x for ternary W in I2_S blocks: word c of a block of 128 weights has, at the shifts 6, 4, 2 and 0, the
// fields (weight + 1) of four columns in each of the block's runs of 32. Sums of whole numbers are exact.
// One row of one token for LANES threads, or for a subgroup.
@group(0) @binding(3) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> scales: array<f32>;
@group(0) @binding(5) var<storage, read> codes: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read> info: array<u32>;

const BLOCKS = COLUMNS / 128u;
const QUADS = COLUMNS / 16u;  // vectors of words in a plane of codes
const INFO = COLUMNS / 32u + 2u;
const RUNS = 4u / PARTS;  // runs of a block that share a scale
const FIELDS = vec4<u32>(0x03030303u);

//#if GROUPED
alias Sum = f32;
//#else
alias Sum = i32;
//#endif

fn products(fields: vec4<u32>, at: u32) -> i32 {
  let x = codes[at];
  let sum = dot4(fields.x, x.x) + dot4(fields.y, x.y) + dot4(fields.z, x.z) + dot4(fields.w, x.w);
  //#if INT15
  let y = codes[at + QUADS];
  return sum + 128 * (dot4(fields.x, y.x) + dot4(fields.y, y.y) + dot4(fields.z, y.z) + dot4(fields.w, y.w));
  //#else
  return sum;
  //#endif
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) wid: vec3<u32>,
  @builtin(local_invocation_index) lid: u32,
  //#if SUBGROUPS
  @builtin(subgroup_size) subgroup_size: u32,
  @builtin(subgroup_invocation_id) subgroup_lane: u32,
  //#endif
) {
  //#if SUBGROUPS
  let lanes = subgroup_size;
  let lane = subgroup_lane;
  //#else
  let lanes = LANES;
  let lane = lid % LANES;
  //#endif
  let row = wid.x * (THREADS / lanes) + lid / lanes;
  let token = token_of(wid.y);
  var sum = Sum();
  let first = min(row, ROWS - 1u) * BLOCKS;
  for (var b = lane; b < BLOCKS; b += lanes) {
    let at = token * PLANES * QUADS + b * 8u;
    //#if GROUPED
    for (var part = 0u; part < PARTS; part++) {
      var whole = 0;
      for (var run = part * RUNS; run < (part + 1u) * RUNS; run++) {
        let shift = vec4<u32>(6u - 2u * run);
        whole += products((weights[(first + b) * 2u] >> shift) & FIELDS, at + 2u * run);
        whole += products((weights[(first + b) * 2u + 1u] >> shift) & FIELDS, at + 2u * run + 1u);
        whole -= bitcast<i32>(info[token * INFO + 2u + b * 4u + run]);
      }
      sum += f32(whole) * scales[min(row, ROWS - 1u) * (COLUMNS / GROUP) + (b * 128u + part * RUNS * 32u) / GROUP];
    }
    //#else
    for (var half = 0u; half < 2u; half++) {
      let w = weights[(first + b) * 2u + half];
      sum += products((w >> vec4<u32>(6u)) & FIELDS, at + half) + products((w >> vec4<u32>(4u)) & FIELDS, at + 2u + half);
      sum += products((w >> vec4<u32>(2u)) & FIELDS, at + 4u + half) + products(w & FIELDS, at + 6u + half);
    }
    //#endif
  }
  //#if SUBGROUPS
  sum = subgroupAdd(sum);
  //#endif
  sum = sum_of_lanes(sum, lane, lid);
  if (lane != 0u || row >= ROWS) {
    return;
  }
  let s = bitcast<f32>(info[token * INFO]);
  //#if GROUPED
  let value = sum * (1.0 / s);
  //#else
  let value = f32(sum - bitcast<i32>(info[token * INFO + 1u])) * (scales[row] / s);
  //#endif
  store(token, row, value);
}
`,Ze=`// As linear_ternary, four rows of four tokens a thread: each weight that is read is used four times, and each code too.
@group(0) @binding(0) var<storage, read> state: State;
@group(0) @binding(1) var<storage, read> weights: array<u32>;
@group(0) @binding(2) var<storage, read> scales: array<f32>;
@group(0) @binding(3) var<storage, read> codes: array<u32>;
@group(0) @binding(4) var<storage, read> info: array<u32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;
//#if BIAS
@group(0) @binding(6) var<storage, read> bias: array<f32>;
//#endif

const THREADS = 64u;
const BLOCKS = COLUMNS / 128u;
const WORDS = COLUMNS / 4u;  // words in a plane of codes
const INFO = COLUMNS / 32u + 2u;
const RUNS = 4u / PARTS;  // runs of a block that share a scale
const FIELDS = vec4<u32>(0x03030303u);

//#if GROUPED
alias Sums = vec4<f32>;
//#else
alias Sums = vec4<i32>;
//#endif

// The products of a word of each row with the word of codes at a place.
fn products(fields: vec4<u32>, at: u32) -> vec4<i32> {
  let x = codes[at];
  let sums = vec4<i32>(dot4(fields.x, x), dot4(fields.y, x), dot4(fields.z, x), dot4(fields.w, x));
  //#if INT15
  let y = codes[at + WORDS];
  return sums + 128 * vec4<i32>(dot4(fields.x, y), dot4(fields.y, y), dot4(fields.z, y), dot4(fields.w, y));
  //#else
  return sums;
  //#endif
}

fn word(rows: vec4<u32>, at: u32) -> vec4<u32> {
  let places = rows * (COLUMNS / 16u) + at;
  return vec4<u32>(weights[places.x], weights[places.y], weights[places.z], weights[places.w]);
}

fn write(token: u32, row0: u32, sums: Sums) {
  if (token >= state.n) {
    return;
  }
  let s = bitcast<f32>(info[token * INFO]);
  for (var r = 0u; r < 4u; r++) {
    let row = row0 + r;
    if (row >= ROWS) {
      return;
    }
    //#if GROUPED
    var value = sums[r] * (1.0 / s);
    //#else
    var value = f32(sums[r] - bitcast<i32>(info[token * INFO + 1u])) * (scales[row] / s);
    //#endif
    //#if BIAS
    value += bias[row];
    //#endif
    let place = token * OUT_STRIDE + OUT_AT + FIRST_ROW + row;
    //#if RESIDUAL
    value += out[place];
    //#endif
    out[place] = value;
  }
}

//#if GROUPED
fn minus(token: u32, run: u32) -> i32 {
  return bitcast<i32>(info[token * INFO + 2u + run]);
}
//#endif

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row0 = id.x * 4u;
  let token = id.y * 4u;
  let rows = min(vec4<u32>(row0, row0 + 1u, row0 + 2u, row0 + 3u), vec4<u32>(ROWS - 1u));
  let stride = PLANES * WORDS;
  var a = Sums();
  var b = Sums();
  var c = Sums();
  var d = Sums();
  for (var block = 0u; block < BLOCKS; block++) {
    let at = token * stride + block * 32u;
    //#if GROUPED
    for (var part = 0u; part < PARTS; part++) {
      var e = vec4<i32>();
      var f = vec4<i32>();
      var g = vec4<i32>();
      var h = vec4<i32>();
      for (var run = part * RUNS; run < (part + 1u) * RUNS; run++) {
        for (var k = 0u; k < 8u; k++) {
          let fields = (word(rows, block * 8u + k) >> vec4<u32>(6u - 2u * run)) & FIELDS;
          let place = at + 8u * run + k;
          e += products(fields, place);
          f += products(fields, place + stride);
          g += products(fields, place + 2u * stride);
          h += products(fields, place + 3u * stride);
        }
        e -= minus(token, block * 4u + run);
        f -= minus(token + 1u, block * 4u + run);
        g -= minus(token + 2u, block * 4u + run);
        h -= minus(token + 3u, block * 4u + run);
      }
      let places = rows * (COLUMNS / GROUP) + (block * 128u + part * RUNS * 32u) / GROUP;
      let scale = vec4<f32>(scales[places.x], scales[places.y], scales[places.z], scales[places.w]);
      a += vec4<f32>(e) * scale;
      b += vec4<f32>(f) * scale;
      c += vec4<f32>(g) * scale;
      d += vec4<f32>(h) * scale;
    }
    //#else
    for (var k = 0u; k < 8u; k++) {
      let w = word(rows, block * 8u + k);
      for (var run = 0u; run < 4u; run++) {
        let fields = (w >> vec4<u32>(6u - 2u * run)) & FIELDS;
        let place = at + 8u * run + k;
        a += products(fields, place);
        b += products(fields, place + stride);
        c += products(fields, place + 2u * stride);
        d += products(fields, place + 3u * stride);
      }
    }
    //#endif
  }
  write(token, row0, a);
  write(token + 1u, row0, b);
  write(token + 2u, row0, c);
  write(token + 3u, row0, d);
}
`,Qe=`// out += x / sqrt(mean(x²) + EPS) * weight, one row a workgroup.
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

var<workgroup> squares: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let row = wid.x * X_STRIDE + X_AT;
  var own = 0.0;
  for (var column = lid; column < COLUMNS; column += THREADS) {
    own += x[row + column] * x[row + column];
  }
  squares[lid] = own;
  for (var width = THREADS / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lid < width) {
      squares[lid] += squares[lid + width];
    }
  }
  workgroupBarrier();
  let inverse = 1.0 / sqrt(squares[0] / f32(COLUMNS) + EPS);
  for (var column = lid; column < COLUMNS; column += THREADS) {
    out[wid.x * OUT_STRIDE + OUT_AT + column] += x[row + column] * inverse * weight[column];
  }
}
`,$e=`// Where a position of the text lies in the cache: in the block that the table names, or in a ring of the last positions.
fn place_of(position: u32) -> u32 {
  //#if RING
  return position % POSITIONS;
  //#else
  return table[position / BLOCK] * BLOCK + position % BLOCK;
  //#endif
}
`,et=`// One row a workgroup: what an operation gives, a norm of it, and the quantisation that the next
// matrices want. Each part is there only where a plan asks for it.
//#if PARTED
@group(0) @binding(0) var<storage, read> state: State;
//#endif
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
//#if HAS_INPUT
@group(0) @binding(2) var<storage, read> x: array<f32>;
//#endif
//#if NORM
@group(0) @binding(3) var<storage, read> weight: array<f32>;
//#endif
//#if QUANTIZE
@group(0) @binding(4) var<storage, read_write> codes: array<u32>;
// For each token: the scale s as bits, the sum of all codes, the sums of runs of 32 columns.
@group(0) @binding(5) var<storage, read_write> info: array<u32>;
//#endif

var<workgroup> shared_values: array<f32, THREADS>;

//#if GATED
fn activation(g: f32) -> f32 {
  //#if RELU2
  let positive = max(g, 0.0);
  return positive * positive;
  //#endif
  //#if SILU
  return g / (1.0 + exp(-g));
  //#endif
  //#if GELU
  // g / 2 * (1 + tanh(u)) = g / (1 + e^(-2u)), arXiv 1606.08415, section 2.
  return g / (1.0 + exp(-1.5957691216 * (g + 0.044715 * (g * g * g))));
  //#endif
}
//#endif

//#if PARTED
// A column of what an attention gives, from the sums over its runs of positions (attention.wgsl).
fn merged(column: u32) -> f32 {
  let head = column / HEAD_DIM;
  let end = state.position + 1u;
  let begin = select(0u, end - WINDOW, WINDOW > 0u && end > WINDOW);
  var sum = 0.0;
  var total = 0.0;
  var highest = -3.0e38;
  for (var split = begin / SPLIT; split * SPLIT < end; split++) {
    let place = (split * HEADS + head) * (HEAD_DIM + 2u);
    let higher = max(highest, x[place + HEAD_DIM]);
    let before = exp(highest - higher);
    let now = exp(x[place + HEAD_DIM] - higher);
    total = total * before + x[place + HEAD_DIM + 1u] * now;
    sum = sum * before + x[place + column % HEAD_DIM] * now;
    highest = higher;
  }
  return sum / total;
}
//#endif

fn input(token: u32, column: u32) -> f32 {
  //#if GATED
  let gate = token * X_STRIDE + X_AT + column;
  let up = token * X_STRIDE + UP_AT + column;
  //#if HAS_INPUT
  return activation(x[gate]) * x[up];
  //#else
  return activation(out[gate]) * out[up];
  //#endif
  //#endif
  //#if PARTED
  return merged(column);
  //#endif
  //#if PLAIN
  return x[token * X_STRIDE + X_AT + column];
  //#endif
  //#if IN_PLACE
  return out[token * OUT_STRIDE + OUT_AT + column];
  //#endif
}

fn sum_of_all(own: f32, lid: u32) -> f32 {
  shared_values[lid] = own;
  for (var width = THREADS / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lid < width) {
      shared_values[lid] += shared_values[lid + width];
    }
  }
  workgroupBarrier();
  return shared_values[0];
}

fn largest_of_all(own: f32, lid: u32) -> f32 {
  shared_values[lid] = own;
  for (var width = THREADS / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lid < width) {
      shared_values[lid] = max(shared_values[lid], shared_values[lid + width]);
    }
  }
  workgroupBarrier();
  return shared_values[0];
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let token = wid.x;
  let base = token * OUT_STRIDE + OUT_AT;
  var squares = 0.0;
  for (var column = lid; column < COLUMNS; column += THREADS) {
    let value = input(token, column);
    squares += value * value;
    out[base + column] = value;
  }
  var largest = 1e-5;
  //#if NORM
  let inverse = 1.0 / sqrt(sum_of_all(squares, lid) / f32(COLUMNS) + EPS);
  workgroupBarrier();
  //#endif
  for (var column = lid; column < COLUMNS; column += THREADS) {
    var value = out[base + column];
    //#if NORM
    value = value * inverse * weight[column];
    //#endif
    out[base + column] = value;
    largest = max(largest, abs(value));
  }
  //#if QUANTIZE
  let s = LIMIT / largest_of_all(largest, lid);
  storageBarrier();
  workgroupBarrier();
  let words = PADDED / 4u;
  let runs = PADDED / 32u;
  var total = 0;
  for (var run = lid; run < runs; run += THREADS) {
    var sum = 0;
    for (var k = 0u; k < 8u; k++) {
      var low = 0u;
      var high = 0u;
      for (var byte = 0u; byte < 4u; byte++) {
        let column = run * 32u + k * 4u + byte;
        if (column < COLUMNS) {
          let q = i32(clamp(round(out[base + column] * s), LEAST, LIMIT));
          sum += q;
          //#if INT8
          low = insertBits(low, bitcast<u32>(q), 8u * byte, 8u);
          //#endif
          //#if INT15
          // q = 128 * h + l with both in signed bytes.
          let h = (q + 64) >> 7u;
          high = insertBits(high, bitcast<u32>(h), 8u * byte, 8u);
          low = insertBits(low, bitcast<u32>(q - 128 * h), 8u * byte, 8u);
          //#endif
        }
      }
      codes[token * PLANES * words + run * 8u + k] = low;
      //#if INT15
      codes[(token * PLANES + 1u) * words + run * 8u + k] = high;
      //#endif
    }
    info[token * (runs + 2u) + 2u + run] = bitcast<u32>(sum);
    total += sum;
  }
  let all = i32(sum_of_all(f32(total), lid));
  if (lid == 0u) {
    info[token * (runs + 2u)] = bitcast<u32>(s);
    info[token * (runs + 2u) + 1u] = bitcast<u32>(all);
  }
  //#endif
}
`,tt=`// Chooses the next token of one row of logits, and makes it the input of the next pass. One workgroup: penalties, biases
// and the best token, then what top-k, top-p and min-p leave, then a random choice among it: the CPU's choice
// (native/engine/sampler.cpp) of the same logits, but for random numbers on the border of two tokens (float32).
// Chances are whole numbers of 2^-40, so their sums are the same in every order. Nothing is sorted: \`last_of\` finds
// a token by its place, eight bits at a time, in a histogram.
@group(0) @binding(0) var<storage, read_write> state: State;
@group(0) @binding(1) var<storage, read_write> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(3) var<storage, read_write> results: array<u32>;
// For each token: how often the text has it, and IN_PROMPT where the prompt has it.
@group(0) @binding(4) var<storage, read_write> seen: array<u32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read> sampling: Sampling;

struct Sampling {
  temperature: f32,
  top_k: u32,
  top_p: f32,
  min_p: f32,
  repetition_penalty: f32,
  presence_penalty: f32,
  frequency_penalty: f32,
  seed_low: u32,
  seed_high: u32,
}

const THREADS = 256u;
const IN_PROMPT = 0x80000000u;
const NEVER = -3.4e38;

// 64 bits in two numbers, the low ones first.
alias Whole = vec2<u32>;
// Where a token stands among all, the first highest: its logit as a key, then its id. Without a key, by id alone.
struct Place {
  key: u32,
  id: u32,
}

var<workgroup> values: array<f32, THREADS>;
var<workgroup> ids: array<u32, THREADS>;
var<workgroup> low: array<atomic<u32>, THREADS>;
var<workgroup> high: array<atomic<u32>, THREADS>;
var<workgroup> found: vec4<u32>;

// Float32 numbers in the order of unsigned numbers.
fn key_of(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  return select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
}

fn place_of(id: u32, by_id: bool) -> Place {
  return Place(select(key_of(logits[id]), 0u, by_id), ~id);
}

fn reaches(place: Place, last: Place) -> bool {
  return place.key > last.key || (place.key == last.key && place.id >= last.id);
}

fn add64(a: Whole, b: Whole) -> Whole {
  let sum = a.x + b.x;
  return Whole(sum, a.y + b.y + select(0u, 1u, sum < a.x));
}

fn less64(a: Whole, b: Whole) -> bool {
  return a.y < b.y || (a.y == b.y && a.x < b.x);
}

fn product32(a: u32, b: u32) -> Whole {
  let a0 = a & 0xffffu;
  let a1 = a >> 16u;
  let b0 = b & 0xffffu;
  let b1 = b >> 16u;
  let middle = a1 * b0 + ((a0 * b0) >> 16u);
  let other = a0 * b1 + (middle & 0xffffu);
  return Whole(a * b, a1 * b1 + (middle >> 16u) + (other >> 16u));
}

// The low 64 bits of a product.
fn multiply64(a: Whole, b: Whole) -> Whole {
  let product = product32(a.x, b.x);
  return Whole(product.x, product.y + a.x * b.y + a.y * b.x);
}

// The high 64 bits of a product: a · b / 2^64.
fn scale64(a: Whole, b: Whole) -> Whole {
  let first = add64(product32(a.x, b.y), Whole(product32(a.x, b.x).y, 0u));
  let second = add64(product32(a.y, b.x), Whole(first.x, 0u));
  return add64(add64(product32(a.y, b.y), Whole(first.y, 0u)), Whole(second.y, 0u));
}

fn xor_shifted(z: Whole, shift: u32) -> Whole {
  return z ^ Whole((z.x >> shift) | (z.y << (32u - shift)), z.y >> shift);
}

// SplitMix64 (Steele et al., 2014) of a counter: 53 random bits, the highest of 64, that depend on the seed and the step.
fn random_number(step: u32) -> Whole {
  let seed = Whole(sampling.seed_low, sampling.seed_high);
  var z = add64(
    multiply64(seed, Whole(0x7f4a7c15u, 0x9e3779b9u)),
    multiply64(Whole(step + 1u, 0u), Whole(0xd192ed03u, 0xd1b54a32u)),
  );
  z = multiply64(xor_shifted(z, 30u), Whole(0x1ce4e5b9u, 0xbf58476du));
  z = multiply64(xor_shifted(z, 27u), Whole(0x133111ebu, 0x94d049bbu));
  z = xor_shifted(z, 31u);
  return Whole(z.x & 0xfffff800u, z.y);
}

fn adjusted(id: u32) -> f32 {
  var logit = logits[id];
  if (!(abs(logit) < 3.4e38)) {  // true for NaN, too
    return NEVER;
  }
  let count = seen[id];
  if (count != 0u && sampling.repetition_penalty != 1.0) {
    logit = select(logit * sampling.repetition_penalty, logit / sampling.repetition_penalty, logit > 0.0);
  }
  let times = count & ~IN_PROMPT;
  if (times != 0u) {
    logit -= sampling.presence_penalty + sampling.frequency_penalty * f32(times);
  }
  return logit + bias[id];
}

fn best(lid: u32) -> u32 {
  var highest = NEVER;
  var own = 0u;
  for (var id = lid; id < VOCABULARY; id += THREADS) {
    let logit = adjusted(id);
    logits[id] = logit;
    if (logit > highest) {
      highest = logit;
      own = id;
    }
  }
  values[lid] = highest;
  ids[lid] = own;
  for (var width = THREADS / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lid < width) {
      let other = values[lid + width];
      if (other > values[lid] || (other == values[lid] && ids[lid + width] < ids[lid])) {
        values[lid] = other;
        ids[lid] = ids[lid + width];
      }
    }
  }
  storageBarrier();
  return workgroupUniformLoad(&ids[0]);
}

// What is left of the vocabulary: tokens down to \`last\`, and of them those with a chance of at least \`least\`.
struct Left {
  highest: f32,
  last: Place,
  least: f32,
}

// How much of a sum a token is: 1 where tokens are counted, else its chance beside the best one's.
fn share(id: u32, left: Left, is_count: bool) -> Whole {
  if (!reaches(place_of(id, false), left.last)) {
    return Whole();
  }
  let chance = exp((logits[id] - left.highest) / sampling.temperature);
  if (chance < left.least) {
    return Whole();
  }
  let scaled = chance * 256.0;
  let whole = u32(scaled);
  return select(Whole(u32((scaled - f32(whole)) * 4294967296.0), whole), Whole(1u, 0u), is_count);
}

fn add_to(bin: u32, amount: Whole) {
  let before = atomicAdd(&low[bin], amount.x);
  atomicAdd(&high[bin], amount.y + select(0u, 1u, before + amount.x < before));
}

fn amount_in(bin: u32) -> Whole {
  return Whole(atomicLoad(&low[bin]), atomicLoad(&high[bin]));
}

// The sum over all that is left.
fn sum(left: Left, lid: u32) -> Whole {
  workgroupBarrier();
  atomicStore(&low[lid], 0u);
  atomicStore(&high[lid], 0u);
  workgroupBarrier();
  var own = Whole();
  for (var id = lid; id < VOCABULARY; id += THREADS) {
    own = add64(own, share(id, left, false));
  }
  add_to(0u, own);
  workgroupBarrier();
  if (lid == 0u) {
    found = vec4<u32>(amount_in(0u), 0u, 0u);
  }
  return workgroupUniformLoad(&found).xy;
}

// The place of the token at which the sum over what is left, in the order of places, reaches \`wanted\`; the place of
// what comes last of all where it never does.
fn last_of(wanted: Whole, left: Left, is_count: bool, by_id: bool, lid: u32) -> Place {
  var last = Place();
  var missing = wanted;
  for (var round = select(0u, 4u, by_id); round < 8u; round++) {
    workgroupBarrier();
    atomicStore(&low[lid], 0u);
    atomicStore(&high[lid], 0u);
    workgroupBarrier();
    let shift = 24u - 8u * (round % 4u);
    let fixed = 0xffffff00u << shift;  // the bits that are found
    for (var id = lid; id < VOCABULARY; id += THREADS) {
      let place = place_of(id, by_id);
      let is_key = round < 4u;
      let part = select(place.id, place.key, is_key);
      let known = select(last.id, last.key, is_key);
      if ((part & fixed) == known && (is_key || place.key == last.key)) {
        let amount = share(id, left, is_count);
        if (any(amount != Whole())) {
          add_to((part >> shift) & 255u, amount);
        }
      }
    }
    workgroupBarrier();
    if (lid == 0u) {
      var bin = 255u;
      while (bin > 0u && less64(amount_in(bin), missing)) {
        // A difference is a sum with the complement.
        missing = add64(missing, add64(~amount_in(bin), Whole(1u, 0u)));
        bin--;
      }
      found = vec4<u32>(missing, bin, 0u);
    }
    let step = workgroupUniformLoad(&found);
    missing = step.xy;
    if (round < 4u) {
      last.key |= step.z << shift;
    } else {
      last.id |= step.z << shift;
    }
  }
  return last;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) lid: u32) {
  var chosen = best(lid);
  let highest = workgroupUniformLoad(&values[0]);
  if (sampling.temperature > 0.0 && highest > NEVER) {
    var left = Left(highest, Place(key_of(NEVER) + 1u, 0u), 0.0);
    if (sampling.top_k > 0u && sampling.top_k < VOCABULARY) {
      left.last = last_of(Whole(sampling.top_k, 0u), left, true, false, lid);
    }
    if (sampling.top_p < 1.0) {
      let nucleus = scale64(sum(left, lid), Whole(0u, u32(sampling.top_p * 4294967296.0)));
      left.last = last_of(nucleus, left, false, false, lid);
    }
    left.least = sampling.min_p;
    let wanted = scale64(random_number(state.sampled), sum(left, lid));
    chosen = ~last_of(add64(wanted, Whole(1u, 0u)), left, false, sampling.top_p >= 1.0, lid).id;
  }
  workgroupBarrier();
  if (lid == 0u) {
    tokens[0] = chosen;
    results[state.step] = chosen;
    seen[chosen] += 1u;
    state.step += 1u;
    state.sampled += 1u;
    state.position += state.n;
    state.n = 1u;
  }
}
`,nt=`// A pass has \`n\` tokens, the first at \`position\` of the sequence. \`step\` counts the tokens that were sampled in this
// submission, \`sampled\` those of the whole text.
struct State {
  n: u32,
  position: u32,
  step: u32,
  sampled: u32,
}
`;const rt={attention:$e+Be,embed:We,hadamard:Ge,heads:$e+Ke,linear_bytes:Ye+qe,linear_float:Ye+Je,linear_ternary:Ye+Xe,linear_ternary_tile:Ze,norm_add:Qe,row:et,sample:tt},it={packed:He,shifts:Ue,float:Ve},at=/* @__PURE__ */ new Set([`EPS`,`SCALE`,`FACTOR`,`LIMIT`,`LEAST`,`NORMALIZER`]);function ot(e,t,n){let r=Object.entries(t).flatMap(([e,t])=>typeof t==`boolean`?[]:`const ${e} = ${at.has(e)?`f32(${t})`:`${t}u`};`),i=new Set(Object.entries(t).flatMap(([e,t])=>t===!0?[e]:[]));return[n===`packed`?`requires packed_4x8_integer_dot_product;`:``,i.has(`SUBGROUPS`)?`enable subgroups;`:``,...r,nt,n?it[n]:``,st(rt[e],i)].join(`
`)}function st(e,t){let n=[];return e.split(`
`).filter(e=>{let[,r,i]=/^\s*\/\/#(if|else|endif)\s*(\w*)/.exec(e)??[];return r===`if`?n.push(t.has(i)):r===`else`?n.push(!n.pop()):r===`endif`&&n.pop(),!r&&n.every(Boolean)}).join(`
`)}function ct(e,t){let n=ot(e,t).matchAll(/@binding\((\d+)\)\s*var<[^>]*>\s*(\w+)/g);return new Map(Array.from(n,e=>[e[2],Number(e[1])]))}var lt=class e{device;adapterName;subgroups;packed;isProcessor;maxBytes;pipelines=/* @__PURE__ */ new Map;lost;error;constructor(e,t,n,r,i,a){this.device=e,this.adapterName=t,this.subgroups=n,this.packed=r,this.isProcessor=i,this.maxBytes=a,this.lost=e.lost.then(e=>(this.error=new s(`The GPU went away (${e.message||e.reason}); load the model again.`),this.error))}static async open(t={}){let n=t.gpu??(typeof navigator>`u`?void 0:navigator.gpu);if(!n)throw new a(`This browser has no WebGPU: use a new Chrome, Edge, Safari or Firefox.`);let r=await n.requestAdapter({powerPreference:t.powerPreference??`high-performance`});if(!r)throw new a(`WebGPU finds no GPU on this machine, or it is turned off.`);let{info:i,limits:o,features:s}=r,c=t.without??[],l=s.has(`subgroups`)&&!c.includes(`subgroups`),u=n.wgslLanguageFeatures.has(`packed_4x8_integer_dot_product`)&&!c.includes(`packed`),d=await r.requestDevice({requiredFeatures:l?[`subgroups`]:[],requiredLimits:{maxStorageBufferBindingSize:o.maxStorageBufferBindingSize,maxBufferSize:o.maxBufferSize}}),f=i.architecture===`swiftshader`||/swiftshader|llvmpipe/i.test(i.description),p=[i.vendor,i.architecture,i.description].filter(Boolean).join(` `)||`GPU`,m=Math.min(d.limits.maxStorageBufferBindingSize,d.limits.maxBufferSize);return new e(d,p,l,u,f,Math.min(m,t.maxBindingBytes??m))}pipeline({kernel:e,constants:t,dot:n}){let r=ot(e,t,n),i=this.pipelines.get(r);if(!i){let t={module:this.device.createShaderModule({code:r,label:e}),entryPoint:`main`};i=this.device.createComputePipelineAsync({layout:`auto`,compute:t,label:e}),this.pipelines.set(r,i)}return i}bind({kernel:e,constants:t,buffers:n},r){let i=n(),a=Array.from(ct(e,t),([e,t])=>({binding:t,resource:{buffer:i[e]}}));return this.device.createBindGroup({layout:r.getBindGroupLayout(0),entries:a})}buffer(e,t,n=0){let{maxBufferSize:r,maxStorageBufferBindingSize:i}=this.device.limits,a=Math.min(r,i);if(e>a)throw new o(`A buffer of this GPU has at most ${a} bytes, and '${t}' needs ${e}.`);let s=GPUBufferUsage.STORAGE|GPUBufferUsage.COPY_DST|GPUBufferUsage.COPY_SRC|n;return this.device.createBuffer({size:Math.max(16,Math.ceil(e/4)*4),usage:s,label:t})}async allocating(e,t){this.device.pushErrorScope(`out-of-memory`);let[n]=await Promise.allSettled([t()]);if(await this.device.popErrorScope().catch(()=>null))throw new o(`The GPU has too little memory for ${e}.`);if(n.status===`rejected`)throw n.reason;return n.value}check(){if(this.error)throw this.error}};function ut(e,t,n,r,i,a){let o=e.operations.find(e=>e.kind===`embed`)?.weight,s=e=>4*Array.from(e).reduce((e,t)=>e+t,0),c=new Map(Array.from(t,([e,t])=>[e,dt(t)])),l=o===void 0||o===e.head.weight?0:c.get(o)??0,u=Object.values(e.caches).map(e=>Math.min(i,Te(e,a)??i)*2*e.layers*e.kv_heads*we(e,r)),d=Object.values(e.frequencies).map(e=>i*2*e.length);return{file:n,weights:s(c.values()),context:s([...u,...d]),rows:a*s(Object.values(e.slots)),token:s(c.values())-s([l])}}function dt({encoding:e,shape:t}){if(t.length===1)return t[0];let n=S(e,t[1]);return t[0]*(ae(n)+C(n))}var ft=class e{gpu;program;kv;frame;vocabulary;chunk;context;results;seen;bias;sampling;counters={dispatches:0,passes:0,submits:0,bindGroups:0,bytesRead:0};pipelines=/* @__PURE__ */ new Map;bound=/* @__PURE__ */ new Map;sampleStep;constructor(e,t,n,r,i,a,o,s,c,l,u){this.gpu=e,this.program=t,this.kv=n,this.frame=r,this.vocabulary=i,this.chunk=a,this.context=o,this.results=s,this.seen=c,this.bias=l,this.sampling=u;let{state:d,logits:f,tokens:p}=r,m={state:d,logits:f,tokens:p,results:s,seen:c,bias:l,sampling:u};this.sampleStep={kernel:`sample`,constants:{VOCABULARY:i},buffers:()=>m,groups:()=>[1,1]}}static async make(t,n,r,i,a,o,s){let c=t.buffer(16,`results`),l=t.buffer(a*4,`seen`),u=t.buffer(a*4,`bias`),d=t.buffer(36,`sampling`),f=new e(t,n,r,i,a,o,s,c,l,u,d);return await f.makePipelines(),f}get steps(){return[.../* @__PURE__ */ new Set([...this.program.prefill,...this.program.decode,...this.program.head,this.sampleStep])]}async makePipelines(){await Promise.all(this.steps.map(async e=>{this.pipelines.set(e,await this.gpu.pipeline(e))}))}async reserve(e){if(e>this.context)throw new r(`The text has ${e} tokens, and the context ${this.context}.`);(await this.kv.reserve(e,this.context)||!this.bound.size)&&(this.bound=new Map(this.steps.map(e=>[e,this.bind(e)])))}bind(e){let t=this.pipelines.get(e);return this.counters.bindGroups++,{step:e,pipeline:t,group:this.gpu.bind(e,t)}}dispatch(e,t,n){for(let r of t){let{pipeline:t,group:i}=this.bound.get(r);e.setPipeline(t),e.setBindGroup(0,i);let[a,o]=r.groups(n);e.dispatchWorkgroups(a,o),this.counters.dispatches++}}submit(e,t){this.gpu.check();let n=this.gpu.device.createCommandEncoder(),r=n.beginComputePass();e(r),r.end(),t?.(n),this.gpu.device.queue.submit([n.finish()]),this.counters.passes++,this.counters.submits++}write(e,t){this.gpu.device.queue.writeBuffer(e,0,t)}async prefill(e,t,n){await this.reserve(t+e.length);for(let r=0;r<e.length;r+=this.chunk){n?.throwIfAborted();let i=e.slice(r,r+this.chunk);this.pass(i,t+r),r+this.chunk<e.length&&await this.gpu.device.queue.onSubmittedWorkDone()}}pass(e,t){this.write(this.frame.tokens,Uint32Array.from(e)),this.write(this.frame.state,Uint32Array.of(e.length,t,0,0));let n=e.length===1?this.program.decode:this.program.prefill;this.submit(t=>this.dispatch(t,n,e.length))}async logits(e,t){await this.reserve(e.length);let n=[];for(let r=0;r<e.length;r+=this.chunk){t?.throwIfAborted();let i=e.slice(r,r+this.chunk);this.pass(i,r);for(let e=0;e<i.length;e++)this.write(this.frame.state,Uint32Array.of(e+1,r,0,0)),this.submit(e=>this.dispatch(e,this.program.head,1)),n.push(new Float32Array(await this.read(this.frame.logits,this.vocabulary*4)))}return n}async read(e,t){let{device:n}=this.gpu,r=n.createBuffer({size:t,usage:GPUBufferUsage.COPY_DST|GPUBufferUsage.MAP_READ}),i=n.createCommandEncoder();return i.copyBufferToBuffer(e,0,r,0,t),n.queue.submit([i.finish()]),this.take(r,t)}async take(e,t){try{await e.mapAsync(GPUMapMode.READ)}catch(e){throw await Promise.race([this.gpu.lost,new Promise(e=>setTimeout(e,100))]),this.gpu.check(),e}let n=e.getMappedRange().slice(0);return e.destroy(),this.counters.bytesRead+=t,n}setSampling(e,t){let n=/* @__PURE__ */ new Uint32Array(9),r=new Float32Array(n.buffer);r[0]=e.temperature,n[1]=e.topK,r[2]=e.topP,r[3]=e.minP,r[4]=e.repetitionPenalty,r[5]=e.presencePenalty,r[6]=e.frequencyPenalty,n[7]=Number(e.seed&4294967295n),n[8]=Number(e.seed>>32n&4294967295n),this.write(this.sampling,n);let i=new Uint32Array(this.vocabulary);for(let e of t)i[e]=2147483648;this.write(this.seen,i);let a=new Float32Array(this.vocabulary);for(let[t,n]of e.logitBias)a[t]=n;this.write(this.bias,a)}sample(e,t,n,r,i){this.write(this.frame.state,Uint32Array.of(e,t,0,r));let a=n*4,o=GPUBufferUsage.COPY_DST|GPUBufferUsage.MAP_READ,s=this.gpu.device.createBuffer({size:a,usage:o}),c=[...this.program.head,this.sampleStep];return this.submit(e=>{for(let t=0;t<n;t++)(t||!i)&&this.dispatch(e,this.program.decode,1),this.dispatch(e,c,1)},e=>e.copyBufferToBuffer(this.results,0,s,0,a)),this.take(s,a).then(e=>Array.from(new Uint32Array(e)))}dispose(){this.gpu.device.destroy()}},pt=class{gpu;source;tensors;scaleTensors;progress;signal;done=0;constructor(e,t,n,r,i,a){this.gpu=e,this.source=t,this.tensors=n,this.scaleTensors=r,this.progress=i,this.signal=a}async vector(e){let t=this.info(e);return ht(t,await this.read(t.offset,t.offset+t.bytes))}async matrix(e){let t=e.map(e=>this.info(e)),r=t[0].shape[1],i=S(t[0].encoding,r),a=t.reduce((e,t)=>e+t.shape[0],0),o=Math.max(ae(i),C(i))*4,s=Math.floor(this.gpu.maxBytes/o);if(!s)throw new n(`A row of '${e[0]}' is larger than the buffers of this GPU.`);let c=[];for(let t=0;t<a;t+=s){let n=Math.min(s,a-t);c.push({firstRow:t,rows:n,words:this.gpu.buffer(n*ae(i)*4,e[0]),scales:this.gpu.buffer(n*C(i)*4,`${e[0]} scales`)})}let l=0;for(let e of t)await this.fill(e,i,c,l),l+=e.shape[0];return{layout:i,columns:r,rows:a,parts:c}}info(e){return this.tensors.get(e)}async fill(e,t,n,r){let[i,a]=e.shape,o=e.bytes/i,s=ie(e.encoding,a),c=Math.max(s,Math.floor(4194304/o/s)*s),l=await this.scale(e);for(let s=0;s<i;s+=c){let u=Math.min(c,i-s),d=e.offset+Math.round(s*o),f=await this.read(d,d+Math.round(u*o)),p=oe(e.encoding,f,u,a,l);for(let e of n){let n=Math.max(r+s,e.firstRow),i=Math.min(r+s+u,e.firstRow+e.rows);if(n>=i)continue;let a=(t,a,o)=>{let c=(n-r-s)*o,l=(i-n)*o;l&&this.gpu.device.queue.writeBuffer(t,(n-e.firstRow)*o*4,a,c,l)};a(e.words,p.words,ae(t)),a(e.scales,p.scales,C(t))}await this.gpu.device.queue.onSubmittedWorkDone(),this.gpu.check()}}async scale(e){let t=1;if(e.encoding.name===`i2_s`){let n=e.offset+e.bytes;t=mt(await this.read(n,n+4),e.name)}let r=this.scaleTensors.get(e.name);if(!r)return t;if(e.encoding.name!==`i2_s`||r.encoding.name!==`f32`||r.bytes!==4)throw new n(`The tensor '${r.name}' is no scale of an I2_S matrix.`);return t*mt(await this.read(r.offset,r.offset+4),r.name)}async read(e,t){this.signal?.throwIfAborted();let n=await this.source.read(e,t,this.signal);return this.done+=n.length,this.progress(this.done),n}};function mt(e,n){let r=new DataView(e.buffer,e.byteOffset).getFloat32(0,!0);if(!Number.isFinite(r))throw new t(`The scale of the tensor '${n}' is ${r}.`);return r}function ht(e,r){let i=new DataView(r.buffer,r.byteOffset,r.byteLength),a=r.length/e.encoding.blockBytes,o={[l.f32.name]:e=>i.getFloat32(4*e,!0),[l.f16.name]:e=>T(i.getUint16(2*e,!0)),[l.bf16.name]:e=>gt(i.getUint16(2*e,!0))}[e.encoding.name];if(!o)throw new n(`The tensor '${e.name}' is stored as ${e.encoding.name}.`);let s=Float32Array.from({length:a},(e,t)=>o(t));if(!s.every(Number.isFinite))throw new t(`The tensor '${e.name}' has values that are not finite.`);return s}function gt(e){return new Float32Array(Uint32Array.of(e<<16).buffer)[0]}function _t(e,t){let{hidden_size:n,intermediate_size:r,head_dim:i}=t,a=t.num_heads*i,o=t.num_kv_heads*i,s={attn_q:[a,n],attn_k:[o,n],attn_v:[o,n],attn_output:[n,a],ffn_gate:[r,n],ffn_up:[r,n],ffn_down:[n,r]},c={ffn_sub_norm:r,attn_sub_norm:a,attn_q_norm:i,attn_k_norm:i};return new Map([...e.norms.map(e=>[`${e}.weight`,[c[e]??n]]),...Object.entries(s).map(([e,t])=>[`${e}.weight`,t]),...(e.biases??[]).map(e=>[`${e}.bias`,[s[e][0]]])])}function vt(e,t){let n=[..._t(e,t)].filter(([,e])=>e.length===2);return new Map(n.map(([e,t])=>[e.replace(/\.weight$/,`_norm_in.weight`),[t[1]]]))}function yt(e){let{config:t}=e;e.embed(`x`,`token_embd.weight`);for(let n=0;n<t.num_layers;n++){let r=`blk.${n}`;e.norm(`n`,`x`,`${r}.attn_norm.weight`),e.linears(`n`,{q:`${r}.attn_q`,k:`${r}.attn_k`,v:`${r}.attn_v`}),e.rope(`q`,t.num_heads,n),e.rope(`k`,t.num_kv_heads,n),e.attention(`a`,`q`,`k`,`v`,n),e.norm(`a`,`a`,`${r}.attn_sub_norm.weight`),e.linears(`a`,{o:`${r}.attn_output`}),e.add(`x`,`x`,`o`),e.norm(`n`,`x`,`${r}.ffn_norm.weight`),e.linears(`n`,{gate:`${r}.ffn_gate`,up:`${r}.ffn_up`}),e.gated(`gate`,`gate`,`up`),e.norm(`gate`,`gate`,`${r}.ffn_sub_norm.weight`),e.linears(`gate`,{o:`${r}.ffn_down`}),e.add(`x`,`x`,`o`)}e.norm(`hidden`,`x`,`output_norm.weight`)}const bt=[`attn_norm`,`ffn_norm`,`attn_sub_norm`,`ffn_sub_norm`],xt={name:`bitnet-b1.58`,gguf:{"bitnet-b1.58":{activation:`relu2`,tied_head:!0},"bitnet-25":{activation:`relu2`,tied_head:!0}},plan:yt,norms:bt},St={name:`bitnet`,gguf:{bitnet:{activation:`silu`,tied_head:!0}},plan:yt,norms:bt,read:(e,t)=>t.vocab_size===128256&&e.get(`hidden_activation`)===void 0?{activation:`relu2`}:{}};function Ct(e){let{config:t}=e;e.embed(`x`,`token_embd.weight`),e.scale(`x`,`x`,t.embedding_scale);for(let n=0;n<t.num_layers;n++){let r=`blk.${n}`;e.norm(`n`,`x`,`${r}.attn_norm.weight`),e.linears(`n`,{q:`${r}.attn_q`,k:`${r}.attn_k`,v:`${r}.attn_v`}),e.norm(`q`,`q`,`${r}.attn_q_norm.weight`,{heads:t.num_heads}),e.norm(`k`,`k`,`${r}.attn_k_norm.weight`,{heads:t.num_kv_heads}),e.rope(`q`,t.num_heads,n),e.rope(`k`,t.num_kv_heads,n),e.attention(`a`,`q`,`k`,`v`,n),e.linears(`a`,{o:`${r}.attn_output`}),e.norm(`o`,`o`,`${r}.post_attention_norm.weight`),e.add(`x`,`x`,`o`),e.norm(`n`,`x`,`${r}.ffn_norm.weight`),e.linears(`n`,{gate:`${r}.ffn_gate`,up:`${r}.ffn_up`}),e.gated(`gate`,`gate`,`up`),e.linears(`gate`,{o:`${r}.ffn_down`}),e.norm(`o`,`o`,`${r}.post_ffw_norm.weight`),e.add(`x`,`x`,`o`)}e.norm(`hidden`,`x`,`output_norm.weight`)}const wt={name:`gemma3`,gguf:{gemma3:{activation:`gelu`}},plan:Ct,norms:[`attn_norm`,`ffn_norm`,`attn_q_norm`,`attn_k_norm`,`post_attention_norm`,`post_ffw_norm`],read(e,{hidden_size:t,num_heads:n,num_layers:r,sliding_window:i}){let a=e.integer(`attention.sliding_window_pattern`,6),o=i!==null,s=Array.from({length:r},(e,t)=>t);return{embedding_scale:t**.5,query_scale:r===62?(t/Math.max(n,1))**-.5:null,sliding_layers:o?s.filter(e=>a>0&&(e+1)%a>0):[],local_rope_theta:o?e.number(`rope.freq_base_swa`,1e4):null}}};function Tt(e,t=!1){let{config:n}=e;e.embed(`x`,`token_embd.weight`);for(let r=0;r<n.num_layers;r++){let i=`blk.${r}`;e.norm(`n`,`x`,`${i}.attn_norm.weight`),e.linears(`n`,{q:`${i}.attn_q`,k:`${i}.attn_k`,v:`${i}.attn_v`}),t&&(e.norm(`q`,`q`,`${i}.attn_q_norm.weight`,{heads:n.num_heads}),e.norm(`k`,`k`,`${i}.attn_k_norm.weight`,{heads:n.num_kv_heads})),e.rope(`q`,n.num_heads,r),e.rope(`k`,n.num_kv_heads,r),e.attention(`a`,`q`,`k`,`v`,r),e.linears(`a`,{o:`${i}.attn_output`}),e.add(`x`,`x`,`o`),e.norm(`n`,`x`,`${i}.ffn_norm.weight`),e.linears(`n`,{gate:`${i}.ffn_gate`,up:`${i}.ffn_up`}),e.gated(`gate`,`gate`,`up`),e.linears(`gate`,{o:`${i}.ffn_down`}),e.add(`x`,`x`,`o`)}e.norm(`hidden`,`x`,`output_norm.weight`)}const Et={name:`llama`,gguf:{llama:{activation:`silu`,rope_style:`interleaved`}},plan:Tt,norms:[`attn_norm`,`ffn_norm`]},Dt={name:`qwen2`,gguf:{qwen2:{activation:`silu`}},plan:Tt,norms:[`attn_norm`,`ffn_norm`],biases:[`attn_q`,`attn_k`,`attn_v`]},Ot={name:`qwen3`,gguf:{qwen3:{activation:`silu`}},plan:e=>Tt(e,!0),norms:[`attn_norm`,`ffn_norm`,`attn_q_norm`,`attn_k_norm`]};function kt(e,t){return e.sliding_layers.includes(t)?e.sliding_window:null}function At(e,t){return e.local_rope_theta!==null&&e.sliding_layers.includes(t)}function jt(e,t){if(At(e,t))return Mt(e.local_rope_theta,e.head_dim);let n=Mt(e.rope_theta,e.head_dim),{rope_divisors:r}=e;return r?n.map((e,t)=>e/r[t]):n}function Mt(e,t){return Array.from({length:t/2},(n,r)=>e**(-2*r/t))}const Nt=[[`vocab_size`,1,1<<22],[`hidden_size`,2,1<<20],[`intermediate_size`,1,1<<20],[`num_layers`,1,1024],[`num_heads`,1,4096],[`num_kv_heads`,1,4096],[`head_dim`,2,4096],[`context_length`,1,1<<24],[`sliding_window`,1,1<<24],[`rms_norm_eps`,1e-30,1],[`rope_theta`,1,0xe8d4a51000],[`local_rope_theta`,1,0xe8d4a51000],[`rope_attention_factor`,1e-6,1e6],[`embedding_scale`,1e-6,1e6],[`query_scale`,1e-6,1e6]];function Pt(e){for(let[t,n,r]of Nt){let i=e[t];if(i!==null&&!(typeof i==`number`&&i>=n&&i<=r))return`The model's ${t} is ${i}, which is out of bounds.`}if(e.num_heads%e.num_kv_heads)return`${e.num_heads} heads cannot share ${e.num_kv_heads} key and value heads evenly.`;if(e.head_dim%2)return`The head size ${e.head_dim} is odd, so RoPE cannot pair its dimensions.`;let t=e.rope_divisors;if(t&&!(t.length===e.head_dim/2&&t.every(e=>e>=1e-6&&e<=1e6)))return`The model's RoPE factors are not ${e.head_dim/2} numbers within bounds.`}var Ft=class{config;tensors;plan;constructor(e,t){this.config=e,this.tensors=t;let n=e.tied_head?`token_embd.weight`:`output.weight`;this.plan={vocab_size:e.vocab_size,head:{weight:n,...this.activations(n)},output:`hidden`,slots:{},caches:{},states:{},frequencies:{},signs:{},operations:[],version:1}}embed(e,t){this.append({kind:`embed`,out:e,weight:t},this.config.hidden_size),this.config.hadamard?.inverse.has(t)&&this.hadamard(e,e,`inverse`)}norm(e,t,n,{eps:r=this.config.rms_norm_eps,heads:i=1}={}){this.append({kind:`norm`,out:e,x:t,weight:n,eps:r,heads:i},this.plan.slots[t])}linears(e,t){let n=/* @__PURE__ */ new Map;for(let[r,i]of Object.entries(t)){n.set(r,e);let t=`${i}_norm_in.weight`;if(!this.tensors.has(t))continue;let a=`${i.slice(i.lastIndexOf(`.`)+1)}_norm_in`;this.norm(a,e,t,{eps:this.config.input_norm_eps??this.config.rms_norm_eps}),n.set(r,a)}let r=Object.keys(t).filter(e=>this.isRotated(`${t[e]}.weight`));for(let e of new Set(r.map(e=>n.get(e))))this.hadamard(`${e}_rotated`,e,`forward`);for(let e of r)n.set(e,`${n.get(e)}_rotated`);for(let[e,r]of Object.entries(t)){let t=`${r}.weight`,i=this.tensors.has(`${r}.bias`)?`${r}.bias`:null,a=n.get(e),o=this.tensors.get(t).shape[0];this.append({kind:`linear`,out:e,x:a,weight:t,bias:i,...this.activations(t)},o)}}rope(e,t,n){let r=At(this.config,n)?`rope_local`:`rope`;this.plan.frequencies[r]=jt(this.config,n),this.append({kind:`rope`,out:e,x:e,heads:t,style:this.config.rope_style,frequencies:r},this.plan.slots[e])}attention(e,t,n,r,i){let{config:a}=this,o=kt(a,i),s=o===null?`full`:`sliding`,c=this.plan.caches[s]?.layers??0;this.plan.caches[s]={layers:c+1,kv_heads:a.num_kv_heads,head_dim:a.head_dim,window:o};let l=(a.query_scale??a.head_dim**-.5)*a.rope_attention_factor**2;this.append({kind:`attention`,out:e,q:t,k:n,v:r,cache:s,layer:c,heads:a.num_heads,scale:l},a.num_heads*a.head_dim)}gated(e,t,n){this.append({kind:`gated`,out:e,gate:t,up:n,activation:this.config.activation},this.plan.slots[t])}add(e,t,n){this.append({kind:`add`,out:e,x:t,y:n},this.plan.slots[t])}scale(e,t,n){this.append({kind:`scale`,out:e,x:t,factor:n},this.plan.slots[t])}finish(){return this.isRotated(this.plan.head.weight)&&this.hadamard(this.plan.output,this.plan.output,`forward`),this.plan}hadamard(e,t,n){let r=this.config.hadamard;if(!r)return;let i=this.plan.slots[t],a=r.signs.get(i);a&&(this.plan.signs[`signs_${i}`]=[...a]);let o=a?`signs_${i}`:null;this.append({kind:`hadamard`,out:e,x:t,block:r.block_size,direction:n,signs:o},i)}isRotated(e){return this.config.hadamard?.weights.has(e)??!1}activations(e){return{activations:this.tensors.get(e).encoding.activations,group_size:0}}append(e,t){this.plan.slots[e.out]??=t,this.plan.operations.push(e)}},It=class{metadata;prefix;constructor(e,t){this.metadata=e,this.prefix=t}get(e){let t=this.metadata.get(`${this.prefix}.${e}`);if(typeof t==`object`)throw new n(`${this.prefix}.${e} is a list, where one value for all layers is needed.`);return t}number(e,n){let r=this.get(e)??n;if(r===void 0)throw new t(`The file has no metadata key ${this.prefix}.${e}.`);if(typeof r!=`number`)throw new t(`${this.prefix}.${e} is no number.`);return r}integer(e,n){let r=this.number(e,n);if(!Number.isSafeInteger(r)||r<0)throw new t(`${this.prefix}.${e} is ${r}, and must be a whole number.`);return r}};const Lt=`prism.hadamard`,Rt={transform:`normalized-sylvester-walsh-hadamard`,axis:`input-last-dimension`},zt=[`weight_names`,`inverse_weight_names`,`sign_widths`,`sign_values`],Bt=/* @__PURE__ */ new Set([...Object.keys(Rt),...zt,`version`,`block_size`,`sign_mode`,`gdn_v_grouped`,`tied_output`]),Vt=4096,Ht=`token_embd.weight`,Ut=/^(?:blk\.\d+\.(?:attn_[qkv]|attn_output|ffn_gate|ffn_up|ffn_down)|output)\.weight$/;function Wt(e,r){let i=[...e.keys()].filter(e=>e.startsWith(`${Lt}.`));if(!i.length)return null;let a=new It(e,Lt),o=a.get(`version`);if(o!==1&&o!==2)throw new n(`The file's rotation has the version ${o}; 1 and 2 are known.`);for(let e of i.map(e=>e.slice(15)))if(!Bt.has(e))throw new n(`The file's rotation has a key '${e}', which is not known.`);for(let[e,t]of Object.entries(Rt))if((a.get(e)??t)!==t)throw new n(`The file's rotation has the ${e} '${a.get(e)}', which is not known.`);if((a.get(`gdn_v_grouped`)??!1)!==!1)throw new n(`The file's rotation is that of gated delta nets, which do not run in a browser yet.`);let s=a.integer(`block_size`);if(s<2||s>Vt||s&s-1)throw new t(`The file's rotation has blocks of ${s}, no power of two up to ${Vt}.`);let c=new Set(Gt(e,`weight_names`,r)),l=new Set(Gt(e,`inverse_weight_names`,r)),u=a.get(`tied_output`)??!1;if(u!==(o===2)||u&&(r.has(`output.weight`)||!l.has(Ht)))throw new t(`The file's rotation contradicts itself about the output matrix.`);if([...l].some(e=>e!==Ht)||![...c].every(e=>Ut.test(e)))throw new n(`The file's rotation names a tensor that is not rotated here.`);u&&c.add(Ht);for(let e of[...c,...l]){let n=r.get(e).shape;if(n[n.length-1]%s)throw new t(`The file's rotation has blocks of ${s}, which do not fill the rows of '${e}'.`)}return{block_size:s,weights:c,inverse:l,signs:Kt(e,a)}}function Gt(e,n,r){let i=e.get(`${Lt}.${n}`)??[];if(!Array.isArray(i)||!i.every(e=>typeof e==`string`))throw new t(`The file's rotation has no list of names as its ${n}.`);for(let e of i)if(!r.has(e))throw new t(`The file's rotation names '${e}', a tensor that is not there.`);return i}function Kt(e,r){let i=r.get(`sign_mode`)??`identity`,a=/* @__PURE__ */ new Map;if(i===`identity`)return a;if(i!==`explicit`)throw new n(`The file's rotation has the sign_mode '${i}'.`);let[o,s]=[`sign_widths`,`sign_values`].map(n=>{let r=e.get(`${Lt}.${n}`);if(typeof r!=`object`)throw new t(`The file's rotation has no lists of signs.`);return Array.from(r,Number)});if(!s.every(e=>e===1||e===-1))throw new t(`The file's rotation has a sign that is neither 1 nor -1.`);let c=0;for(let e of o){if(a.has(e)||!(e>=1))throw new t(`The file's rotation has signs that do not fit.`);a.set(e,s.slice(c,c+e)),c+=e}if(c!==s.length)throw new t(`The file's rotation has signs that do not fit their widths.`);return a}function qt(e,r,i,a,o){let s=e.get(`rope.scaling.type`)??`linear`,c=e.number(`rope.scaling.factor`,e.number(`rope.scale_linear`,0))||1,l=e.number(`rope.scaling.attn_factor`,1);if(s!==`none`&&s!==`linear`&&s!==`yarn`)throw new n(`The file's rope.scaling.type is '${s}'; none, linear and yarn are known.`);if(!r&&(s===`none`||s===`linear`&&c===1))return{rope_divisors:null,rope_attention_factor:l};if(!(c>0&&c<1/0&&i>1&&i<1/0&&a>0&&a<=4096))throw new t(`The file's rope.scaling.factor, rope.freq_base or head size is out of bounds.`);let u=Array(a/2).fill(s===`linear`?c:1);if(s===`yarn`){let n=e.number(`rope.scaling.original_context_length`,o),r=e.number(`rope.scaling.yarn_beta_fast`,32),s=e.number(`rope.scaling.yarn_beta_slow`,1);if(![n,r,s].every(e=>e>0&&e<1/0))throw new t(`The file's rope.scaling keys for yarn are out of bounds.`);u=Jt(i,a,c,n,r,s),l*=e.number(`rope.scaling.yarn_attn_factor`,1)*(c>1?.1*Math.log(c)+1:1)}if(r){if(r.length!==a/2)throw new t(`The tensor rope_freqs.weight is no list of ${a/2} floats.`);u=u.map((e,t)=>e*r[t])}return{rope_divisors:u,rope_attention_factor:l}}function Jt(e,t,n,r,i,a){let o=n=>t*(Math.log(r)-Math.log(n)-Math.log(2*Math.PI))/(2*Math.log(e)),s=Math.max(Math.floor(o(i)),0),c=Math.min(Math.ceil(o(a)),t-1),l=c===s?.001:c-s;return Array.from({length:t/2},(e,t)=>{let r=Math.min(Math.max((t-s)/l,0),1);return 1/(1-r+r/n)})}const Yt=[xt,St,wt,Et,Dt,Ot],Xt={"rope.scaling.yarn_ext_factor":[1],"rope.scaling.yarn_log_multiplier":[0],"attention.causal":[!0],"attention.scale":[0],"attention.clamp_kqv":[0],"attention.max_alibi_bias":[0],attn_logit_softcapping:[0],final_logit_softcapping:[0],logit_scale:[0,1],residual_scale:[0,1],embedding_scale:[0,1],expert_count:[0],use_parallel_residual:[!1]},Zt=`rope_freqs.weight`,Qt=`token_embd.weight`,$t=`output.weight`;function en(e){let t=Yt.find(t=>typeof e==`string`&&Object.hasOwn(t.gguf,e));if(t)return t;throw new n(`The file's architecture is '${e}', and the browser's engine knows ${Yt.flatMap(e=>Object.keys(e.gguf)).join(`, `)}.`)}function tn(e,r,i){let a=e.get(`general.architecture`),o=en(a),s=o.gguf[a],c=new It(e,a);for(let[e,t]of Object.entries(Xt)){let r=c.get(e);if(r!==void 0&&!t.includes(r))throw new n(`This engine does not do what ${a}.${e} = ${r} asks for.`)}let l=r.get(Qt);if(!l)throw new t(`The file has no tensor ${Qt} (a vocabulary without a model?).`);let u=l.shape[0];if(c.integer(`vocab_size`,u)!==u)throw new t(`The file's vocabulary size is not that of its embedding, ${u}.`);let d=c.integer(`embedding_length`),f=c.integer(`attention.head_count`),p=c.integer(`attention.key_length`,Math.floor(d/Math.max(f,1)));for(let e of[`rope.dimension_count`,`attention.value_length`])if(c.integer(e,p)!==p)throw new n(`The file's ${e} is ${c.integer(e)}, and must be the head size, ${p}.`);let m=c.integer(`context_length`),h=c.integer(`block_count`),g=c.integer(`attention.sliding_window`,0)||null,_=c.number(`rope.freq_base`,1e4),v=c.get(`hidden_activation`)??s.activation;if(![`relu2`,`silu`,s.activation].includes(v))throw new n(`The file's hidden_activation is '${v}', which is not known.`);let y={architecture:o.name,vocab_size:u,hidden_size:d,intermediate_size:c.integer(`feed_forward_length`),num_layers:h,num_heads:f,num_kv_heads:c.integer(`attention.head_count_kv`,f),head_dim:p,context_length:m,rms_norm_eps:c.number(`attention.layer_norm_rms_epsilon`),rope_theta:_,rope_style:s.rope_style??`half`,activation:v,tied_head:s.tied_head||!r.has($t),input_norm_eps:null,embedding_scale:1,...qt(c,i,_,p,m),query_scale:null,sliding_window:g,sliding_layers:g?Array.from({length:Math.min(h,1024)},(e,t)=>t):[],local_rope_theta:null,hadamard:Wt(e,r)},b={...y,...o.read?.(c,y)},x=Pt(b);if(x)throw new t(x);if(o.norms.includes(`attn_sub_norm`)&&f*p!==d)throw new t(`${o.name} needs heads x head size = ${d}, the hidden size.`);return b}function nn(e,t){let n=new Map(e.tensors);n.delete(Zt),t.tied_head&&n.delete($t);for(let e of[...n.keys()])rn(e)&&n.delete(e);return n}function rn(e){return e.endsWith(`.scale`)?e.replace(/scale$/,`weight`):void 0}function an(e,r){let i=en(e.architecture),a=[e.vocab_size,e.hidden_size],o=/* @__PURE__ */ new Map([[Qt,a],[`output_norm.weight`,[e.hidden_size]]]);e.tied_head||o.set($t,a);let s=new Map(o);for(let t=0;t<e.num_layers;t++){for(let[n,r]of _t(i,e))o.set(`blk.${t}.${n}`,r);for(let[n,r]of vt(i,e))s.set(`blk.${t}.${n}`,r)}for(let[n,i]of o){if(!r.has(n))throw new t(`The model has no tensor '${n}', which ${e.architecture} needs.`);s.set(n,i)}for(let[i,{shape:a,encoding:o}]of r){let r=s.get(i);if(!r)throw new n(`The model has a tensor '${i}', unknown for ${e.architecture}.`);if(a.length!==r.length||a.some((e,t)=>e!==r[t]))throw new t(`The tensor '${i}' has the shape [${a}] instead of [${r}].`);if(r.length===1&&o.block!==1)throw new n(`The norm or bias '${i}' is stored as ${o.name}, and must be floats.`)}}function on(e,t){let n=new Ft(e,t);return en(e.architecture).plan(n),n.finish()}function sn(e,{onProgress:t,signal:n}){return t?.({phase:`header`,bytes:0,total:e.size}),v(e,n)}var cn=class e{file;config;context;gpu;tuning;executor;kv;last=Promise.resolve();constructor(e,t,n,r,i,a,o){this.file=e,this.config=t,this.context=n,this.gpu=r,this.tuning=i,this.executor=a,this.kv=o}static async load(t,n={}){return e.fromHeader(await sn(t,n),t,n)}static async fromHeader(t,n,i){let{signal:a}=i,o=(e,t,n)=>i.onProgress?.({phase:e,bytes:t,total:n}),s=t.tensors.get(Zt),c=s&&Array.from(ht(s,await n.read(s.offset,s.offset+s.bytes,a))),l=tn(t.metadata,t.tensors,c??null),u=nn(t,l);an(l,u);let d=on(l,u),f=i.context??Math.min(l.context_length,4096);if(!(Number.isInteger(f)&&f>0&&f<=l.context_length))throw new r(`The context is a whole number up to the model's, ${l.context_length}.`);let p=new Map([...t.tensors.values()].flatMap(e=>{let t=rn(e.name);return t?[[t,e]]:[]})),m=i.chunk??64,h=i.kv??`f16`;i.onEstimate?.(ut(d,u,n.size,h,f,m)),a?.throwIfAborted();let g=await lt.open(i.device);try{await n.keep?.(a);let r=[...u.values()].reduce((e,t)=>e+t.bytes,0),s=new pt(g,n,u,p,e=>o(`weights`,e,r),a),c=i.tuning??(g.isProcessor?he(g):await ve(g)),_={state:g.buffer(16,`state`),tokens:g.buffer(m*4,`tokens`),logits:g.buffer(l.vocab_size*4,`logits`)},v=new Ee(g,d,h,m),y=await g.allocating(`the model`,()=>Re(g,d,u,s,v,_,c,m));o(`kernels`,r,r);let b=await ft.make(g,y,v,_,l.vocab_size,m,f);return new e(t,l,f,g,c,b,v)}catch(e){throw g.device.destroy(),e}}get counters(){return this.executor.counters}async*generate(e,t,n,r,i){this.checkIds(e);let a=await this.turn(),o=[];try{let a=this.kv.begin(e);i?.(a);let s=e.slice(a);await this.executor.prefill(s,a,r);for(let e of s)this.kv.ids.push(e);this.executor.setSampling(t,e);let c=s.length%this.executor.chunk||this.executor.chunk,l=Math.min(n,this.context-e.length+1),u=0,d,f=async()=>{let t=Math.min(u?4:1,l-u);if(t<=0)return;await this.executor.reserve(Math.min(e.length+u+t,this.context));let[n,r]=u?[1,e.length+u-1]:[c,e.length-c],i=this.executor.sample(n,r,t,u,u===0);i.catch(()=>{}),o.push(i),u+=t};for(await f();o.length;){r?.throwIfAborted(),o.length<2&&await f();for(let e of await o.shift()??[])r?.throwIfAborted(),d!==void 0&&this.kv.ids.push(d),d=e,yield e}}finally{a()}}async logits(e,t){this.checkIds(e);let n=await this.turn();try{return this.kv.begin([]),await this.executor.logits(e,t)}finally{n()}}dispose(){this.executor.dispose()}checkIds(e){let{vocab_size:t}=this.config;if(!e.length)throw new r(`A prompt has at least one token.`);if(e.length>=this.context+1)throw new r(`The prompt has ${e.length} tokens, and the context ${this.context}.`);for(let n of e)if(!(Number.isInteger(n)&&n>=0&&n<t))throw new r(`Token id ${n} is outside the vocabulary of ${t} tokens.`)}async turn(){let e=this.last,t=()=>{};return this.last=new Promise(e=>{t=e}),await e,t}},ln=class{blob;name;size;constructor(e,t=e instanceof File?e.name:`the file`){this.blob=e,this.name=t,this.size=e.size}async read(e,t,n){n?.throwIfAborted();try{return new Uint8Array(await this.blob.slice(e,t).arrayBuffer())}catch{throw new i(`${this.name} can no longer be read: it was changed or removed.`)}}},un=class{bytes;name;size;constructor(e,t=`the file`){this.bytes=e,this.name=t,this.size=e.length}async read(e,t){return this.bytes.subarray(e,t)}};function dn(e){try{return new URL(e,globalThis.location?.href).href}catch{throw new r(`'${e}' is no address of a file.`)}}var fn=class e{url;size;version;constructor(e,t,n){this.url=e,this.size=t,this.version=n}get name(){return this.url}static async open(t,n){let r=String(t),a=await gn(r,0,1,n);await a.body?.cancel();let o=/\/(\d+)$/.exec(a.headers.get(`content-range`)??``)?.[1];if(a.status!==206)throw new i(`${r} comes from a server that sends no parts of files, which loading needs.`);if(o===void 0)throw new i(`${r} comes from a server that does not let this page read Content-Range (Access-Control-Expose-Headers), which loading needs.`);return new e(r,Number(o),mn(a))}async read(e,t,n){for(let r=1;;r++)try{let r=await gn(this.url,e,t,n);if(r.status!==206||mn(r)!==this.version)throw new pn(`${this.url} changed while it was loaded: load it again.`);let a=await hn(r,this.url);if(a.length!==t-e)throw new i(`${this.url} sent too few bytes.`);return a}catch(e){if(n?.throwIfAborted(),r===4||e instanceof pn)throw e;await new Promise(e=>setTimeout(e,250*2**(r-1)))}}},pn=class extends i{};function mn(e){return e.headers.get(`etag`)??e.headers.get(`last-modified`)??``}async function hn(e,t){try{return new Uint8Array(await e.arrayBuffer())}catch{throw new i(`${t} broke off while it was loaded.`)}}async function gn(e,t,n,r){let a;try{a=await fetch(e,{headers:{Range:`bytes=${t}-${n-1}`},...r&&{signal:r}})}catch(t){throw r?.throwIfAborted(),new i(`${e} cannot be reached: ${t instanceof Error?t.message:t}.`)}if(!a.ok)throw new i(`${e} cannot be loaded: the server answered ${a.status}.`);return a}const _n=`sterna-models`,vn=1<<22;async function yn(){try{return await(await navigator.storage.getDirectory()).getDirectoryHandle(_n,{create:!0})}catch{return null}}async function bn(e){let t=await crypto.subtle.digest(`SHA-256`,new TextEncoder().encode(e));return Array.from(new Uint8Array(t).subarray(0,16),e=>e.toString(16).padStart(2,`0`)).join(``)}async function xn(e,t){try{let n=await(await e.getFileHandle(`${t}.json`)).getFile();return JSON.parse(await n.text())}catch{return null}}async function Sn(e,t){let n=await yn();if(!n)return e;let r=await Tn(n,e.url);return r?.version!==e.version||r.source.size!==e.size?new kn(e,n,t):(t(e.size),r.source)}function Cn(){globalThis.navigator?.storage?.persist?.().catch(()=>{})}async function wn(e){let t=await yn();return t?(await Tn(t,dn(e)))?.source??null:null}async function Tn(e,t){let n=await bn(t),r=await xn(e,n),i=r&&await En(e,n,r.size);return!i||Dn(i)!==r.size?null:{version:r.version,source:new ln(new Blob(i),t)}}async function En(e,t,n){let r=[];for(let i=0;i<n;i+=vn){let a=await On(e,`${t}.${r.length}`);if(!a||a.size!==Math.min(vn,n-i))break;r.push(a)}return r}function Dn(e){return e.reduce((e,t)=>e+t.size,0)}async function On(e,t){try{return await(await e.getFileHandle(t)).getFile()}catch{return null}}var kn=class{url;directory;progress;name;size;kept;constructor(e,t,n){this.url=e,this.directory=t,this.progress=n,this.name=e.name,this.size=e.size}read(e,t,n){return(this.kept??this.url).read(e,t,n)}async keep(e){let t=await bn(this.url.url);await navigator.locks.request(`${_n} ${t}`,{...e&&{signal:e}},async()=>{try{this.kept=new ln(new Blob(await this.download(t,e)),this.name)}catch(e){if(!jn(e))throw e;await Nn(this.directory,t)}})}async download(e,t){let n={url:this.url.url,version:this.url.version,size:this.size},r=await xn(this.directory,e),i=r?.version===n.version&&r.size===n.size?await En(this.directory,e,n.size):[];i.length||await Nn(this.directory,e);let a=Dn(i),{quota:o,usage:s}=await navigator.storage.estimate?.()??{};if(o!==void 0&&s!==void 0&&this.size-a>o-s)throw new DOMException(`There is no room for the file.`,An);for(await Mn(this.directory,`${e}.json`,JSON.stringify(n)),this.progress(a);a<this.size;){let n=await this.url.read(a,Math.min(a+vn,this.size),t);i.push(await Mn(this.directory,`${e}.${i.length}`,n)),a+=n.length,this.progress(a)}return i}};const An=`QuotaExceededError`;function jn(e){return e instanceof DOMException&&e.name===An}async function Mn(e,t,n){let r=await e.getFileHandle(t,{create:!0}),i=await r.createWritable();try{await i.write(n),await i.close()}catch(e){throw await i.abort().catch(()=>{}),e}return r.getFile()}async function Nn(e,t){let n=[];for await(let r of e.keys())r.startsWith(`${t}.`)&&n.push(r);for(let t of n)await e.removeEntry(t).catch(e=>{if(e.name!==`NotFoundError`)throw e})}const Pn={temperature:0,topK:0,topP:1,minP:0,repetitionPenalty:1,presencePenalty:0,frequencyPenalty:0,logitBias:/* @__PURE__ */ new Map,seed:0n},Fn={temperature:[0,100],topK:[0,2**31-1],topP:[1e-6,1],minP:[0,1],repetitionPenalty:[.001,1e3],presencePenalty:[-1e3,1e3],frequencyPenalty:[-1e3,1e3]};function In(e){let t=Ln(e.logitBias??{}),n=e.seed??Rn();if(typeof n!=`bigint`&&!Number.isInteger(n))throw new r(`seed is a whole number, not ${n}.`);let i={...Pn,...e,logitBias:t,seed:BigInt(n)};for(let[e,[t,n]]of Object.entries(Fn)){let a=i[e];if(!(typeof a==`number`&&a>=t&&a<=n))throw new r(`${e} is a number from ${t} to ${n}, not ${a}.`)}return i}function Ln(e){let t=e instanceof Map?[...e]:Object.entries(e),n=new Map(t.map(([e,t])=>[Number(e),t]));for(let[e,t]of n)if(Number.isInteger(e)&&e>=0&&Number.isFinite(t))n.set(e,Math.min(Math.max(t,-1e38),1e38));else throw new r(`logitBias gives numbers for token ids, not ${t} for ${e}.`);return n}function Rn(){let[e,t]=crypto.getRandomValues(/* @__PURE__ */ new Uint32Array(2));return BigInt(t)<<32n|BigInt(e)}var zn=Object.defineProperty,Bn=(e,t,n)=>t in e?zn(e,t,{enumerable:!0,configurable:!0,writable:!0,value:n}):e[t]=n,Vn=(e,t,n)=>(Bn(e,typeof t==`symbol`?t:t+``,n),n),D=Object.freeze({Text:`Text`,NumericLiteral:`NumericLiteral`,StringLiteral:`StringLiteral`,Identifier:`Identifier`,Equals:`Equals`,OpenParen:`OpenParen`,CloseParen:`CloseParen`,OpenStatement:`OpenStatement`,CloseStatement:`CloseStatement`,OpenExpression:`OpenExpression`,CloseExpression:`CloseExpression`,OpenSquareBracket:`OpenSquareBracket`,CloseSquareBracket:`CloseSquareBracket`,OpenCurlyBracket:`OpenCurlyBracket`,CloseCurlyBracket:`CloseCurlyBracket`,Comma:`Comma`,Dot:`Dot`,Colon:`Colon`,Pipe:`Pipe`,CallOperator:`CallOperator`,AdditiveBinaryOperator:`AdditiveBinaryOperator`,MultiplicativeBinaryOperator:`MultiplicativeBinaryOperator`,ExponentiationBinaryOperator:`ExponentiationBinaryOperator`,ComparisonBinaryOperator:`ComparisonBinaryOperator`,UnaryOperator:`UnaryOperator`,Comment:`Comment`}),O=class{constructor(e,t){this.value=e,this.type=t}};function Hn(e){return/\w/.test(e)}function k(e){return/[0-9]/.test(e)}function Un(e){return/\s/.test(e)}var Wn=[[`{%`,D.OpenStatement],[`%}`,D.CloseStatement],[`{{`,D.OpenExpression],[`}}`,D.CloseExpression],[`(`,D.OpenParen],[`)`,D.CloseParen],[`{`,D.OpenCurlyBracket],[`}`,D.CloseCurlyBracket],[`[`,D.OpenSquareBracket],[`]`,D.CloseSquareBracket],[`,`,D.Comma],[`.`,D.Dot],[`:`,D.Colon],[`|`,D.Pipe],[`<=`,D.ComparisonBinaryOperator],[`>=`,D.ComparisonBinaryOperator],[`==`,D.ComparisonBinaryOperator],[`!=`,D.ComparisonBinaryOperator],[`<`,D.ComparisonBinaryOperator],[`>`,D.ComparisonBinaryOperator],[`+`,D.AdditiveBinaryOperator],[`-`,D.AdditiveBinaryOperator],[`~`,D.AdditiveBinaryOperator],[`**`,D.ExponentiationBinaryOperator],[`*`,D.MultiplicativeBinaryOperator],[`//`,D.MultiplicativeBinaryOperator],[`/`,D.MultiplicativeBinaryOperator],[`%`,D.MultiplicativeBinaryOperator],[`=`,D.Equals]],Gn=/* @__PURE__ */ new Map([[`n`,`
`],[`t`,`	`],[`r`,`\r`],[`b`,`\b`],[`f`,`\f`],[`v`,`\v`],[`'`,`'`],[`"`,`"`],[`\\`,`\\`]]);function Kn(e,t={}){return e.endsWith(`
`)&&(e=e.slice(0,-1)),t.lstrip_blocks&&(e=e.replace(/^[ \t]*({[#%-])/gm,`$1`)),t.trim_blocks&&(e=e.replace(/([#%-]})\n/g,`$1`)),e.replace(/(\s*){%(-?)\s*(?:end)?generation\s*(-?)%}(\s*)/gs,(e,t,n,r,i)=>(n?``:t)+(r?``:i))}function qn(e,t={}){let n=[],r=Kn(e,t),i=0,a=0,o=e=>{let t=``;for(;e(r[i]);)if(r[i]===`\\`){if(++i,i>=r.length)throw SyntaxError(`Unexpected end of input`);let e=r[i++];if(e===`x`||e===`u`){let n=e===`x`?2:4,a=r.slice(i,i+n);if(a.length!==n||/[^0-9a-f]/i.test(a))throw SyntaxError(`Invalid hexadecimal escape sequence: \\${e}${a}`);t+=String.fromCharCode(parseInt(a,16)),i+=n;continue}let n=Gn.get(e);if(n===void 0)throw SyntaxError(`Unexpected escaped character: ${e}`);t+=n}else if(t+=r[i++],i>=r.length)throw SyntaxError(`Unexpected end of input`);return t},s=()=>{let e=n.at(-1);e&&e.type===D.Text&&(e.value=e.value.trimEnd(),e.value===``&&n.pop())},c=()=>{for(;i<r.length&&Un(r[i]);)++i};main:for(;i<r.length;){let e=n.at(-1)?.type;if(e===void 0||e===D.CloseStatement||e===D.CloseExpression||e===D.Comment){let e=``;for(;i<r.length&&(r[i]!==`{`||r[i+1]!==`%`&&r[i+1]!==`{`&&r[i+1]!==`#`);)e+=r[i++];if(e.length>0){n.push(new O(e,D.Text));continue}}if(r[i]===`{`&&r[i+1]===`#`){i+=2;let e=r[i]===`-`;e&&++i;let t=``;for(;r[i]!==`#`||r[i+1]!==`}`;){if(i+2>=r.length)throw SyntaxError(`Missing end of comment tag`);t+=r[i++]}let a=t.endsWith(`-`);a&&(t=t.slice(0,-1)),e&&s(),n.push(new O(t,D.Comment)),i+=2,a&&c();continue}if(r.slice(i,i+3)===`{%-`){s(),n.push(new O(`{%`,D.OpenStatement)),i+=3;continue}if(r.slice(i,i+3)===`{{-`){s(),n.push(new O(`{{`,D.OpenExpression)),a=0,i+=3;continue}if(o(Un),r.slice(i,i+3)===`-%}`){n.push(new O(`%}`,D.CloseStatement)),i+=3,c();continue}if(r.slice(i,i+3)===`-}}`){n.push(new O(`}}`,D.CloseExpression)),i+=3,c();continue}let t=r[i];if(t===`-`||t===`+`){let e=n.at(-1)?.type;if(e===D.Text||e===void 0)throw SyntaxError(`Unexpected character: ${t}`);switch(e){case D.Identifier:case D.NumericLiteral:case D.StringLiteral:case D.CloseParen:case D.CloseSquareBracket:break;default:{++i;let e=o(k);if(e.length>0&&r[i]===`.`&&k(r[i+1])){++i;let t=o(k);e=`${e}.${t}`}n.push(new O(`${t}${e}`,e.length>0?D.NumericLiteral:D.UnaryOperator));continue}}}for(let[e,t]of Wn)if(!(e===`}}`&&a>0)&&r.slice(i,i+e.length)===e){n.push(new O(e,t)),t===D.OpenExpression?a=0:t===D.OpenCurlyBracket?++a:t===D.CloseCurlyBracket&&--a,i+=e.length;continue main}if(t===`'`||t===`"`){++i;let e=o(e=>e!==t);n.push(new O(e,D.StringLiteral)),++i}else if(k(t)){let e=o(k);if(n.at(-1)?.type!==D.Dot&&r[i]===`.`&&k(r[i+1])){++i;let t=o(k);e=`${e}.${t}`}n.push(new O(e,D.NumericLiteral))}else if(Hn(t)){let e=o(Hn);n.push(new O(e,D.Identifier))}else throw SyntaxError(`Unexpected character: ${t}`)}return n}var A=class{type=`Statement`},Jn=class extends A{constructor(e){super(),this.body=e}type=`Program`},Yn=class extends A{constructor(e,t,n){super(),this.test=e,this.body=t,this.alternate=n}type=`If`},Xn=class extends A{constructor(e,t,n,r){super(),this.loopvar=e,this.iterable=t,this.body=n,this.defaultBlock=r}type=`For`},Zn=class extends A{type=`Break`},Qn=class extends A{type=`Continue`},$n=class extends A{constructor(e,t,n){super(),this.assignee=e,this.value=t,this.body=n}type=`Set`},er=class extends A{constructor(e,t,n){super(),this.name=e,this.args=t,this.body=n}type=`Macro`},tr=class extends A{constructor(e){super(),this.value=e}type=`Comment`},j=class extends A{type=`Expression`},nr=class extends j{constructor(e,t,n){super(),this.object=e,this.property=t,this.computed=n}type=`MemberExpression`},rr=class extends j{constructor(e,t){super(),this.callee=e,this.args=t}type=`CallExpression`},M=class extends j{constructor(e){super(),this.value=e}type=`Identifier`},ir=class extends j{constructor(e){super(),this.value=e}type=`Literal`},ar=class extends ir{type=`IntegerLiteral`},or=class extends ir{type=`FloatLiteral`},sr=class extends ir{type=`StringLiteral`},cr=class extends ir{type=`ArrayLiteral`},lr=class extends ir{type=`TupleLiteral`},ur=class extends ir{type=`ObjectLiteral`},dr=class extends j{constructor(e,t,n){super(),this.operator=e,this.left=t,this.right=n}type=`BinaryExpression`},fr=class extends j{constructor(e,t){super(),this.operand=e,this.filter=t}type=`FilterExpression`},pr=class extends A{constructor(e,t){super(),this.filter=e,this.body=t}type=`FilterStatement`},mr=class extends j{constructor(e,t){super(),this.lhs=e,this.test=t}type=`SelectExpression`},hr=class extends j{constructor(e,t,n){super(),this.operand=e,this.negate=t,this.test=n}type=`TestExpression`},gr=class extends j{constructor(e,t){super(),this.operator=e,this.argument=t}type=`UnaryExpression`},_r=class extends j{constructor(e=void 0,t=void 0,n=void 0){super(),this.start=e,this.stop=t,this.step=n}type=`SliceExpression`},vr=class extends j{constructor(e,t){super(),this.key=e,this.value=t}type=`KeywordArgumentExpression`},yr=class extends j{constructor(e){super(),this.argument=e}type=`SpreadExpression`},br=class extends j{constructor(e){super(),this.argument=e}type=`KeywordSpreadExpression`},xr=class extends A{constructor(e,t,n){super(),this.call=e,this.callerArgs=t,this.body=n}type=`CallStatement`},Sr=class extends j{constructor(e,t,n){super(),this.condition=e,this.trueExpr=t,this.falseExpr=n}type=`Ternary`};function Cr(e){let t=new Jn([]),n=0;function r(t,r){let i=e[n++];if(!i||i.type!==t)throw Error(`Parser Error: ${r}. ${i.type} !== ${t}.`);return i}function i(e){if(!c(e))throw SyntaxError(`Expected ${e}`);++n}function a(){switch(e[n].type){case D.Comment:return new tr(e[n++].value);case D.Text:return l();case D.OpenStatement:return u();case D.OpenExpression:return d();default:throw SyntaxError(`Unexpected token type: ${e[n].type}`)}}function o(...t){return n+t.length<=e.length&&t.every((t,r)=>t===e[n+r].type)}function s(...t){return e[n]?.type===D.OpenStatement&&e[n+1]?.type===D.Identifier&&t.includes(e[n+1]?.value)}function c(...t){return n+t.length<=e.length&&t.every((t,r)=>e[n+r].type===`Identifier`&&t===e[n+r].value)}function l(){return new sr(r(D.Text,`Expected text token`).value)}function u(){if(r(D.OpenStatement,`Expected opening statement token`),e[n].type!==D.Identifier)throw SyntaxError(`Unknown statement, got ${e[n].type}`);let t=e[n].value,c;switch(t){case`set`:++n,c=f();break;case`if`:++n,c=p(),r(D.OpenStatement,`Expected {% token`),i(`endif`),r(D.CloseStatement,`Expected %} token`);break;case`macro`:++n,c=m(),r(D.OpenStatement,`Expected {% token`),i(`endmacro`),r(D.CloseStatement,`Expected %} token`);break;case`for`:++n,c=g(),r(D.OpenStatement,`Expected {% token`),i(`endfor`),r(D.CloseStatement,`Expected %} token`);break;case`call`:{++n;let e=null;o(D.OpenParen)&&(e=S(`parameters`));let t=w();if(t.type!==`Identifier`)throw SyntaxError(`Expected identifier following call statement`);let l=S(`call`);r(D.CloseStatement,`Expected closing statement token`);let u=[];for(;!s(`endcall`);)u.push(a());r(D.OpenStatement,`Expected '{%'`),i(`endcall`),r(D.CloseStatement,`Expected closing statement token`),c=new xr(new rr(t,l),e,u);break}case`break`:++n,r(D.CloseStatement,`Expected closing statement token`),c=new Zn;break;case`continue`:++n,r(D.CloseStatement,`Expected closing statement token`),c=new Qn;break;case`filter`:{++n;let e=w();e instanceof M&&o(D.OpenParen)&&(e=re(e)),r(D.CloseStatement,`Expected closing statement token`);let t=[];for(;!s(`endfilter`);)t.push(a());r(D.OpenStatement,`Expected '{%'`),i(`endfilter`),r(D.CloseStatement,`Expected '%}'`),c=new pr(e,t);break}default:throw SyntaxError(`Unknown statement type: ${t}`)}return c}function d(){r(D.OpenExpression,`Expected opening expression token`);let e=_();return r(D.CloseExpression,`Expected closing expression token`),e}function f(){let e=h(),t=null,c=[];if(o(D.Equals))++n,t=h();else{for(r(D.CloseStatement,`Expected %} token`);!s(`endset`);)c.push(a());r(D.OpenStatement,`Expected {% token`),i(`endset`)}return r(D.CloseStatement,`Expected closing statement token`),new $n(e,t,c)}function p(){let e=_();r(D.CloseStatement,`Expected closing statement token`);let t=[],i=[];for(;!s(`elif`,`else`,`endif`);)t.push(a());if(s(`elif`)){++n,++n;let e=p();i.push(e)}else if(s(`else`))for(++n,++n,r(D.CloseStatement,`Expected closing statement token`);!s(`endif`);)i.push(a());return new Yn(e,t,i)}function m(){let e=w();if(e.type!==`Identifier`)throw SyntaxError(`Expected identifier following macro statement`);let t=S(`parameters`);r(D.CloseStatement,`Expected closing statement token`);let n=[];for(;!s(`endmacro`);)n.push(a());return new er(e,t,n)}function h(e=!1){let t=e?w:_,r=[t()],i=o(D.Comma);for(;i&&(++n,r.push(t()),o(D.Comma)););return i?new lr(r):r[0]}function g(){let e=h(!0);if(!(e instanceof M||e instanceof lr))throw SyntaxError(`Expected identifier/tuple for the loop variable, got ${e.type} instead`);if(!c(`in`))throw SyntaxError("Expected `in` keyword following loop variable");++n;let t=_();r(D.CloseStatement,`Expected closing statement token`);let i=[];for(;!s(`endfor`,`else`);)i.push(a());let o=[];if(s(`else`))for(++n,++n,r(D.CloseStatement,`Expected closing statement token`);!s(`endfor`);)o.push(a());return new Xn(e,t,i,o)}function _(){return v()}function v(){let e=y();if(c(`if`)){++n;let t=y();return c(`else`)?(++n,new Sr(t,e,v())):new mr(e,t)}return e}function y(){let t=b();for(;c(`or`);){let r=e[n];++n;let i=b();t=new dr(r,t,i)}return t}function b(){let t=x();for(;c(`and`);){let r=e[n];++n;let i=x();t=new dr(r,t,i)}return t}function x(){let t;for(;c(`not`);){let r=e[n];++n,t=new gr(r,x())}return t??ee()}function ee(){let t=te();for(;;){let r;if(c(`not`,`in`))r=new O(`not in`,D.Identifier),n+=2;else if(c(`in`))r=e[n++];else if(o(D.ComparisonBinaryOperator))r=e[n++];else break;let i=te();t=new dr(r,t,i)}return t}function te(){let t=oe();for(;o(D.AdditiveBinaryOperator);){let r=e[n];++n;let i=oe();t=new dr(r,t,i)}return t}function ne(){let e=C(w());return o(D.OpenParen)?re(e):e}function re(e){let t=new rr(e,S(`call`));return t=C(t),o(D.OpenParen)&&(t=re(t)),t}function S(e){r(D.OpenParen,`Expected opening parenthesis for arguments list`);let t=ie(e);return r(D.CloseParen,`Expected closing parenthesis for arguments list`),t}function ie(t){let r=[],i=/* @__PURE__ */ new Set,a=!1,s=!1;for(;!o(D.CloseParen);){let c=o(D.ExponentiationBinaryOperator),l=o(D.MultiplicativeBinaryOperator)&&e[n].value===`*`;if(t===`parameters`&&(c||l))throw SyntaxError(`Argument unpacking is not allowed in parameter declarations`);if(c){if(++n,r.push(new br(_())),o(D.Comma)&&++n,!o(D.CloseParen))throw SyntaxError("Expected closing parenthesis: `**` must be applied to the final argument");break}let u;if(l){if(s)throw SyntaxError("Only one `*` argument unpacking is allowed");s=!0,++n,u=new yr(_())}else{if(u=_(),o(D.Equals)){if(++n,!(u instanceof M))throw SyntaxError(t===`parameters`?`Expected identifier for parameter declaration`:`Expected identifier for keyword argument`);let e=_();u=new vr(u,e)}if(t===`parameters`){if(!(u instanceof M||u instanceof vr))throw SyntaxError(`Expected identifier for parameter declaration`);let e=u instanceof M?u.value:u.key.value;if(i.has(e))throw SyntaxError(`Duplicate parameter name: ${e}`);i.add(e)}if(u instanceof vr)a=!0;else if(a)throw SyntaxError(t===`call`?`Positional arguments must come before keyword arguments`:`Non-default argument follows default argument`);else if(s)throw SyntaxError("Positional arguments must not follow `*` argument unpacking")}r.push(u),o(D.Comma)&&++n}return r}function ae(){let e=[],t=!1;for(;!o(D.CloseSquareBracket);)o(D.Colon)?(e.push(void 0),++n,t=!0):(e.push(_()),o(D.Colon)&&(++n,t=!0));if(e.length===0)throw SyntaxError(`Expected at least one argument for member/slice expression`);if(t){if(e.length>3)throw SyntaxError(`Expected 0-3 arguments for slice expression`);return new _r(...e)}return e[0]}function C(t){for(;o(D.Dot)||o(D.OpenSquareBracket);){let i=e[n];++n;let a,o=i.type===D.OpenSquareBracket;if(o)a=ae(),r(D.CloseSquareBracket,`Expected closing square bracket`);else if(a=w(),a.type!==`Identifier`&&a.type!==`IntegerLiteral`)throw SyntaxError(`Expected identifier or integer following dot operator`);t=new nr(t,a,o)}return t}function oe(){let t=se();for(;o(D.MultiplicativeBinaryOperator);){let r=e[n++],i=se();t=new dr(r,t,i)}return t}function se(){let t=ce();for(;o(D.ExponentiationBinaryOperator);){let r=e[n++],i=ce();t=new dr(r,t,i)}return t}function ce(){let e=le();for(;c(`is`);){++n;let t=c(`not`);t&&++n;let r=w();if(!(r instanceof M))throw SyntaxError(`Expected identifier for the test`);e=new hr(e,t,r)}return e}function le(){let e=ue();for(;o(D.Pipe);){++n;let t=w();if(!(t instanceof M))throw SyntaxError(`Expected identifier for the filter`);o(D.OpenParen)&&(t=re(t)),e=new fr(e,t)}return e}function ue(){let t=e[n];if(t&&(t.type===D.UnaryOperator||t.type===D.AdditiveBinaryOperator)&&(t.value===`-`||t.value===`+`)){let t=e[n++];return new gr(t,ue())}return ne()}function w(){let t=e[n++];switch(t.type){case D.NumericLiteral:{let e=t.value;return e.includes(`.`)?new or(Number(e)):new ar(Number(e))}case D.StringLiteral:{let r=t.value;for(;o(D.StringLiteral);)r+=e[n++].value;return new sr(r)}case D.Identifier:return new M(t.value);case D.OpenParen:{let e=h();return r(D.CloseParen,"Expected closing parenthesis, got ${tokens[current].type} instead."),e}case D.OpenSquareBracket:{let e=[];for(;!o(D.CloseSquareBracket);)e.push(_()),o(D.Comma)&&++n;return++n,new cr(e)}case D.OpenCurlyBracket:{let e=/* @__PURE__ */ new Map;for(;!o(D.CloseCurlyBracket);){let t=_();r(D.Colon,`Expected colon between key and value in object literal`);let i=_();e.set(t,i),o(D.Comma)&&++n}return++n,new ur(e)}default:throw SyntaxError(`Unexpected token: ${t.type}`)}}for(;n<e.length;)t.body.push(a());return t}function wr(e,t,n,r=1){let i=Math.sign(r);i>=0?(t=(t??=0)<0?Math.max(e.length+t,0):Math.min(t,e.length),n=(n??=e.length)<0?Math.max(e.length+n,0):Math.min(n,e.length)):(t=(t??=e.length-1)<0?Math.max(e.length+t,-1):Math.min(t,e.length-1),n=(n??=-1)<-1?Math.max(e.length+n,-1):Math.min(n,e.length-1));let a=[];for(let o=t;i*o<i*n;o+=r)a.push(e[o]);return a}function Tr(e){return e.replace(/\b\w/g,e=>e.toUpperCase())}function Er(e){return e.replace(/[.*+?^${}()|[\]\\]/g,`\\$&`)}function Dr(e,t,n,r){if(r===0)return e;let i=r==null||r<0?1/0:r,a=t.length===0?/* @__PURE__ */ RegExp(`(?=)`,`gu`):new RegExp(Er(t),`gu`);return e.replaceAll(a,e=>i>0?(--i,n):e)}var Or=class extends Error{},kr=class extends Error{},Ar=/* @__PURE__ */ new Map,N=class{type=`RuntimeValue`;value;get builtins(){return Ar}constructor(e=void 0){this.value=e}__bool__(){return new L(!!this.value)}toString(){return String(this.value)}},P=class extends N{type=`IntegerValue`},F=class extends N{type=`FloatValue`;toString(){return Object.is(this.value,-0)?`-0.0`:this.value%1==0?this.value.toFixed(1):this.value.toString()}},I=class extends N{type=`StringValue`;_builtins;get builtins(){return this._builtins??=/* @__PURE__ */ new Map([[`upper`,new H(()=>new I(this.value.toUpperCase()))],[`lower`,new H(()=>new I(this.value.toLowerCase()))],[`strip`,new H(()=>new I(this.value.trim()))],[`title`,new H(()=>new I(Tr(this.value)))],[`capitalize`,new H(()=>new I(this.value.charAt(0).toUpperCase()+this.value.slice(1)))],[`length`,new P(this.value.length)],[`rstrip`,new H(()=>new I(this.value.trimEnd()))],[`lstrip`,new H(()=>new I(this.value.trimStart()))],[`startswith`,new H(e=>{if(e.length===0)throw Error(`startswith() requires at least one argument`);let t=e[0];if(t instanceof I)return new L(this.value.startsWith(t.value));if(t instanceof V){for(let e of t.value){if(!(e instanceof I))throw Error(`startswith() tuple elements must be strings`);if(this.value.startsWith(e.value))return new L(!0)}return new L(!1)}throw Error(`startswith() argument must be a string or tuple of strings`)})],[`endswith`,new H(e=>{if(e.length===0)throw Error(`endswith() requires at least one argument`);let t=e[0];if(t instanceof I)return new L(this.value.endsWith(t.value));if(t instanceof V){for(let e of t.value){if(!(e instanceof I))throw Error(`endswith() tuple elements must be strings`);if(this.value.endsWith(e.value))return new L(!0)}return new L(!1)}throw Error(`endswith() argument must be a string or tuple of strings`)})],[`split`,new H(e=>{let t=e[0]??new U;if(!(t instanceof I||t instanceof U))throw Error(`sep argument must be a string or null`);let n=e[1]??new P(-1);if(!(n instanceof P))throw Error(`maxsplit argument must be a number`);let r=[];if(t instanceof U){let e=this.value.trimStart();for(let{0:t,index:i}of e.matchAll(/\S+/g)){if(n.value!==-1&&r.length>=n.value&&i!==void 0){r.push(t+e.slice(i+t.length));break}r.push(t)}}else{if(t.value===``)throw Error(`empty separator`);r=this.value.split(t.value),n.value!==-1&&r.length>n.value&&r.push(r.splice(n.value).join(t.value))}return new V(r.map(e=>new I(e)))})],[`replace`,new H(e=>{if(e.length<2)throw Error(`replace() requires at least two arguments`);let t=e[0],n=e[1];if(!(t instanceof I&&n instanceof I))throw Error(`replace() arguments must be strings`);let r;if(r=e.length>2?e[2].type===`KeywordArgumentsValue`?e[2].value.get(`count`)??new U:e[2]:new U,!(r instanceof P||r instanceof U))throw Error(`replace() count argument must be a number or null`);return new I(Dr(this.value,t.value,n.value,r.value))})]])}},L=class extends N{type=`BooleanValue`},jr=/[\x7f-\uffff]/g;function Mr(e){return e.replace(jr,e=>`\\u`+e.charCodeAt(0).toString(16).padStart(4,`0`))}function R(e,t={},n=0,r=!0){let{indent:i=null,ensureAscii:a=!1,separators:o=null,sortKeys:s=!1}=t,c,l;switch(o?[c,l]=o:i?(c=`,`,l=`: `):(c=`, `,l=`: `),e.type){case`NullValue`:return`null`;case`UndefinedValue`:return r?`null`:`undefined`;case`IntegerValue`:case`FloatValue`:case`BooleanValue`:return JSON.stringify(e.value);case`StringValue`:{let t=JSON.stringify(e.value);return a&&(t=Mr(t)),t}case`ArrayValue`:case`NamespaceValue`:case`ObjectValue`:{let o=i?` `.repeat(i):``,u=`
`+o.repeat(n),d=u+o;if(e.type===`ArrayValue`){let a=e.value.map(e=>R(e,t,n+1,r));return i&&a.length>0?`[${d}${a.join(`${c}${d}`)}${u}]`:`[${a.join(c)}]`}{let o=Array.from(e.value.entries());s&&(o=o.sort(([e],[t])=>e.localeCompare(t)));let f=o.map(([e,o])=>{let s=JSON.stringify(e);a&&(s=Mr(s));let c=`${s}${l}${R(o,t,n+1,r)}`;return i?`${d}${c}`:c});return i&&f.length>0?`{${f.join(c)}${u}}`:`{${f.join(c)}}`}}default:throw Error(`Cannot convert to JSON: ${e.type}`)}}var z=class extends N{type=`ObjectValue`;_builtins;__bool__(){return new L(this.value.size>0)}get builtins(){return this._builtins??=/* @__PURE__ */ new Map([[`get`,new H(([e,t])=>{if(!(e instanceof I))throw Error(`Object key must be a string: got ${e.type}`);return this.value.get(e.value)??t??new U})],[`items`,new H(()=>this.items())],[`keys`,new H(()=>this.keys())],[`values`,new H(()=>this.values())],[`dictsort`,new H(e=>{let t=/* @__PURE__ */ new Map,n=e.filter(e=>e instanceof B?(t=e.value,!1):!0),r=n.at(0)??t.get(`case_sensitive`)??new L(!1);if(!(r instanceof L))throw Error(`case_sensitive must be a boolean`);let i=n.at(1)??t.get(`by`)??new I(`key`);if(!(i instanceof I))throw Error(`by must be a string`);if(![`key`,`value`].includes(i.value))throw Error(`by must be either 'key' or 'value'`);let a=n.at(2)??t.get(`reverse`)??new L(!1);if(!(a instanceof L))throw Error(`reverse must be a boolean`);return new V(Array.from(this.value.entries()).map(([e,t])=>new V([new I(e),t])).sort((e,t)=>{let n=i.value===`key`?0:1,o=e.value[n],s=t.value[n],c=Vr(o,s,r.value);return a.value?-c:c}))})]])}items(){return new V(Array.from(this.value.entries()).map(([e,t])=>new V([new I(e),t])))}keys(){return new V(Array.from(this.value.keys()).map(e=>new I(e)))}values(){return new V(Array.from(this.value.values()))}toString(){return R(this,{},0,!1)}},B=class extends z{type=`KeywordArgumentsValue`},Nr=class extends N{type=`NamespaceValue`;toString(){return R(this,{},0,!1)}},V=class extends N{type=`ArrayValue`;_builtins;get builtins(){return this._builtins??=/* @__PURE__ */ new Map([[`length`,new P(this.value.length)]])}__bool__(){return new L(this.value.length>0)}toString(){return R(this,{},0,!1)}},Pr=class extends V{type=`TupleValue`},H=class extends N{type=`FunctionValue`},U=class extends N{type=`NullValue`},W=class extends N{type=`UndefinedValue`};function Fr(e){let t;if(e instanceof V?t=e.value:e instanceof I&&(t=Array.from(e.value,e=>new I(e))),!t||t.length!==2)throw Error(`namespace expected an object or an iterable of [key, value] pairs`);let[n,r]=t;if(!(n instanceof I))throw Error(`namespace keys must be strings`);return[n,r]}var Ir=class{constructor(e){this.parent=e}variables=/* @__PURE__ */ new Map([[`namespace`,new H(e=>{let t=e.slice(),n;if(t.at(-1)instanceof B&&(n=t.pop()),t.length>1)throw Error(`namespace expected at most 1 argument, got ${t.length}`);let r=/* @__PURE__ */ new Map;if(t.length===1){let e=t[0];if(e instanceof z)for(let[t,n]of e.value)r.set(t,n);else if(e instanceof V)for(let t of e.value){let[e,n]=Fr(t);r.set(e.value,n)}else throw Error(`'${e.type}' object is not iterable`)}if(n)for(let[e,t]of n.value)r.set(e,t);return new Nr(r)})]]);tests=Ir.TESTS;set(e,t){return this.declareVariable(e,Kr(t))}declareVariable(e,t){if(this.variables.has(e))throw SyntaxError(`Variable already declared: ${e}`);return this.variables.set(e,t),t}setVariable(e,t){return this.variables.set(e,t),t}resolve(e){if(this.variables.has(e))return this;if(this.parent)return this.parent.resolve(e);throw Error(`Unknown variable: ${e}`)}lookupVariable(e){try{return this.resolve(e).variables.get(e)??new W}catch{return new W}}},G=Ir;Vn(G,`TESTS`,/* @__PURE__ */ new Map([[`boolean`,e=>e.type===`BooleanValue`],[`callable`,e=>e instanceof H],[`odd`,e=>{if(!(e instanceof P))throw Error(`cannot odd on ${e.type}`);return e.value%2!=0}],[`even`,e=>{if(!(e instanceof P))throw Error(`cannot even on ${e.type}`);return e.value%2==0}],[`false`,e=>e.type===`BooleanValue`&&!e.value],[`true`,e=>e.type===`BooleanValue`&&e.value],[`none`,e=>e.type===`NullValue`],[`string`,e=>e.type===`StringValue`],[`number`,e=>e instanceof P||e instanceof F],[`integer`,e=>e instanceof P],[`iterable`,e=>e.type===`ArrayValue`||e.type===`StringValue`],[`mapping`,e=>e instanceof z],[`sequence`,e=>e instanceof V||e instanceof z||e instanceof I],[`lower`,e=>{let t=e.value;return e.type===`StringValue`&&t===t.toLowerCase()}],[`upper`,e=>{let t=e.value;return e.type===`StringValue`&&t===t.toUpperCase()}],[`none`,e=>e.type===`NullValue`],[`defined`,e=>e.type!==`UndefinedValue`],[`undefined`,e=>e.type===`UndefinedValue`],[`equalto`,(e,t)=>e.value===t.value],[`eq`,(e,t)=>e.value===t.value]]));function Lr(e){return e instanceof z||e instanceof Nr}function Rr(e){return e instanceof P||e instanceof F||e instanceof L}function zr(e){return e instanceof L?Number(e.value):e.value}function Br(e,t){let n=t.split(`.`),r=e;for(let e of n)if(Lr(r))r=r.value.get(e)??new W;else if(r instanceof V){let t=parseInt(e,10);if(!isNaN(t)&&t>=0&&t<r.value.length)r=r.value[t];else return new W}else return new W;return r}function Vr(e,t,n=!1){if(e instanceof U&&t instanceof U)return 0;if(e instanceof U||t instanceof U)throw Error(`Cannot compare ${e.type} with ${t.type}`);if(e instanceof W&&t instanceof W)return 0;if(e instanceof W||t instanceof W)throw Error(`Cannot compare ${e.type} with ${t.type}`);if(Rr(e)&&Rr(t)){let n=zr(e),r=zr(t);return n<r?-1:+(n>r)}if(e.type!==t.type)throw Error(`Cannot compare different types: ${e.type} and ${t.type}`);switch(e.type){case`StringValue`:{let r=e.value,i=t.value;return n||(r=r.toLowerCase(),i=i.toLowerCase()),r<i?-1:+(r>i)}default:throw Error(`Cannot compare type: ${e.type}`)}}function Hr(e){if(e.type===`Identifier`)return{name:e.value};let t=e;return{name:t.key.value,defaultValue:t.value}}function Ur(e){return e===`kwargs`||e===`varargs`}function Wr(e,t){let n=/* @__PURE__ */ new Set,r=/* @__PURE__ */ new Set,i=e=>{Ur(e)&&n.add(e)},a=e=>{if(e.type===`Identifier`)i(e.value);else if(e.type===`TupleLiteral`)for(let t of e.value)a(t)},o=e=>{i(Hr(e).name)},s=e=>{for(let t of e){let e=Hr(t);e.defaultValue&&l(e.defaultValue)}},c=e=>{e.type===`CallExpression`&&l(e.args)},l=e=>{if(Array.isArray(e))for(let t of e)l(t);else if(e instanceof Map)for(let[t,n]of e)l(t),l(n);else if(e instanceof A)switch(e.type){case`For`:{let t=e;if(a(t.loopvar),t.iterable.type===`SelectExpression`){let e=t.iterable;l(e.lhs),l(t.body),l(t.defaultBlock),l(e.test);return}l(t.iterable),l(t.body),l(t.defaultBlock);return}case`Set`:{let t=e;a(t.assignee),l(t.value),l(t.body);return}case`Macro`:{let t=e;for(let e of t.args)o(e);s(t.args),l(t.body);return}case`CallStatement`:{let t=e;l(t.call);for(let e of t.callerArgs??[])o(e);s(t.callerArgs??[]),l(t.body);return}case`FilterStatement`:{let t=e;l(t.body),c(t.filter);return}case`Identifier`:{let t=e.value;Ur(t)&&!n.has(t)&&r.add(t);return}case`MemberExpression`:{let t=e;l(t.object),t.computed&&l(t.property);return}case`FilterExpression`:{let t=e;l(t.operand),c(t.filter);return}case`TestExpression`:l(e.operand);return;case`SelectExpression`:{let t=e;l(t.test),l(t.lhs);return}case`KeywordArgumentExpression`:l(e.value);return;default:for(let t of Object.values(e))l(t)}};for(let t of e)o(t);return l(t),r}var Gr=class{global;constructor(e){this.global=e??new G}run(e){return this.evaluate(e,this.global)}evaluateBinaryExpression(e,t){let n=this.evaluate(e.left,t);switch(e.operator.value){case`and`:return n.__bool__().value?this.evaluate(e.right,t):n;case`or`:return n.__bool__().value?n:this.evaluate(e.right,t)}let r=this.evaluate(e.right,t);switch(e.operator.value){case`==`:return new L(n.value==r.value);case`!=`:return new L(n.value!=r.value)}if(n instanceof W||r instanceof W){if(r instanceof W&&[`in`,`not in`].includes(e.operator.value))return new L(e.operator.value===`not in`);throw Error(`Cannot perform operation ${e.operator.value} on undefined values`)}if(n instanceof U||r instanceof U)throw Error(`Cannot perform operation on null values`);if(e.operator.value===`~`)return new I(n.value.toString()+r.value.toString());if(e.operator.value===`**`&&Rr(n)&&Rr(r)){let e=zr(n),t=zr(r);if(e===0&&t<0)throw Error(`0.0 cannot be raised to a negative power`);let i=e**t;if(!Number.isFinite(i))throw Error(`Exponentiation result is not a finite real number`);return n instanceof F||r instanceof F||t<0?new F(i):new P(i)}if((n instanceof P||n instanceof F)&&(r instanceof P||r instanceof F)){let t=n.value,i=r.value;switch(e.operator.value){case`+`:case`-`:case`*`:{let a=e.operator.value===`+`?t+i:e.operator.value===`-`?t-i:t*i;return n instanceof F||r instanceof F?new F(a):new P(a)}case`/`:return new F(t/i);case`//`:{let e=Math.floor(t/i);return n instanceof F||r instanceof F?new F(e):new P(e)}case`%`:{let e=t%i;return n instanceof F||r instanceof F?new F(e):new P(e)}case`<`:return new L(t<i);case`>`:return new L(t>i);case`>=`:return new L(t>=i);case`<=`:return new L(t<=i)}}else if(n instanceof V&&r instanceof V)switch(e.operator.value){case`+`:return new V(n.value.concat(r.value))}else if(r instanceof V){let t=r.value.find(e=>e.value===n.value)!==void 0;switch(e.operator.value){case`in`:return new L(t);case`not in`:return new L(!t)}}if(n instanceof I||r instanceof I)switch(e.operator.value){case`+`:return new I(n.value.toString()+r.value.toString())}if(n instanceof I&&r instanceof I)switch(e.operator.value){case`in`:return new L(r.value.includes(n.value));case`not in`:return new L(!r.value.includes(n.value))}if(n instanceof I&&r instanceof z)switch(e.operator.value){case`in`:return new L(r.value.has(n.value));case`not in`:return new L(!r.value.has(n.value))}throw SyntaxError(`Unknown operator "${e.operator.value}" between ${n.type} and ${r.type}`)}evaluateArguments(e,t){let n=[],r=/* @__PURE__ */ new Map,i=(e,t)=>{if(r.has(e))throw Error(`Got multiple values for keyword argument '${e}'`);r.set(e,t)};for(let r of e)if(r.type===`SpreadExpression`){let e=r,i=this.evaluate(e.argument,t);if(!(i instanceof V))throw Error(`Cannot unpack non-iterable type: ${i.type}`);for(let e of i.value)n.push(e)}else r.type!==`KeywordArgumentExpression`&&r.type!==`KeywordSpreadExpression`&&n.push(this.evaluate(r,t));for(let n of e)if(n.type===`KeywordArgumentExpression`){let e=n;i(e.key.value,this.evaluate(e.value,t))}else if(n.type===`KeywordSpreadExpression`){let e=n,r=this.evaluate(e.argument,t);if(!(r instanceof z))throw Error(`Argument after ** must be a mapping, not ${r.type}`);for(let[e,t]of r.value)i(e,t)}return[n,r]}applyFilter(e,t,n){if(t.type===`Identifier`){let r=t;if(r.value===`safe`)return e;if(r.value===`tojson`)return new I(R(e,{}));if(e instanceof V)switch(r.value){case`list`:return e;case`first`:return e.value[0];case`last`:return e.value[e.value.length-1];case`length`:return new P(e.value.length);case`reverse`:return new V(e.value.slice().reverse());case`sort`:return new V(e.value.slice().sort((e,t)=>Vr(e,t,!1)));case`join`:return new I(e.value.map(e=>e.value).join(``));case`string`:return new I(R(e,{},0,!1));case`unique`:{let t=/* @__PURE__ */ new Set,n=[];for(let r of e.value)t.has(r.value)||(t.add(r.value),n.push(r));return new V(n)}default:throw Error(`Unknown ArrayValue filter: ${r.value}`)}else if(e instanceof I)switch(r.value){case`length`:case`upper`:case`lower`:case`title`:case`capitalize`:{let t=e.builtins.get(r.value);if(t instanceof H)return t.value([],n);if(t instanceof P)return t;throw Error(`Unknown StringValue filter: ${r.value}`)}case`trim`:return new I(e.value.trim());case`indent`:return new I(e.value.split(`
`).map((e,t)=>t===0||e.length===0?e:`    `+e).join(`
`));case`join`:case`string`:return e;case`int`:{let t=parseInt(e.value,10);return new P(isNaN(t)?0:t)}case`float`:{let t=parseFloat(e.value);return new F(isNaN(t)?0:t)}default:throw Error(`Unknown StringValue filter: ${r.value}`)}else if(e instanceof P||e instanceof F)switch(r.value){case`abs`:return e instanceof P?new P(Math.abs(e.value)):new F(Math.abs(e.value));case`int`:return new P(Math.floor(e.value));case`float`:return new F(e.value);case`string`:return new I(e.toString());default:throw Error(`Unknown NumericValue filter: ${r.value}`)}else if(e instanceof z)switch(r.value){case`items`:return new V(Array.from(e.value.entries()).map(([e,t])=>new V([new I(e),t])));case`length`:return new P(e.value.size);default:{let t=e.builtins.get(r.value);if(t)return t instanceof H?t.value([],n):t;throw Error(`Unknown ObjectValue filter: ${r.value}`)}}else if(e instanceof L)switch(r.value){case`bool`:return new L(e.value);case`int`:return new P(+!!e.value);case`float`:return new F(+!!e.value);case`string`:return new I(e.value?`true`:`false`);default:throw Error(`Unknown BooleanValue filter: ${r.value}`)}throw Error(`Cannot apply filter "${r.value}" to type: ${e.type}`)}if(t.type===`CallExpression`){let r=t;if(r.callee.type!==`Identifier`)throw Error(`Unknown filter: ${r.callee.type}`);let i=r.callee.value;if(i===`tojson`){let[,t]=this.evaluateArguments(r.args,n),i=t.get(`indent`)??new U;if(!(i instanceof P||i instanceof U))throw Error(`If set, indent must be a number`);let a=t.get(`ensure_ascii`)??new L(!1);if(!(a instanceof L))throw Error(`If set, ensure_ascii must be a boolean`);let o=t.get(`sort_keys`)??new L(!1);if(!(o instanceof L))throw Error(`If set, sort_keys must be a boolean`);let s=t.get(`separators`)??new U,c=null;if(s instanceof V||s instanceof Pr){if(s.value.length!==2)throw Error(`separators must be a tuple of two strings`);let[e,t]=s.value;if(!(e instanceof I)||!(t instanceof I))throw Error(`separators must be a tuple of two strings`);c=[e.value,t.value]}else if(!(s instanceof U))throw Error(`If set, separators must be a tuple of two strings`);return new I(R(e,{indent:i.value,ensureAscii:a.value,sortKeys:o.value,separators:c}))}if(i===`join`){let t;if(e instanceof I)t=Array.from(e.value);else if(e instanceof V)t=e.value.map(e=>e.value);else throw Error(`Cannot apply filter "${i}" to type: ${e.type}`);let[a,o]=this.evaluateArguments(r.args,n),s=a.at(0)??o.get(`separator`)??new I(``);if(!(s instanceof I))throw Error(`separator must be a string`);return new I(t.join(s.value))}if(i===`int`||i===`float`){let[t,a]=this.evaluateArguments(r.args,n),o=t.at(0)??a.get(`default`)??(i===`int`?new P(0):new F(0));if(e instanceof I){let t=i===`int`?parseInt(e.value,10):parseFloat(e.value);return isNaN(t)?o:i===`int`?new P(t):new F(t)}if(e instanceof P||e instanceof F)return e;if(e instanceof L)return i===`int`?new P(+!!e.value):new F(+!!e.value);throw Error(`Cannot apply filter "${i}" to type: ${e.type}`)}if(i==="default"){let[t,i]=this.evaluateArguments(r.args,n),a=t[0]??new I(``),o=t[1]??i.get(`boolean`)??new L(!1);if(!(o instanceof L))throw Error("`default` filter flag must be a boolean");return e instanceof W||o.value&&!e.__bool__().value?a:e}if(e instanceof V){switch(i){case`sort`:{let[t,i]=this.evaluateArguments(r.args,n),a=t.at(0)??i.get(`reverse`)??new L(!1);if(!(a instanceof L))throw Error(`reverse must be a boolean`);let o=t.at(1)??i.get(`case_sensitive`)??new L(!1);if(!(o instanceof L))throw Error(`case_sensitive must be a boolean`);let s=t.at(2)??i.get(`attribute`)??new U;if(!(s instanceof I||s instanceof P||s instanceof U))throw Error(`attribute must be a string, integer, or null`);let c=e=>s instanceof U?e:Br(e,s instanceof P?String(s.value):s.value);return new V(e.value.slice().sort((e,t)=>{let n=Vr(c(e),c(t),o.value);return a.value?-n:n}))}case`selectattr`:case`rejectattr`:{let t=i===`selectattr`;if(e.value.some(e=>!Lr(e)))throw Error(`\`${i}\` can only be applied to array of objects`);if(r.args.some(e=>e.type!==`StringLiteral`))throw Error(`arguments of \`${i}\` must be strings`);let[a,o,s]=r.args.map(e=>this.evaluate(e,n)),c;if(o){let e=n.tests.get(o.value);if(!e)throw Error(`Unknown test: ${o.value}`);c=e}else c=(...e)=>e[0].__bool__().value;return new V(e.value.filter(e=>{let n=e.value.get(a.value),r=n?c(n,s):!1;return t?r:!r}))}case`map`:{let[,t]=this.evaluateArguments(r.args,n);if(t.has(`attribute`)){let n=t.get(`attribute`);if(!(n instanceof I))throw Error(`attribute must be a string`);let r=t.get(`default`);return new V(e.value.map(e=>{if(!Lr(e))throw Error(`items in map must be an object`);let t=Br(e,n.value);return t instanceof W?r??new W:t}))}throw Error("`map` expressions without `attribute` set are not currently supported.")}}throw Error(`Unknown ArrayValue filter: ${i}`)}if(e instanceof I){switch(i){case`indent`:{let[t,i]=this.evaluateArguments(r.args,n),a=t.at(0)??i.get(`width`)??new P(4);if(!(a instanceof P))throw Error(`width must be a number`);let o=t.at(1)??i.get(`first`)??new L(!1),s=t.at(2)??i.get(`blank`)??new L(!1),c=e.value.split(`
`),l=` `.repeat(a.value);return new I(c.map((e,t)=>!o.value&&t===0||!s.value&&e.length===0?e:l+e).join(`
`))}case`replace`:{let t=e.builtins.get(`replace`);if(!(t instanceof H))throw Error(`replace filter not available`);let[i,a]=this.evaluateArguments(r.args,n);return t.value([...i,new B(a)],n)}}throw Error(`Unknown StringValue filter: ${i}`)}if(e instanceof z){let t=e.builtins.get(i);if(t&&t instanceof H){let[e,i]=this.evaluateArguments(r.args,n);return i.size>0&&e.push(new B(i)),t.value(e,n)}throw Error(`Unknown ObjectValue filter: ${i}`)}throw Error(`Cannot apply filter "${i}" to type: ${e.type}`)}throw Error(`Unknown filter: ${t.type}`)}evaluateFilterExpression(e,t){let n=this.evaluate(e.operand,t);return this.applyFilter(n,e.filter,t)}evaluateTestExpression(e,t){let n=this.evaluate(e.operand,t),r=t.tests.get(e.test.value);if(!r)throw Error(`Unknown test: ${e.test.value}`);let i=r(n);return new L(e.negate?!i:i)}evaluateSelectExpression(e,t){return this.evaluate(e.test,t).__bool__().value?this.evaluate(e.lhs,t):new W}evaluateUnaryExpression(e,t){let n=this.evaluate(e.argument,t);switch(e.operator.value){case`not`:return new L(!n.__bool__().value);case`+`:case`-`:{let t=e.operator.value===`-`?-1:1;if(n instanceof P||n instanceof F||n instanceof L){let e=t*(n instanceof L?+!!n.value:n.value);return n instanceof F?new F(e):new P(e)}throw SyntaxError(`Unknown operator "${e.operator.value}" for ${n.type}`)}default:throw SyntaxError(`Unknown operator: ${e.operator.value}`)}}evaluateTernaryExpression(e,t){return this.evaluate(e.condition,t).__bool__().value?this.evaluate(e.trueExpr,t):this.evaluate(e.falseExpr,t)}evalProgram(e,t){return this.evaluateBlock(e.body,t)}evaluateBlock(e,t){let n=``;for(let r of e){let e=this.evaluate(r,t);e.type!==`NullValue`&&e.type!==`UndefinedValue`&&(n+=e.toString())}return new I(n)}evaluateIdentifier(e,t){return t.lookupVariable(e.value)}evaluateCallExpression(e,t){let[n,r]=this.evaluateArguments(e.args,t);r.size>0&&n.push(new B(r));let i=this.evaluate(e.callee,t);if(i.type!==`FunctionValue`)throw Error(`Cannot call something that is not a function: got ${i.type}`);return i.value(n,t)}evaluateSliceExpression(e,t,n){if(!(e instanceof V||e instanceof I))throw Error(`Slice object must be an array or string`);let r=this.evaluate(t.start,n),i=this.evaluate(t.stop,n),a=this.evaluate(t.step,n);if(!(r instanceof P||r instanceof W))throw Error(`Slice start must be numeric or undefined`);if(!(i instanceof P||i instanceof W))throw Error(`Slice stop must be numeric or undefined`);if(!(a instanceof P||a instanceof W))throw Error(`Slice step must be numeric or undefined`);return e instanceof V?new V(wr(e.value,r.value,i.value,a.value)):new I(wr(Array.from(e.value),r.value,i.value,a.value).join(``))}evaluateMemberExpression(e,t){let n=this.evaluate(e.object,t),r;if(e.computed){if(e.property.type===`SliceExpression`)return this.evaluateSliceExpression(n,e.property,t);r=this.evaluate(e.property,t)}else r=e.property.type===`IntegerLiteral`?new P(e.property.value):new I(e.property.value);let i;if(Lr(n)){if(!(r instanceof I))throw Error(`Cannot access property with non-string: got ${r.type}`);i=n.value.get(r.value)??(n instanceof z?n.builtins.get(r.value):void 0)}else if(n instanceof V||n instanceof I){if(r instanceof P){if(n instanceof I){let e=n.value.at(r.value);i=e===void 0?void 0:new I(e)}else i=n.value.at(r.value)}else if(r instanceof I)i=n.builtins.get(r.value);else throw Error(`Cannot access property with non-string/non-number: got ${r.type}`)}else{if(!(r instanceof I))throw Error(`Cannot access property with non-string: got ${r.type}`);i=n.builtins.get(r.value)}return i instanceof N?i:new W}evaluateSet(e,t){let n=e.value?this.evaluate(e.value,t):this.evaluateBlock(e.body,t);if(e.assignee.type===`Identifier`){let r=e.assignee.value;t.setVariable(r,n)}else if(e.assignee.type===`TupleLiteral`){let r=e.assignee;if(!(n instanceof V))throw Error(`Cannot unpack non-iterable type in set: ${n.type}`);let i=n.value;if(i.length!==r.value.length)throw Error(`Too ${r.value.length>i.length?`few`:`many`} items to unpack in set`);for(let e=0;e<r.value.length;++e){let n=r.value[e];if(n.type!==`Identifier`)throw Error(`Cannot unpack to non-identifier in set: ${n.type}`);t.setVariable(n.value,i[e])}}else if(e.assignee.type===`MemberExpression`){let r=e.assignee,i=this.evaluate(r.object,t);if(!(i instanceof Nr))throw Error(`cannot assign attribute on non-namespace object`);if(r.property.type!==`Identifier`)throw Error(`Cannot assign to member with non-identifier property`);i.value.set(r.property.value,n)}else throw Error(`Invalid LHS inside assignment expression: ${JSON.stringify(e.assignee)}`);return new U}evaluateIf(e,t){let n=this.evaluate(e.test,t);return this.evaluateBlock(n.__bool__().value?e.body:e.alternate,t)}evaluateFor(e,t){let n=new G(t),r,i;if(e.iterable.type===`SelectExpression`){let t=e.iterable;i=this.evaluate(t.lhs,n),r=t.test}else i=this.evaluate(e.iterable,n);if(!(i instanceof V||i instanceof z))throw Error(`Expected iterable or object type in for loop: got ${i.type}`);i instanceof z&&(i=i.keys());let a=[],o=[];for(let t=0;t<i.value.length;++t){let s=new G(n),c=i.value[t],l;if(e.loopvar.type===`Identifier`)l=t=>t.setVariable(e.loopvar.value,c);else if(e.loopvar.type===`TupleLiteral`){let t=e.loopvar;if(c.type!==`ArrayValue`)throw Error(`Cannot unpack non-iterable type: ${c.type}`);let n=c;if(t.value.length!==n.value.length)throw Error(`Too ${t.value.length>n.value.length?`few`:`many`} items to unpack`);l=e=>{for(let r=0;r<t.value.length;++r){if(t.value[r].type!==`Identifier`)throw Error(`Cannot unpack non-identifier type: ${t.value[r].type}`);e.setVariable(t.value[r].value,n.value[r])}}}else throw Error(`Invalid loop variable(s): ${e.loopvar.type}`);r&&(l(s),!this.evaluate(r,s).__bool__().value)||(a.push(c),o.push(l))}let s=``,c=!0;for(let t=0;t<a.length;++t){let r=/* @__PURE__ */ new Map([[`index`,new P(t+1)],[`index0`,new P(t)],[`revindex`,new P(a.length-t)],[`revindex0`,new P(a.length-t-1)],[`first`,new L(t===0)],[`last`,new L(t===a.length-1)],[`length`,new P(a.length)],[`previtem`,t>0?a[t-1]:new W],[`nextitem`,t<a.length-1?a[t+1]:new W]]);n.setVariable(`loop`,new z(r)),o[t](n);try{let t=this.evaluateBlock(e.body,n);s+=t.value}catch(e){if(e instanceof kr)continue;if(e instanceof Or)break;throw e}c=!1}if(c){let t=this.evaluateBlock(e.defaultBlock,n);s+=t.value}return new I(s)}bindMacroArguments(e,t,n,r,i){let a=r.slice(),o=/* @__PURE__ */ new Map;a.at(-1)instanceof B&&(o=new Map(a.pop().value));let s=[];for(let e=0;e<t.length;++e){let{name:n,defaultValue:r}=Hr(t[e]),c=a[e];c===void 0&&o.has(n)&&(c=o.get(n),o.delete(n)),c===void 0&&r!==void 0&&s.push([n,r]),i.setVariable(n,c??new W)}if(n.has(`kwargs`))i.setVariable(`kwargs`,new z(o));else if(o.size>0)throw Error(`macro ${e} takes no keyword argument '${o.keys().next().value}'`);if(n.has(`varargs`))i.setVariable(`varargs`,new V(a.slice(t.length)));else if(a.length>t.length)throw Error(`macro ${e} takes not more than ${t.length} argument(s)`);for(let[e,t]of s)i.setVariable(e,this.evaluate(t,i))}evaluateMacro(e,t){let n=Wr(e.args,e.body);return t.setVariable(e.name.value,new H((t,r)=>{let i=new G(r);return this.bindMacroArguments(`'${e.name.value}'`,e.args,n,t,i),this.evaluateBlock(e.body,i)})),new U}evaluateCallStatement(e,t){let n=e.callerArgs??[],r=Wr(n,e.body),i=new H(i=>{let a=new G(t);return this.bindMacroArguments(`None`,n,r,i,a),this.evaluateBlock(e.body,a)}),[a,o]=this.evaluateArguments(e.call.args,t);a.push(new B(o));let s=this.evaluate(e.call.callee,t);if(s.type!==`FunctionValue`)throw Error(`Cannot call something that is not a function: got ${s.type}`);let c=new G(t);return c.setVariable(`caller`,i),s.value(a,c)}evaluateFilterStatement(e,t){let n=this.evaluateBlock(e.body,t);return this.applyFilter(n,e.filter,t)}evaluate(e,t){if(!e)return new W;switch(e.type){case`Program`:return this.evalProgram(e,t);case`Set`:return this.evaluateSet(e,t);case`If`:return this.evaluateIf(e,t);case`For`:return this.evaluateFor(e,t);case`Macro`:return this.evaluateMacro(e,t);case`CallStatement`:return this.evaluateCallStatement(e,t);case`Break`:throw new Or;case`Continue`:throw new kr;case`IntegerLiteral`:return new P(e.value);case`FloatLiteral`:return new F(e.value);case`StringLiteral`:return new I(e.value);case`ArrayLiteral`:return new V(e.value.map(e=>this.evaluate(e,t)));case`TupleLiteral`:return new Pr(e.value.map(e=>this.evaluate(e,t)));case`ObjectLiteral`:{let n=/* @__PURE__ */ new Map;for(let[r,i]of e.value){let e=this.evaluate(r,t);if(!(e instanceof I))throw Error(`Object keys must be strings: got ${e.type}`);n.set(e.value,this.evaluate(i,t))}return new z(n)}case`Identifier`:return this.evaluateIdentifier(e,t);case`CallExpression`:return this.evaluateCallExpression(e,t);case`MemberExpression`:return this.evaluateMemberExpression(e,t);case`UnaryExpression`:return this.evaluateUnaryExpression(e,t);case`BinaryExpression`:return this.evaluateBinaryExpression(e,t);case`FilterExpression`:return this.evaluateFilterExpression(e,t);case`FilterStatement`:return this.evaluateFilterStatement(e,t);case`TestExpression`:return this.evaluateTestExpression(e,t);case`SelectExpression`:return this.evaluateSelectExpression(e,t);case`Ternary`:return this.evaluateTernaryExpression(e,t);case`Comment`:return new U;default:throw SyntaxError(`Unknown node type: ${e.type}`)}}};function Kr(e){switch(typeof e){case`number`:return Number.isInteger(e)?new P(e):new F(e);case`string`:return new I(e);case`boolean`:return new L(e);case`undefined`:return new W;case`object`:return e===null?new U:Array.isArray(e)?new V(e.map(Kr)):new z(new Map(Object.entries(e).map(([e,t])=>[e,Kr(t)])));case`function`:return new H((t,n)=>Kr(e(...t.map(e=>e.value))??null));default:throw Error(`Cannot convert to runtime value: ${e}`)}}Object.freeze({CONDITIONAL:0,LOGICAL_OR:1,LOGICAL_AND:2,LOGICAL_NOT:3,COMPARISON:4,ADDITIVE:5,MULTIPLICATIVE:6,EXPONENTIATION:7,TEST:8,FILTER:9,UNARY_SIGN:10,ATOM:11});const qr=3e5;var Jr=class extends Gr{steps=0;iterables=/* @__PURE__ */ new Set;evaluate(...e){let[t]=e;t&&`iterable`in t&&this.iterables.add(t.iterable);let n=super.evaluate(...e),{value:r}=n,i=Array.isArray(r),a=i||typeof r==`string`?r.length:0;if(a>16777216)throw Error(`it makes too long a text`);if(this.steps+=1+a/64,i&&this.iterables.has(t)&&(this.steps+=a*10),this.steps>qr)throw Error(`it takes too many steps`);return n}};function Yr(e,t){let n=new G;for(let[e,r]of Object.entries({...Xr,...t}))n.set(e,r);let r=Cr(qn(e,{lstrip_blocks:!0,trim_blocks:!0}));return String(new Jr(n).run(r).value)}const Xr={true:!0,True:!0,false:!1,False:!1,none:null,None:null,range:Zr,strftime_now:e=>Qr(e,/* @__PURE__ */ new Date),raise_exception:e=>{throw Error(e)}};function Zr(e,t,n=1){let[r,i]=t===void 0?[0,e]:[e,t],a=Math.max(0,Math.ceil((i-r)/n));if(!(a<=qr))throw Error(`it makes too long a range`);return Array.from({length:a},(e,t)=>r+t*n)}function Qr(e,t){let n=e=>String(e).padStart(2,`0`),r=e=>new Intl.DateTimeFormat(`en-US`,e).format(t),i={Y:()=>String(t.getFullYear()),y:()=>n(t.getFullYear()%100),m:()=>n(t.getMonth()+1),d:()=>n(t.getDate()),H:()=>n(t.getHours()),M:()=>n(t.getMinutes()),S:()=>n(t.getSeconds()),B:()=>r({month:`long`}),b:()=>r({month:`short`}),A:()=>r({weekday:`long`}),a:()=>r({weekday:`short`}),"%":()=>`%`};return e.replace(/%([a-zA-Z%])/g,(e,t)=>i[t]?.()??e)}const $r=[`system`,`developer`,`user`,`assistant`,`tool`],ei=[`
User:`];function ti(e,t){return e?.trim()?e.includes(`BITNETAssistant`)?t.has(`<|eot_id|>`)?`{{ bos_token }}{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] | trim }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}`:null:e:null}function ni(e,n,i,a){if(!n.length)throw new r(`A conversation is a list of at least one message.`);let o=n.map(({role:e,content:t})=>{if(!$r.includes(e))throw new r(`The role of a message is one of ${$r.join(`, `)}.`);if(typeof t!=`string`)throw new r(`The content of a message is a text.`);return{role:e,content:i(t)}});try{return Yr(e??`{% for message in messages %}{{ message['role'] | capitalize }}: {{ (message['content'] or '') | trim }}
{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}`,{messages:o,add_generation_prompt:!0,...a})}catch(e){throw new t(`The model's chat template does not work: ${e instanceof Error?e.message:e}.`)}}var ri=class{found=!1;held=``;stops;constructor(e){this.stops=e.filter(e=>e!==``)}push(e){this.held+=e;let t=this.stops.map(e=>this.held.indexOf(e)).filter(e=>e>=0);if(t.length)return this.found=!0,this.take(Math.min(...t));let n=0;for(let e of this.stops)for(let t=Math.min(e.length-1,this.held.length);t>n;t--)this.held.endsWith(e.slice(0,t))&&(n=t);return this.take(this.held.length-n)}flush(){return this.found?``:this.held}take(e){let t=this.held.slice(0,e);return this.held=this.held.slice(e),t}},ii=class{constructor(e){this.trie=this._build_trie(e)}_build_trie(e){let t=/* @__PURE__ */ Object.create(null);for(let n of e){let e=t;for(let t=0;t<n.length;++t){let r=n[t];e=e[r]??=/* @__PURE__ */ Object.create(null)}e.end=n}return t}split(e){let t=[],n=e.length,r=0,i=0;for(;i<n;){let a=this.trie,o=null,s=i;for(;s<n&&(a=a[e[s]]);)a.end&&(o=a.end),++s;o?(i>r&&t.push(e.slice(r,i)),t.push(o),i+=o.length,r=i):++i}return r<n&&t.push(e.slice(r)),t}},ai=class{constructor(e){this.content=e.content,this.id=e.id,this.single_word=e.single_word??!1,this.lstrip=e.lstrip??!1,this.rstrip=e.rstrip??!1,this.special=e.special??!1,this.normalized=e.normalized??!this.special}},oi=(e,t)=>{try{return new RegExp(e,t)}catch(n){if(!(n instanceof SyntaxError))throw n;let r=/* @__PURE__ */ new Map,i=e.replace(/(\\[pP])\{([^}=]+)\}/g,(t,n,i,a)=>{let o=0;for(let t=a-1;t>=0&&e[t]===`\\`;--t)++o;if(o%2==1)return t;let s=r.get(i);if(s===void 0){try{RegExp(`\\p{${i}}`,`u`),s=i}catch{s=`Script=${i}`}r.set(i,s)}return`${n}{${s}}`});if(i===e)throw n;try{return new RegExp(i,t)}catch{throw n}}},si=e=>e.replace(/ \./g,`.`).replace(/ \?/g,`?`).replace(/ \!/g,`!`).replace(/ ,/g,`,`).replace(/ \' /g,`'`).replace(/ n't/g,`n't`).replace(/ 'm/g,`'m`).replace(/ 's/g,`'s`).replace(/ 've/g,`'ve`).replace(/ 're/g,`'re`),ci=(e,t=!0)=>{if(e.Regex!==void 0)return oi(Wi(Ni(e.Regex)),`gu`);if(e.String!==void 0){let n=Gi(e.String);return new RegExp(t?n:`(${n})`,`gu`)}return console.warn(`Unknown pattern type:`,e),null},li=`\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}`,ui=`${li}\\u00B2\\u00B3\\u00B9\\u00BC-\\u00BE`,K=`[${ui}]`,di=`[^${ui}]`,fi=`(?:(?<!${K})(?=${K})|(?<=${K})(?!${K}))`,pi=`(?:(?<!${K})(?!${K})|(?<=${K})(?=${K}))`,mi=`(?:(?<![\\s\\S])|(?<=\\n))`,hi=`(?:(?=\\n)|(?![\\s\\S]))`,gi=`0-9A-Fa-f`,_i=/* @__PURE__ */ new Map([[`A`,`(?<![\\s\\S])`],[`z`,`(?![\\s\\S])`],[`Z`,`(?=\\n?(?![\\s\\S]))`],[`h`,`[${gi}]`],[`H`,`[^${gi}]`],[`w`,K],[`W`,di],[`d`,`\\p{Nd}`],[`D`,`\\P{Nd}`],[`s`,`\\p{White_Space}`],[`S`,`\\P{White_Space}`],[`b`,fi],[`B`,pi],[`a`,`\\x07`],[`e`,`\\x1B`]]),vi=/* @__PURE__ */ new Map([[`h`,gi],[`w`,li],[`d`,`\\p{Nd}`],[`D`,`\\P{Nd}`],[`s`,`\\p{White_Space}`],[`S`,`\\P{White_Space}`],[`a`,`\\x07`],[`e`,`\\x1B`]]),yi=/* @__PURE__ */ new Map([[`W`,`[^${li}]`],[`H`,`[^${gi}]`]]),bi=/* @__PURE__ */ new Map([[`
`,`\\n`],[`\r`,`\\r`],[`	`,`\\t`],[`\f`,`\\f`],[`\v`,`\\v`]]),xi=/* @__PURE__ */ new Map([[`alpha`,`\\p{Alphabetic}`],[`alnum`,`\\p{Alphabetic}\\p{Nd}`],[`digit`,`\\p{Nd}`],[`lower`,`\\p{Lowercase}`],[`upper`,`\\p{Uppercase}`],[`space`,`\\p{White_Space}`],[`blank`,`\\t\\p{Zs}`],[`punct`,`\\p{P}\\p{S}`],[`cntrl`,`\\p{Cc}`],[`word`,li],[`xdigit`,gi]]),Si=`^$\\.*+?()[]{}|/`,Ci=/^\(\?(?:<[=!]|<[A-Za-z_][A-Za-z0-9_]*>|[:=!>])/,wi=/^\\([pPxu])\{([^}]*)\}/,Ti=/^\{(\d+(?:,\d*)?|,\d+)\}/,Ei=/^\[:(\^?)(\p{Alphabetic}+):\]/u,Di=/^\[:\^:\]/,Oi=/^\[(?:\.[^\]]*\.\]|=[^\]]*=\])/,ki=/^(?:\\x[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\c[A-Za-z])/,Ai=e=>e>=`A`&&e<=`Z`||e>=`a`&&e<=`z`,ji=(e,t)=>String.fromCodePoint(e.codePointAt(t)),Mi=e=>{if(!/^[0-9A-Fa-f]{1,8}$/.test(e))return null;let t=Number.parseInt(e,16);if(t>127)return null;let n=String.fromCharCode(t);return Ai(n)?`[${n.toLowerCase()}${n.toUpperCase()}]`:null},Ni=e=>e.replace(/\[\^\(\\s\|\[([^\]]+)\]\)\]/g,`[^()|\\s$1]`),Pi=`[\\s\\S]`,Fi=256,Ii=()=>({fragment:``,alternatives:[],tail:null,contains_complex_set:!1}),Li=e=>{throw SyntaxError(`Unsupported range with a set-valued character-class operand at index ${e}`)},Ri=(e,t,n,r=!0)=>{e.tail===`range`&&Li(n),e.alternatives.push(t),e.tail=`set`,e.contains_complex_set=e.contains_complex_set||r},q=(e,t,n=!1,r=-1)=>{n&&e.tail===`range`&&Li(r),e.tail===`range`?(e.fragment+=t,e.tail=`complete_range`):(e.fragment+=t,e.tail=n?`set`:`scalar`,e.contains_complex_set=e.contains_complex_set||n)},zi=(e,t,n)=>{let r=wi.exec(e.slice(t));if(r){let[e,i,a]=r;return i===`P`&&a===`Word`?Ri(n,`[^${li}]`,t):q(n,i===`x`?`\\u{${a}}`:i===`p`&&a===`Word`?li:e,i===`p`||i===`P`,t),t+e.length}let i=ki.exec(e.slice(t));if(i)return q(n,i[0]),t+i[0].length;if(t+1>=e.length)throw SyntaxError(`Unterminated escape in character class at index ${t}`);let a=ji(e,t+1),o=t+1+a.length,s=bi.get(a);if(s!==void 0)return q(n,s),o;let c=yi.get(a);if(c!==void 0)return Ri(n,c,t),o;let l=vi.get(a),u,d=!1;return l===void 0?u=/[A-Za-z0-9]/.test(a)||Si.includes(a)||a===`-`?`\\${a}`:a:(u=l,d=a!==`a`&&a!==`e`),q(n,u,d,t),o},Bi=e=>e.length===1?e[0]:`(?:(?=(?:${e.join(`|`)}))${Pi})`,Vi=e=>Bi(e.fragment.length===0?e.alternatives:[`[${e.fragment}]`,...e.alternatives]),Hi=e=>{let t=oi(`^(?:${e})$`,`u`),n=``;for(let e=0;e<26;++e){let r=String.fromCharCode(65+e),i=String.fromCharCode(97+e),a=t.test(r);a!==t.test(i)&&(n+=a?i:r)}return n},Ui=(e,t,n,r=!0,i=1)=>{if(i>Fi)throw SyntaxError(`Maximum character-class nesting depth of ${Fi} exceeded at index ${t}`);let a=t+1,o=e[a]===`^`;o&&++a;let s=a,c=[Ii()],l=c[0],u=!1;for(;a<e.length;){let d=ji(e,a);if(d===`\\`)a=zi(e,a,l);else{if(d===`]`){if(a===s){q(l,`\\]`),++a;continue}if(l.tail===null)throw c.length>1?SyntaxError(`Malformed character-class intersection with an empty operand at index ${a}`):SyntaxError(`Empty character class at index ${t}`);let e=c.some(e=>e.contains_complex_set);if(o&&c.length>1&&u)throw SyntaxError(`Unsupported outer-negated character-class intersection with a nested negated class containing a Unicode property, POSIX class, or shorthand at index ${t}`);let i=Vi(c[0]),d=i;if(c.length>1){let e=``;for(let t=1;t<c.length;++t)e+=`(?=${Vi(c[t])})`;d=`(?:${e}${i})`}let f=c.length===1&&l.alternatives.length===0,p=l.fragment;if(n&&r){let e=Hi(d);e.length>0&&(f?(p+=e,d=`[${p}]`):d=Bi([d,`[${e}]`]))}return{atom:o?f?`[^${p}]`:`(?:(?!${d})${Pi})`:d,end:a+1,negated:o,contains_complex_set:e,contains_nested_negated_complex_set:u}}if(e.startsWith(`&&`,a)){if(l.tail===null)throw SyntaxError(`Malformed character-class intersection with an empty operand at index ${a}`);l=Ii(),c.push(l),a+=2}else if(d===`[`){let t=e.slice(a);if(Di.test(t))throw SyntaxError(`Malformed empty negated POSIX character class at index ${a}`);let r=Ei.exec(t);if(r){let[,e,t]=r,i=xi.get(t);if(i===void 0)throw SyntaxError(`Unsupported POSIX character class "${t}" at index ${a}`);if(n&&e&&(t===`lower`||t===`upper`))throw SyntaxError(`Unsupported negated POSIX ${t} class inside an inline case-insensitive group`);e?Ri(l,`[^${i}]`,a):q(l,i,!0,a),a+=r[0].length;continue}if(Oi.test(t))throw SyntaxError(`Unsupported POSIX collating or equivalence bracket expression at index ${a}`);let o=Ui(e,a,n,!1,i+1);Ri(l,o.atom,a,o.contains_complex_set),u||=o.contains_nested_negated_complex_set||o.negated&&o.contains_complex_set,a=o.end}else if(d===`-`){let t=e[a+1]===`]`||e.startsWith(`&&`,a+1);l.tail===`set`&&!t&&Li(a),l.tail===null||l.tail===`range`||l.tail===`complete_range`||t?q(l,`\\-`):(l.fragment+=`-`,l.tail=`range`),++a}else q(l,d===`^`&&l.fragment.length===0?`\\^`:d),a+=d.length}}throw SyntaxError(`${c.length>1?`Unterminated character-class intersection`:`Unterminated character class`} at index ${t}`)},Wi=e=>{let t=``,n=-1,r=!1,i=!1,a=[],o=e=>{n=t.length,t+=e,r=!1};for(let s=0;s<e.length;){let c=ji(e,s);if(c===`\\`){let n=wi.exec(e.slice(s));if(n){let[e,t,r]=n,a=e;if(t===`x`){let e=`\\u{${r}}`;a=i?Mi(r)??e:e}else r===`Word`&&(a=t===`p`?K:di);o(a),s+=e.length;continue}let r=ki.exec(e.slice(s));if(r){let e=r[0];o(i&&e[1]!==`c`?Mi(e.slice(2))??e:e),s+=e.length;continue}if(s+1>=e.length){t+=c;break}let a=ji(e,s+1);if(s+=1+a.length,a===`G`)continue;let l=bi.get(a);if(l!==void 0){o(l);continue}let u=_i.get(a),d;d=u===void 0?/[A-Za-z0-9]/.test(a)||Si.includes(a)?`\\${a}`:a:u,o(d)}else switch(c){case`[`:{let t=Ui(e,s,i);o(t.atom),s=t.end;continue}case`]`:o(`\\]`),++s;continue;case`.`:o(`[^\\n]`),++s;continue;case`^`:o(mi),++s;continue;case`$`:o(hi),++s;continue;case`(`:{let n=e.startsWith(`(?i:`,s),o=n?`(?i:`:Ci.exec(e.slice(s))?.[0]??`(`,c=n||o===`(?>`?`(?:`:o;a.push([t.length,i]),n&&(i=!0),t+=c,r=!1,s+=o.length;continue}case`)`:t+=c,[n,i]=a.pop()??[-1,!1],r=!1,++s;continue;case`|`:t+=c,n=-1,r=!1,++s;continue;case`{`:{let i=Ti.exec(e.slice(s));if(!i||n<0){o(`\\{`),++s;continue}let a=i[1].startsWith(`,`)?`0${i[1]}`:i[1];s+=i[0].length;let c=e[s];c===`+`||c===`*`?(t=`${t.slice(0,n)}(?:${t.slice(n)}{${a}})${c}`,++s):t+=`{${a}}`,r=!0;continue}case`}`:o(`\\}`),++s;continue;case`+`:if(r){++s;continue}t+=c,r=!0,++s;continue;case`*`:case`?`:t+=c,r=!0,++s;continue;default:o(i&&Ai(c)?`[${c.toLowerCase()}${c.toUpperCase()}]`:c),s+=c.length;continue}}return t},Gi=e=>e.replace(/[.*+?^${}()|[\]\\]/g,`\\$&`),Ki=(e,t,n)=>{let r=[],i=0;for(;i<e.length;)if(r.push(e[i]),(t.get(e[i])??n)!==n)++i;else for(;++i<e.length&&(t.get(e[i])??n)===n;)t.get(r.at(-1))!==n&&(r[r.length-1]+=e[i]);return r},qi=e=>e>=19968&&e<=40959||e>=13312&&e<=19903||e>=131072&&e<=173791||e>=173824&&e<=177983||e>=177984&&e<=178207||e>=178208&&e<=183983||e>=63744&&e<=64255||e>=194560&&e<=195103,Ji=e=>Number.isInteger(e)||typeof e==`bigint`,Yi=e=>{let t=0;for(let n of e)++t;return t},Xi=e=>$i(e.toLowerCase()),J=(...e)=>Array.prototype.concat.apply([],e),Zi=e=>new Map(Object.entries(e)),Qi=(e,t)=>{let n=[],r=0;for(let i of e.matchAll(t)){let t=i[0];r<i.index&&n.push(e.slice(r,i.index)),t.length>0&&n.push(t),r=i.index+t.length}return r<e.length&&n.push(e.slice(r)),n},$i=e=>e.replace(/\p{M}/gu,``),ea=(e,t,n=[])=>{if(!e||Array.isArray(e)||typeof e!=`object`)return`${t} must be a valid object`;for(let r of n)if(!(r in e))return`${t} must contain a "${r}" property`;return null},ta=e=>e.match(/\S+/g)||[],na=class{constructor(){let e=function(...t){return e._call(...t)};return Object.setPrototypeOf(e,new.target.prototype)}},Y=class extends na{constructor(e){super(),this.config=e}_call(e){return this.normalize(e)}},ra=class extends Y{tokenize_chinese_chars(e){let t=[];for(let n=0;n<e.length;++n){let r=e[n];qi(r.charCodeAt(0))?(t.push(` `),t.push(r),t.push(` `)):t.push(r)}return t.join(``)}strip_accents(e){return e.normalize(`NFD`).replace(/\p{Mn}/gu,``)}is_control(e){switch(e){case`	`:case`
`:case`\r`:return!1;default:return/^\p{Cc}|\p{Cf}|\p{Co}|\p{Cs}$/u.test(e)}}clean_text(e){let t=[];for(let n of e){let e=n.charCodeAt(0);e===0||e===65533||this.is_control(n)||(/^\s$/.test(n)?t.push(` `):t.push(n))}return t.join(``)}normalize(e){return this.config.clean_text&&(e=this.clean_text(e)),this.config.handle_chinese_chars&&(e=this.tokenize_chinese_chars(e)),this.config.lowercase?(e=e.toLowerCase(),this.config.strip_accents!==!1&&(e=this.strip_accents(e))):this.config.strip_accents&&(e=this.strip_accents(e)),e}},ia=class extends Y{constructor(e){super(e),this.charsmap=e.precompiled_charsmap??null}normalize(e){return e=e.replace(/[\u0001-\u0008\u000B\u000E-\u001F\u007F\u008F\u009F]/gm,``),e=e.replace(/[\u0009\u000A\u000C\u000D\u00A0\u1680\u2000-\u200F\u2028\u2029\u202F\u205F\u2581\u3000\uFEFF\uFFFD]/gm,` `),e=e.includes(`～`)?e.split(`～`).map(e=>e.normalize(`NFKC`)).join(`～`):e.normalize(`NFKC`),e}},aa=class extends Y{constructor(e){super(e),this.normalizers=(e.normalizers??[]).map(e=>_a(e))}normalize(e){return this.normalizers.reduce((e,t)=>t?t.normalize(e):e,e)}},oa=class extends Y{constructor(e){super(e),this.pattern=ci(this.config.pattern??{})}normalize(e){return this.pattern===null?e:e.replaceAll(this.pattern,this.config.content??``)}},sa=class extends Y{constructor(){super(...arguments),this.form=`NFC`}normalize(e){return e=e.normalize(this.form),e}},ca=class extends sa{constructor(){super(...arguments),this.form=`NFC`}},la=class extends sa{constructor(){super(...arguments),this.form=`NFD`}},ua=class extends sa{constructor(){super(...arguments),this.form=`NFKC`}},da=class extends sa{constructor(){super(...arguments),this.form=`NFKD`}},fa=class extends Y{normalize(e){return this.config.strip_left&&this.config.strip_right?e=e.trim():(this.config.strip_left&&(e=e.trimStart()),this.config.strip_right&&(e=e.trimEnd())),e}},pa=class extends Y{normalize(e){return $i(e)}},ma=class extends Y{normalize(e){return e.toLowerCase()}},ha=class extends Y{normalize(e){return e=this.config.prepend+e,e}};function ga(e){if(e===null)return null;switch(e.type){case`BertNormalizer`:return new ra(e);case`Precompiled`:return new ia(e);case`Sequence`:return new aa(e);case`Replace`:return new oa(e);case`NFC`:return new ca(e);case`NFD`:return new la(e);case`NFKC`:return new ua(e);case`NFKD`:return new da(e);case`Strip`:return new fa(e);case`StripAccents`:return new pa(e);case`Lowercase`:return new ma(e);case`Prepend`:return new ha(e);default:throw Error(`Unknown Normalizer type: ${e.type}`)}}var _a=ga,X=class extends na{pre_tokenize(e,t){return(Array.isArray(e)?e.map(e=>this.pre_tokenize_text(e,t)):this.pre_tokenize_text(e,t)).flat()}_call(e,t){return this.pre_tokenize(e,t)}},va=(()=>{let e=[...Array.from({length:94},(e,t)=>t+33),...Array.from({length:12},(e,t)=>t+161),...Array.from({length:82},(e,t)=>t+174)],t=e.slice(),n=0;for(let r=0;r<256;++r)e.includes(r)||(e.push(r),t.push(256+n),n+=1);let r=t.map(e=>String.fromCharCode(e));return Object.fromEntries(e.map((e,t)=>[e,r[t]]))})(),ya=(e=>Object.fromEntries(Object.entries(e).map(([e,t])=>[t,e])))(va),ba=`\\p{P}\\u0021-\\u002F\\u003A-\\u0040\\u005B-\\u0060\\u007B-\\u007E`,xa=class extends X{constructor(e){super(),this.config=e,this.add_prefix_space=this.config.add_prefix_space??!1,this.trim_offsets=this.config.trim_offsets??!1,this.use_regex=this.config.use_regex??!0,this.pattern=/'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu,this.byte_encoder=va,this.text_encoder=new TextEncoder}pre_tokenize_text(e,t){return this.add_prefix_space&&!e.startsWith(` `)&&(e=` `+e),(this.use_regex?e.match(this.pattern)||[]:[e]).map(e=>Array.from(this.text_encoder.encode(e),e=>this.byte_encoder[e]).join(``))}},Sa=class extends X{pre_tokenize_text(e,t){return e.match(/\w+|[^\w\s]+/g)||[]}},Ca=class extends X{constructor(e){super(),this.replacement=e.replacement??`▁`,this.str_rep=e.str_rep||this.replacement,this.prepend_scheme=e.prepend_scheme??`always`}pre_tokenize_text(e,t){let{section_index:n=void 0}=t??{},r=e.replaceAll(` `,this.str_rep);return!r.startsWith(this.replacement)&&(this.prepend_scheme===`always`||this.prepend_scheme===`first`&&n===0)&&(r=this.str_rep+r),[r]}},wa=class extends X{constructor(e){super(),this.config=e,this.pattern=ci(this.config.pattern??{},this.config.invert??!0)}pre_tokenize_text(e){return this.pattern===null?[]:this.config.invert?(e.match(this.pattern)||[]).filter(e=>e):this.config.behavior?.toLowerCase()===`removed`?e.split(this.pattern).filter(e=>e):Qi(e,this.pattern)}},Ta=class extends X{constructor(e){super(),this.config=e,this.pattern=RegExp(`[^${ba}]+|[${ba}]+`,`gu`)}pre_tokenize_text(e){return e.match(this.pattern)||[]}},Ea=class extends X{constructor(e){super(),this.config=e;let t=`[^\\d]+|\\d${this.config.individual_digits?``:`+`}`;this.pattern=new RegExp(t,`gu`)}pre_tokenize_text(e){return e.match(this.pattern)||[]}},Da=class extends X{constructor(){super(),this.pattern=RegExp(`[^\\s${ba}]+|[${ba}]`,`gu`)}pre_tokenize_text(e,t){return e.trim().match(this.pattern)||[]}},Oa=class extends X{constructor(e){super(),this.config=e,this.pattern=ci(this.config.pattern??{}),this.content=this.config.content??``}pre_tokenize_text(e){return this.pattern===null?[e]:[e.replaceAll(this.pattern,this.config.content??``)]}},ka=class extends X{constructor(e){super(),this.tokenizers=(e.pretokenizers??[]).map(e=>Na(e))}pre_tokenize_text(e,t){return this.tokenizers.reduce((e,n)=>n?n.pre_tokenize(e,t):e,[e])}},Aa=class extends X{pre_tokenize_text(e){return ta(e)}},ja=class extends X{constructor(e){super(),this.config=e,this._length=e.length}pre_tokenize_text(e){let t=[];for(let n=0;n<e.length;n+=this._length)t.push(e.slice(n,n+this._length));return t}};function Ma(e){if(e===null)return null;switch(e.type){case`BertPreTokenizer`:return new Da;case`Sequence`:return new ka(e);case`Whitespace`:return new Sa;case`WhitespaceSplit`:return new Aa;case`Metaspace`:return new Ca(e);case`ByteLevel`:return new xa(e);case`Split`:return new wa(e);case`Punctuation`:return new Ta(e);case`Digits`:return new Ea(e);case`Replace`:return new Oa(e);case`FixedLength`:return new ja(e);default:throw Error(`Unknown PreTokenizer type: ${e.type}`)}}var Na=Ma,Pa=class extends na{constructor(e){super(),this.config=e,this.vocab=[],this.tokens_to_ids=/* @__PURE__ */ new Map,this.unk_token_id=void 0,this.unk_token=void 0,this.end_of_word_suffix=void 0,this.fuse_unk=this.config.fuse_unk??!1}_call(e){let t=this.encode(e);return this.fuse_unk&&(t=Ki(t,this.tokens_to_ids,this.unk_token_id)),t}},Fa=class extends Pa{constructor(e){super(e),this.max_input_chars_per_word=100,this.tokens_to_ids=Zi(e.vocab),this.unk_token_id=this.tokens_to_ids.get(e.unk_token),this.unk_token=e.unk_token,this.max_input_chars_per_word=e.max_input_chars_per_word??100,this.vocab=Array(this.tokens_to_ids.size);for(let[e,t]of this.tokens_to_ids)this.vocab[t]=e}encode(e){let t=[];for(let n of e){let e=[...n];if(e.length>this.max_input_chars_per_word){t.push(this.unk_token);continue}let r=!1,i=0,a=[];for(;i<e.length;){let t=e.length,n=null;for(;i<t;){let r=e.slice(i,t).join(``);if(i>0&&(r=this.config.continuing_subword_prefix+r),this.tokens_to_ids.has(r)){n=r;break}--t}if(n===null){r=!0;break}a.push(n),i=t}r?t.push(this.unk_token):t.push(...a)}return t}},Ia=class e{constructor(e,t){this.is_leaf=e,this.children=t}static default(){return new e(!1,/* @__PURE__ */ new Map)}},La=class{constructor(){this.root=Ia.default()}extend(e){for(let t of e)this.push(t)}push(e){let t=this.root;for(let n of e){let e=t.children.get(n);e===void 0&&(e=Ia.default(),t.children.set(n,e)),t=e}t.is_leaf=!0}*common_prefix_search(e,t=0){let n=this.root;if(n===void 0)return;let r=``;for(let i=t;i<e.length;++i){let t=e[i];if(r+=t,n=n.children.get(t),n===void 0)return;n.is_leaf&&(yield r)}}},Ra=class e{constructor(e,t,n,r,i){this.token_id=e,this.node_id=t,this.pos=n,this.length=r,this.score=i,this.prev=null,this.backtrace_score=0}clone(){let t=new e(this.token_id,this.node_id,this.pos,this.length,this.score);return t.prev=this.prev,t.backtrace_score=this.backtrace_score,t}},za=class{constructor(e,t,n){this.chars=Array.from(e),this.len=this.chars.length,this.bos_token_id=t,this.eos_token_id=n,this.nodes=[],this.begin_nodes=Array.from({length:this.len+1},()=>[]),this.end_nodes=Array.from({length:this.len+1},()=>[]);let r=new Ra(this.bos_token_id??0,0,0,0,0),i=new Ra(this.eos_token_id??0,1,this.len,0,0);this.nodes.push(r.clone()),this.nodes.push(i.clone()),this.begin_nodes[this.len].push(i),this.end_nodes[0].push(r)}insert(e,t,n,r){let i=this.nodes.length,a=new Ra(r,i,e,t,n);this.begin_nodes[e].push(a),this.end_nodes[e+t].push(a),this.nodes.push(a)}viterbi(){let e=this.len,t=0;for(;t<=e;){if(this.begin_nodes[t].length==0)return[];for(let e of this.begin_nodes[t]){e.prev=null;let n=0,r=null;for(let i of this.end_nodes[t]){let t=i.backtrace_score+e.score;(r===null||t>n)&&(r=i.clone(),n=t)}if(r!==null)e.prev=r,e.backtrace_score=n;else return[]}++t}let n=[],r=this.begin_nodes[e][0].prev;if(r===null)return[];let i=r.clone();for(;i.prev!==null;)n.push(i.clone()),i=i.clone().prev.clone();return n.reverse(),n}piece(e){return this.chars.slice(e.pos,e.pos+e.length).join(``)}tokens(){return this.viterbi().map(e=>this.piece(e))}token_ids(){return this.viterbi().map(e=>e.token_id)}};function Ba(e){if(e.length===0)throw Error(`Array must not be empty`);let t=e[0],n=0;for(let r=1;r<e.length;++r)e[r]<t&&(t=e[r],n=r);return[t,n]}var Va=class extends Pa{constructor(e,t){super(e);let n=e.vocab.length;this.vocab=Array(n),this.scores=Array(n);for(let t=0;t<n;++t)[this.vocab[t],this.scores[t]]=e.vocab[t];this.unk_token_id=e.unk_id,this.unk_token=this.vocab[e.unk_id],this.tokens_to_ids=new Map(this.vocab.map((e,t)=>[e,t])),this.bos_token=` `,this.bos_token_id=this.tokens_to_ids.get(this.bos_token),this.eos_token=t,this.eos_token_id=this.tokens_to_ids.get(this.eos_token),this.unk_token=this.vocab[this.unk_token_id],this.min_score=Ba(this.scores)[0],this.unk_score=this.min_score-10,this.scores[this.unk_token_id]=this.unk_score,this.trie=new La,this.trie.extend(this.vocab),this.fuse_unk=!0}populate_nodes(e){let t=e.chars,n=0;for(;n<t.length;){let r=!1,i=this.trie.common_prefix_search(t,n);for(let t of i){let i=this.tokens_to_ids.get(t),a=this.scores[i],o=Yi(t);e.insert(n,o,a,i),!r&&o===1&&(r=!0)}r||e.insert(n,1,this.unk_score,this.unk_token_id),n+=1}}tokenize(e){let t=new za(e,this.bos_token_id,this.eos_token_id);return this.populate_nodes(t),t.tokens()}encode(e){let t=[];for(let n of e){let e=this.tokenize(n);t.push(...e)}return t}},Ha=class{constructor(e=(e,t)=>e>t,t=1/0){this._heap=[],this._comparator=e,this._max_size=t}get size(){return this._heap.length}is_empty(){return this.size===0}peek(){return this._heap[0]}push(...e){return this.extend(e)}extend(e){for(let t of e)if(this.size<this._max_size)this._heap.push(t),this._sift_up();else{let e=this._smallest();this._comparator(t,this._heap[e])&&(this._heap[e]=t,this._sift_up_from(e))}return this.size}pop(){let e=this.peek(),t=this.size-1;return t>0&&this._swap(0,t),this._heap.pop(),this._sift_down(),e}replace(e){let t=this.peek();return this._heap[0]=e,this._sift_down(),t}_parent(e){return(e+1>>>1)-1}_left(e){return(e<<1)+1}_right(e){return e+1<<1}_greater(e,t){return this._comparator(this._heap[e],this._heap[t])}_swap(e,t){let n=this._heap[e];this._heap[e]=this._heap[t],this._heap[t]=n}_sift_up(){this._sift_up_from(this.size-1)}_sift_up_from(e){for(;e>0&&this._greater(e,this._parent(e));)this._swap(e,this._parent(e)),e=this._parent(e)}_sift_down(){let e=0;for(;this._left(e)<this.size&&this._greater(this._left(e),e)||this._right(e)<this.size&&this._greater(this._right(e),e);){let t=this._right(e)<this.size&&this._greater(this._right(e),this._left(e))?this._right(e):this._left(e);this._swap(e,t),e=t}}_smallest(){return 2**Math.floor(Math.log2(this.size))-1}},Ua=class{constructor(e){this.capacity=e,this.cache=/* @__PURE__ */ new Map}get(e){if(!this.cache.has(e))return;let t=this.cache.get(e);return this.cache.delete(e),this.cache.set(e,t),t}put(e,t){this.cache.has(e)&&this.cache.delete(e),this.cache.set(e,t),this.cache.size>this.capacity&&this.cache.delete(this.cache.keys().next().value)}clear(){this.cache.clear()}},Wa=class extends Pa{constructor(e){super(e),this.tokens_to_ids=Zi(e.vocab),this.unk_token_id=this.tokens_to_ids.get(e.unk_token),this.unk_token=e.unk_token,this.vocab=Array(this.tokens_to_ids.size);for(let[e,t]of this.tokens_to_ids)this.vocab[t]=e;let t=Array.isArray(e.merges[0]);this.merges=t?e.merges:e.merges.map(e=>e.split(` `,2)),this.bpe_ranks=new Map(this.merges.map((e,t)=>[JSON.stringify(e),t])),this.end_of_word_suffix=e.end_of_word_suffix,this.continuing_subword_suffix=e.continuing_subword_suffix??null,this.byte_fallback=this.config.byte_fallback??!1,this.byte_fallback&&(this.text_encoder=new TextEncoder),this.ignore_merges=this.config.ignore_merges??!1,this.max_length_to_cache=256,this.cache_capacity=1e4,this.cache=new Ua(this.cache_capacity)}clear_cache(){this.cache.clear()}bpe(e){if(e.length===0)return[];let t=this.cache.get(e);if(t!==void 0)return t;let n=Array.from(e);this.end_of_word_suffix&&(n[n.length-1]+=this.end_of_word_suffix);let r=[];if(n.length>1){let e=new Ha((e,t)=>e.score<t.score),t={token:n[0],bias:0,prev:null,next:null},i=t;for(let t=1;t<n.length;++t){let r={bias:t/n.length,token:n[t],prev:i,next:null};i.next=r,this.add_node(e,i),i=r}for(;!e.is_empty();){let n=e.pop();if(n.deleted||!n.next||n.next.deleted)continue;if(n.deleted=!0,n.next.deleted=!0,n.prev){let e={...n.prev};n.prev.deleted=!0,n.prev=e,e.prev?e.prev.next=e:t=e}let r={token:n.token+n.next.token,bias:n.bias,prev:n.prev,next:n.next.next};r.prev?(r.prev.next=r,this.add_node(e,r.prev)):t=r,r.next&&(r.next.prev=r,this.add_node(e,r))}for(let e=t;e!==null;e=e.next)r.push(e.token)}else r=n;if(this.continuing_subword_suffix)for(let e=0;e<r.length-1;++e)r[e]+=this.continuing_subword_suffix;return e.length<this.max_length_to_cache&&this.cache.put(e,r),r}add_node(e,t){let n=this.bpe_ranks.get(JSON.stringify([t.token,t.next.token]));n!==void 0&&(t.score=n+t.bias,e.push(t))}encode(e){let t=[];for(let n of e){if(this.ignore_merges&&this.tokens_to_ids.has(n)){t.push(n);continue}let e=this.bpe(n);for(let n of e)if(this.tokens_to_ids.has(n))t.push(n);else if(this.byte_fallback){let e=Array.from(this.text_encoder.encode(n)).map(e=>`<0x${e.toString(16).toUpperCase().padStart(2,`0`)}>`);e.every(e=>this.tokens_to_ids.has(e))?t.push(...e):this.unk_token!=null&&t.push(this.unk_token)}else this.unk_token!=null&&t.push(this.unk_token)}return t}},Ga=class extends Pa{constructor(e,t){super(e);let n=e.vocab;this.tokens_to_ids=Zi(t.target_lang?n[t.target_lang]:n),this.bos_token=t.bos_token,this.bos_token_id=this.tokens_to_ids.get(this.bos_token),this.eos_token=t.eos_token,this.eos_token_id=this.tokens_to_ids.get(this.eos_token),this.pad_token=t.pad_token,this.pad_token_id=this.tokens_to_ids.get(this.pad_token),this.unk_token=t.unk_token,this.unk_token_id=this.tokens_to_ids.get(this.unk_token),this.vocab=Array(this.tokens_to_ids.size);for(let[e,t]of this.tokens_to_ids)this.vocab[t]=e}encode(e){return e}};function Ka(e,t){switch(e.type){case`WordPiece`:return new Fa(e);case`Unigram`:return new Va(e,t.eos_token);case`BPE`:return new Wa(e);default:if(e.vocab)return Array.isArray(e.vocab)?new Va(e,t.eos_token):Object.hasOwn(e,`continuing_subword_prefix`)&&Object.hasOwn(e,`unk_token`)?Object.hasOwn(e,`merges`)?new Wa(e):new Fa(e):new Ga(e,{target_lang:t.target_lang,bos_token:t.bos_token,eos_token:t.eos_token,pad_token:t.pad_token,unk_token:t.unk_token});throw Error(`Unknown TokenizerModel type: ${e?.type}`)}}var qa=Ka,Ja=class extends na{constructor(e){super(),this.config=e}_call(e,...t){return this.post_process(e,...t)}},Ya=class extends Ja{post_process(e,t=null,n=!0){let r=t===null?this.config.single:this.config.pair,i=[],a=[];for(let o of r)`SpecialToken`in o?n&&(i.push(o.SpecialToken.id),a.push(o.SpecialToken.type_id)):`Sequence`in o&&(o.Sequence.id===`A`?(i=J(i,e),a=J(a,Array(e.length).fill(o.Sequence.type_id))):o.Sequence.id===`B`&&(i=J(i,t),a=J(a,Array(t.length).fill(o.Sequence.type_id))));return{tokens:i,token_type_ids:a}}},Xa=class extends Ja{post_process(e,t=null){return{tokens:e,tokens_pair:t}}},Za=class extends Ja{constructor(e){super(e),this.sep=e.sep,this.cls=e.cls}post_process(e,t=null,n=!0){n&&(e=J([this.cls[0]],e,[this.sep[0]]));let r=Array(e.length).fill(0);if(t){let i=[],a=n?[this.sep[0]]:[];e=J(e,i,t,a),r=J(r,Array(t.length+i.length+a.length).fill(1))}return{tokens:e,token_type_ids:r}}},Qa=class extends Ja{constructor(e){super(e),this.sep=e.sep,this.cls=e.cls}post_process(e,t,n=!0){n&&(e=J([this.cls[0]],e,[this.sep[0]]));let r=Array(e.length).fill(0);if(t){let i=n?[this.sep[0]]:[],a=n?[this.sep[0]]:[];e=J(e,i,t,a),r=J(r,Array(t.length+i.length+a.length).fill(1))}return{tokens:e,token_type_ids:r}}},$a=class extends Ja{constructor(e){super(e),this.processors=(e.processors??[]).map(e=>to(e))}post_process(e,t=null,n=!0){let r={tokens:e,tokens_pair:t};for(let e of this.processors)r=e.post_process(r.tokens,r.tokens_pair,n);return r}};function eo(e){if(e===null)return null;switch(e.type){case`TemplateProcessing`:return new Ya(e);case`ByteLevel`:return new Xa(e);case`BertProcessing`:return new Za(e);case`RobertaProcessing`:return new Qa(e);case`Sequence`:return new $a(e);default:throw Error(`Unknown PostProcessor type: ${e.type}`)}}var to=eo,Z=class extends na{constructor(e){super(),this.config=e,this.added_tokens=[],this.end_of_word_suffix=null,this.trim_offsets=`trim_offsets`in e&&e.trim_offsets}_call(e){return this.decode(e)}decode(e){return this.decode_chain(e).join(``)}},no=class extends Z{constructor(e){super(e),this.byte_decoder=ya,this.text_decoder=new TextDecoder(`utf-8`,{fatal:!1,ignoreBOM:!0}),this.end_of_word_suffix=null}convert_tokens_to_string(e){let t=e.join(``),n=new Uint8Array([...t].map(e=>this.byte_decoder[e]));return this.text_decoder.decode(n)}decode_chain(e){let t=[],n=[];for(let r of e)this.added_tokens.find(e=>e.content===r)===void 0?n.push(r):(n.length>0&&(t.push(this.convert_tokens_to_string(n)),n=[]),t.push(r));return n.length>0&&t.push(this.convert_tokens_to_string(n)),t}},ro=class extends Z{constructor(e){super(e),this.cleanup=e.cleanup}decode_chain(e){return e.map((e,t)=>{if(t!==0){let t=this.config.prefix;e=t&&e.startsWith(t)?e.replace(t,``):` `+e}return this.cleanup&&(e=si(e)),e})}},io=class extends Z{constructor(e){super(e),this.replacement=e.replacement??`▁`}decode_chain(e){let t=[];for(let n=0;n<e.length;++n){let r=e[n].replaceAll(this.replacement,` `);n==0&&r.startsWith(` `)&&(r=r.substring(1)),t.push(r)}return t}},ao=class extends Z{constructor(e){super(e),this.suffix=e.suffix??``}decode_chain(e){return e.map((t,n)=>t.replaceAll(this.suffix,n===e.length-1?``:` `))}},oo=class extends Z{constructor(e){super(e),this.pad_token=e.pad_token??``,this.word_delimiter_token=e.word_delimiter_token??``,this.cleanup=e.cleanup}convert_tokens_to_string(e){if(e.length===0)return``;let t=[e[0]];for(let n=1;n<e.length;++n)e[n]!==t.at(-1)&&t.push(e[n]);let n=t.filter(e=>e!==this.pad_token).join(``);return this.cleanup&&(n=si(n).replaceAll(this.word_delimiter_token,` `).trim()),n}decode_chain(e){return[this.convert_tokens_to_string(e)]}},so=class extends Z{constructor(e){super(e),this.decoders=(e.decoders??[]).map(e=>mo(e))}decode_chain(e){return this.decoders.reduce((e,t)=>t.decode_chain(e),e)}},co=class extends Z{constructor(e){super(e),this.pattern=ci(this.config.pattern)}decode_chain(e){let t=this.config.content??``,n=this.pattern;return n===null?e:e.map(e=>e.replaceAll(n,t))}},lo=class extends Z{decode_chain(e){return[e.join(``)]}},uo=class extends Z{constructor(e){super(e),this.content=e.content??``,this.start=e.start??0,this.stop=e.stop??0}decode_chain(e){return e.map(e=>{let t=0;for(let n=0;n<this.start&&e[n]===this.content;++n)t=n+1;let n=e.length;for(let t=0;t<this.stop;++t){let r=e.length-t-1;if(e[r]===this.content)n=r;else break}return e.slice(t,n)})}},fo=class extends Z{constructor(e){super(e),this.text_decoder=new TextDecoder}decode_chain(e){let t=[],n=[];for(let r of e){let e=null;if(r.length===6&&r.startsWith(`<0x`)&&r.endsWith(`>`)){let t=parseInt(r.slice(3,5),16);isNaN(t)||(e=t)}if(e!==null)n.push(e);else{if(n.length>0){let e=this.text_decoder.decode(Uint8Array.from(n));t.push(e),n=[]}t.push(r)}}if(n.length>0){let e=this.text_decoder.decode(Uint8Array.from(n));t.push(e),n=[]}return t}};function po(e){if(e===null)return null;switch(e.type){case`ByteLevel`:return new no(e);case`WordPiece`:return new ro(e);case`Metaspace`:return new io(e);case`BPEDecoder`:return new ao(e);case`CTC`:return new oo(e);case`Sequence`:return new so(e);case`Replace`:return new co(e);case`Fuse`:return new lo(e);case`Strip`:return new uo(e);case`ByteFallback`:return new fo(e);default:throw Error(`Unknown Decoder type: ${e.type}`)}}var mo=po,ho=class{constructor(e,t){let n=ea(e,`Tokenizer`,[`model`,`decoder`,`post_processor`,`pre_tokenizer`,`normalizer`]);if(n)throw Error(n);let r=ea(t,`Config`);if(r)throw Error(r);this.tokenizer=e,this.config=t,this.normalizer=_a(this.tokenizer.normalizer),this.pre_tokenizer=Na(this.tokenizer.pre_tokenizer),this.model=qa(this.tokenizer.model,this.config),this.post_processor=to(this.tokenizer.post_processor),this.decoder=mo(this.tokenizer.decoder),this.special_tokens=[],this.all_special_ids=[],this.added_tokens=[];let i=[],a=[];this.added_tokens_map=/* @__PURE__ */ new Map;for(let e of this.tokenizer.added_tokens){let t=new ai(e);if(this.added_tokens.push(t),this.model.tokens_to_ids.set(t.content,t.id),this.model.vocab[t.id]=t.content,t.special&&(this.special_tokens.push(t.content),this.all_special_ids.push(t.id)),this.added_tokens_map.set(t.content,t),t.normalized&&this.normalizer!==null){let e=this.normalizer(t.content);a.push(e),this.added_tokens_map.set(e,t)}else i.push(t.content)}(this.config.additional_special_tokens??[]).forEach(e=>{this.special_tokens.includes(e)||this.special_tokens.push(e)}),this.decoder&&(this.decoder.added_tokens=this.added_tokens,this.decoder.end_of_word_suffix=this.model.end_of_word_suffix),this.splitter_unnormalized=new ii(i),this.splitter_normalized=new ii(a),this.remove_space=this.config.remove_space,this.clean_up_tokenization_spaces=this.config.clean_up_tokenization_spaces??!0,this.do_lowercase_and_remove_accent=this.config.do_lowercase_and_remove_accent??!1}encode(e,{text_pair:t=null,add_special_tokens:n=!0,return_token_type_ids:r=null}={}){let{tokens:i,token_type_ids:a}=this.tokenize_helper(e,{text_pair:t,add_special_tokens:n}),o=i.map(e=>this.added_tokens_map.get(e)?.id??this.model.tokens_to_ids.get(e)??this.model.unk_token_id),s={ids:o,tokens:i,attention_mask:Array(o.length).fill(1)};return r&&a&&(s.token_type_ids=a),s}decode(e,t={}){if(!Array.isArray(e)||e.length===0||!Ji(e[0]))throw Error(`token_ids must be a non-empty array of integers.`);let n=e.map(e=>this.model.vocab[Number(e)]??this.model.unk_token);t.skip_special_tokens&&(n=n.filter(e=>!this.special_tokens.includes(e)));let r=this.decoder?this.decoder(n):n.join(` `);return this.decoder&&this.decoder.end_of_word_suffix&&(r=r.replaceAll(this.decoder.end_of_word_suffix,` `),t.skip_special_tokens&&(r=r.trim())),(t.clean_up_tokenization_spaces??this.clean_up_tokenization_spaces)&&(r=si(r)),r}tokenize(e,{text_pair:t=null,add_special_tokens:n=!1}={}){return this.tokenize_helper(e,{text_pair:t,add_special_tokens:n}).tokens}encode_text(e){if(e===null)return null;let t=this.splitter_unnormalized.split(e);return t.forEach((e,n)=>{let r=this.added_tokens_map.get(e);r&&(r.lstrip&&n>0&&(t[n-1]=t[n-1].trimEnd()),r.rstrip&&n<t.length-1&&(t[n+1]=t[n+1].trimStart()))}),t.flatMap((e,t)=>{if(e.length===0)return[];if(this.added_tokens_map.has(e))return[e];if(this.remove_space===!0&&(e=e.trim().split(/\s+/).join(` `)),this.do_lowercase_and_remove_accent&&(e=Xi(e)),this.normalizer!==null&&(e=this.normalizer(e)),e.length===0)return[];let n=this.splitter_normalized.split(e);return n.forEach((e,t)=>{let r=this.added_tokens_map.get(e);r&&(r.lstrip&&t>0&&(n[t-1]=n[t-1].trimEnd()),r.rstrip&&t<n.length-1&&(n[t+1]=n[t+1].trimStart()))}),n.flatMap(e=>{if(e.length===0)return[];if(this.added_tokens_map.has(e))return[e];let n=this.pre_tokenizer===null?[e]:this.pre_tokenizer(e,{section_index:t});return this.model(n)})})}tokenize_helper(e,{text_pair:t=null,add_special_tokens:n=!0}){let r=this.encode_text(e),i=this.encode_text(t||null);return this.post_processor?this.post_processor(r,i,n):{tokens:J(r??[],i??[])}}token_to_id(e){return this.model.tokens_to_ids.get(e)}id_to_token(e){return this.model.vocab[e]}get_added_tokens_decoder(){let e=/* @__PURE__ */ new Map;for(let t of this.added_tokens)e.set(t.id,t);return e}get_vocab(e=!0){let t=/* @__PURE__ */ new Map;for(let n=0;n<this.model.vocab.length;++n){let r=this.model.vocab[n];(e||!this.added_tokens_map.has(r))&&t.set(r,n)}return t}};const Q={normal:1,unknown:2,control:3,userDefined:4,unused:5,byte:6},go=/^(?:<\|.*\|>|<｜.*｜>|<\/?s>|<(?:unk|pad|mask|bos|eos)>|<(?:start|end)_of_turn>)$/s;function _o(e){return go.test(e)}const vo=[`<|eot_id|>`,`<|eom_id|>`,`<|im_end|>`,`<|end|>`,`<|end_of_text|>`,`<|endoftext|>`,`<end_of_turn>`,`<｜end▁of▁sentence｜>`,`</s>`,`<|return|>`,`<|call|>`,`<end_of_utterance>`,`<|END_OF_TURN_TOKEN|>`,`<seed:eos>`,`[EOS]`];function yo(e){let t=vo.filter(t=>e.has(t)),n=t.includes(`<|return|>`)&&t.includes(`<|call|>`);return t.filter(e=>!(n&&e===`<|end|>`)).map(t=>e.get(t))}const bo=/[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;var xo=class{special;lstrip;rstrip;names;pattern;constructor(e,t=/* @__PURE__ */ new Set,n=/* @__PURE__ */ new Set){this.special=e,this.lstrip=t,this.rstrip=n,this.names=[...e.keys()].filter(e=>e&&e.length<=128);let r=this.names.toSorted((e,t)=>t.length-e.length).map(e=>e.replace(/[\\^$.*+?()[\]{}|/-]/g,`\\$&`));this.pattern=r.length?RegExp(`(?<!﷐)(?:${r.join(`|`)})`,`gu`):null}split(e){let t=[],n=0,r=r=>{let i=e.slice(n,r).replaceAll(`﷐`,``);i&&t.push(i)};for(let i of this.pattern?e.matchAll(this.pattern):[]){let a=this.special.get(i[0]),o=i.index;if(this.lstrip.has(a))for(;o>n&&bo.test(e[o-1]);)o--;if(r(o),t.push(a),n=i.index+i[0].length,this.rstrip.has(a))for(;n<e.length&&bo.test(e[n]);)n++}return r(e.length),t}typed(e){let t=e.replaceAll(`﷐`,``),n=t.trim();if(!this.pattern||!n)return t;let r=n.replace(this.pattern,e=>`﷐`+[...e].join(`﷐`));return this.names.some(e=>Co(e,n))&&(r=r.replace(/.$/su,`﷐$&`)),this.names.some(e=>So(e,n))&&(r=`﷐`+r),t.replace(n,()=>r)}};function So(e,t){for(let n=e.indexOf(t[0],1);n>0;n=e.indexOf(t[0],n+1)){let r=e.slice(n);if(t.startsWith(r)||r.startsWith(t))return!0}return!1}function Co(e,t){for(let n=e.length-1;n>0;n--)if(t.endsWith(e.slice(0,n)))return!0;return!1}const wo=/* @__PURE__ */ new Map;{let e=256;for(let t=0;t<256;t++){let n=t>=33&&t<127||t>=161&&t!==173;wo.set(String.fromCharCode(n?t:e++),t)}}const To=new TextEncoder,Eo=/^<0x([0-9A-F]{2})>$/;function Do(e){return Eo.test(e)}function Oo(e,t,n){if(n){let n=[...e].map(e=>wo.get(e));return t!==Q.userDefined&&n.every(e=>e!==void 0)?Uint8Array.from(n):To.encode(e)}let r=t===Q.byte?Eo.exec(e):null;return r?Uint8Array.of(Number.parseInt(r[1],16)):To.encode(e.replaceAll(`▁`,` `))}var ko=class{piece;stripSpace;utf8=new TextDecoder(`utf-8`,{ignoreBOM:!0});constructor(e,t=!1){this.piece=e,this.stripSpace=t}push(e){let t=this.piece(e);return this.stripSpace&&t.length&&(this.stripSpace=!1,t[0]===32&&(t=t.subarray(1))),this.utf8.decode(t,{stream:!0})}flush(){return this.utf8.decode()}},Ao=/*#__PURE__*/ JSON.parse(`[{"names":["llama-bpe","llama3","llama-v3","pixtral","midm-2.0","lfm2","jina-v5-nano","falcon-h1"],"patterns":["(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"],"ignore_merges":true,"add_bos":true,"pieces":false,"ranks_are_ids":false},{"names":["dbrx","smaug-bpe","glm4","chatglm-bpe"],"patterns":["(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["gpt-2","mpt","olmo","phi-2","jais","trillion","granite-docling","exaone4","gigachat","a.x-4.0","mellum","modern-bert","roberta-bpe","jina-es","jina-de","jina-v1-en","jina-v2-es","jina-v2-de","jina-v2-code"],"patterns":["'s|'t|'re|'ve|'m|'ll|'d| ?\\\\p{L}+| ?\\\\p{N}+| ?[^\\\\s\\\\p{L}\\\\p{N}]+|\\\\s+(?!\\\\S)|\\\\s+"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["smollm","starcoder","refact","command-r","codeshell","exaone","minerva-7b","mellum2"],"patterns":["\\\\p{N}","'s|'t|'re|'ve|'m|'ll|'d| ?\\\\p{L}+| ?\\\\p{N}+| ?[^\\\\s\\\\p{L}\\\\p{N}]+|\\\\s+(?!\\\\S)|\\\\s+"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["qwen2","deepseek-r1-qwen","kormo","f2llmv2","megrez","stablelm2","hunyuan","solar-open","grok-2"],"patterns":["(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["qwen35"],"patterns":["(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{L}\\\\p{M}]+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{M}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["laguna"],"patterns":["[^\\\\n]+|[\\\\n]+","(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["ufakzeka"],"patterns":["[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["seed-coder"],"patterns":["(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1}| ?[^\\\\s\\\\p{L}\\\\p{N}\\\\r\\\\n]+|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["bailingmoe","bailingmoe2","llada-moe"],"patterns":["'(?i:[sdmt]|ll|ve|re)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?+\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]++[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]|\\\\s+(?!\\\\S)|\\\\s+"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["minicpm5"],"patterns":["\\\\p{N}{1,3}","(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}+| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"],"ignore_merges":true,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["exaone-moe"],"patterns":["(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?(?:\\\\p{L}\\\\p{M}*(?: \\\\p{L}\\\\p{M}*)*)+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n/]?|\\\\s*[\\\\r\\\\n]|\\\\s+(?!\\\\S)|\\\\s+"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["jais-2"],"patterns":["(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s{512}(?!\\\\S)|\\\\s{256}(?!\\\\S)|\\\\s{128}(?!\\\\S)|\\\\s{64}(?!\\\\S)|\\\\s{32}(?!\\\\S)|\\\\s{16}(?!\\\\S)|\\\\s{8}(?!\\\\S)|\\\\s{4}(?!\\\\S)|\\\\s{1,2}(?!\\\\S)|\\\\s{1}"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["tekken"],"patterns":["[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n/]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"],"ignore_merges":true,"add_bos":true,"pieces":false,"ranks_are_ids":false},{"names":["gpt-4o","llama4","kanana2","talkie","minimax-m2"],"patterns":["[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n/]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["granite-embed-multi-97m"],"patterns":["[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n/]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"],"ignore_merges":true,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["tiny_aya","cohere2moe"],"patterns":["\\\\d{1,3}(?=(?:\\\\d{3})*\\\\b)","[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n/]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["kimi-k2","kimi-k25"],"patterns":["[\\\\p{Han}]+|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}&&[^\\\\p{Han}]]*[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}&&[^\\\\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}&&[^\\\\p{Han}]]+[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}&&[^\\\\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":true},{"names":["youtu"],"patterns":["[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+","[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n/]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"],"ignore_merges":true,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["deepseek-v3","hunyuan-dense","joyai-llm","hy_v4"],"patterns":["\\\\p{N}{1,3}","[一-龥぀-ゟ゠-ヿ]+","[!\\"#$%&'()*+,\\\\-./:;<=>?@\\\\[\\\\\\\\\\\\]^_\`{|}~][A-Za-z]+|[^\\\\r\\\\n\\\\p{L}\\\\p{P}\\\\p{S}]?[\\\\p{L}\\\\p{M}]+| ?[\\\\p{P}\\\\p{S}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["spark2_5"],"patterns":["\\\\p{N}{1,3}","[一-龥぀-ゟ゠-ヿ]+","[!\\"#$%&'()*+,\\\\-./:;<=>?@\\\\[\\\\\\\\\\\\]^_\`{|}~][A-Za-z]+|[^\\\\r\\\\n\\\\p{L}\\\\p{P}\\\\p{S}]?[\\\\p{L}\\\\p{M}]+| ?[\\\\p{P}\\\\p{S}]+|[\\\\r\\\\n]|\\\\s+(?!\\\\S)|\\\\s+","\\\\p{N}"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["afmoe"],"patterns":["\\\\p{Nd}{1,510}(?=(?>\\\\p{Nd}{510})*(?:\\\\P{Nd}|$))|\\\\G\\\\p{Nd}{510}","\\\\A\\\\p{Nd}{1,2}(?=\\\\p{Nd}{3}+\\\\z)","\\\\A\\\\p{Nd}{3}|\\\\G\\\\p{Nd}{3}","(?:[\\\\u4E00-\\\\u9FFF\\\\u3040-\\\\u309F\\\\u30A0-\\\\u30FF\\\\u3400-\\\\u4DBF\\\\uf900-\\\\uFAFF\\\\uFF65-\\\\uFF9F\\\\u2F00-\\\\u2FDF]+|[\\\\u0E00-\\\\u0E7F]+|[\\\\u0E80-\\\\u0EFF]+|[\\\\u1780-\\\\u17FF]+|[\\\\u1000-\\\\u109F\\\\uAA60-\\\\uAA7F\\\\uA9E0-\\\\uA9FF]+|[\\\\uAC00-\\\\uD7AF\\\\u1100-\\\\u11FF]+)","[!\\"#$%&'()*+,\\\\-./:;<=>?@\\\\[\\\\\\\\\\\\]^_\`{|}~][A-Za-z]+|[^\\\\r\\\\n\\\\p{L}\\\\p{P}\\\\p{S}]?[\\\\p{L}\\\\p{M}]+| ?[\\\\p{P}\\\\p{S}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["superbpe"],"patterns":["\\\\p{N}+","(?=(\\\\d{3})+(?!\\\\d))"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["deepseek-llm"],"patterns":["[\\r\\n]","\\\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+","\\\\s?[!-/:-~！-／：-～‘-‟　-。]+","\\\\s+$","[一-龥ࠀ-一가-퟿]+","\\\\p{N}"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["deepseek-coder"],"patterns":["[\\r\\n]","\\\\s?\\\\p{L}+","\\\\s?\\\\p{P}+","[一-龥ࠀ-一가-퟿]+","\\\\p{N}"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["bloom","poro-chat","gpt3-finnish"],"patterns":[" ?[^(\\\\s|[.,!?…。，、।۔،])]+"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["viking"],"patterns":[" ?[^(\\\\s|[.,!?…。，、।۔،])]+","\\\\p{N}"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["falcon"],"patterns":["[\\\\p{P}\\\\$\\\\+<=>\\\\^~\\\\|\`]+","'s|'t|'re|'ve|'m|'ll|'d| ?\\\\p{L}+| ?\\\\p{N}+| ?[^\\\\s\\\\p{L}\\\\p{N}]+|\\\\s+(?!\\\\S)|\\\\s+","[0-9]+","[0-9][0-9][0-9]"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["falcon3","falcon_e","falcon-e"],"patterns":["[\\\\p{P}\\\\$\\\\+<=>\\\\^~\\\\|\`]+","'s|'t|'re|'ve|'m|'ll|'d| ?\\\\p{L}+| ?\\\\p{N}+| ?[^\\\\s\\\\p{L}\\\\p{N}]+|\\\\s+(?!\\\\S)|\\\\s+","[0-9]"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false},{"names":["chameleon"],"patterns":["<sentinel:[0-9]+>","(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z","([\\\\t\\\\n]|    |  )","\\\\p{N}","[\\\\p{P}!-/:-@\\\\[-\`{-~]","'s|'t|'re|'ve|'m|'ll|'d| ?\\\\p{L}+| ?\\\\p{N}+| ?[^\\\\s\\\\p{L}\\\\p{N}]+|\\\\s+(?!\\\\S)|\\\\s+"],"ignore_merges":false,"add_bos":true,"pieces":false,"ranks_are_ids":false},{"names":["gemma4","granite-embed-multi-311m"],"patterns":[],"ignore_merges":false,"add_bos":true,"pieces":true,"ranks_are_ids":false},{"names":["sarvam-moe"],"patterns":[],"ignore_merges":false,"add_bos":false,"pieces":true,"ranks_are_ids":false},{"names":["default"],"patterns":["[\\\\p{P}\\\\$\\\\+<=>\\\\^~\\\\|]+","'s|'t|'re|'ve|'m|'ll|'d| ?\\\\p{L}+| ?\\\\p{N}+| ?[^\\\\s\\\\p{L}\\\\p{N}]+|\\\\s+(?!\\\\S)|\\\\s+","\\\\p{N}+","[0-9][0-9][0-9]"],"ignore_merges":false,"add_bos":false,"pieces":false,"ranks_are_ids":false}]`);const $=`tokenizer.ggml.`,jo=1<<20,Mo=1024;function No(e){let n=Ko(e,`tokens`,jo);if(!n?.length)throw new t(`The file has no vocabulary (tokenizer.ggml.tokens).`);n.forEach((e,n)=>{if(e.length>Mo)throw new t(`Token ${n} has ${e.length} characters; at most ${Mo} are possible.`)});let r=Ho(e,n),i=Object.fromEntries([`bos`,`eos`,`eot`,`eom`].map(t=>[t,Uo(e,t,n.length)]));for(let e of Object.values(i))e!==null&&r[e]!==Q.unknown&&(r[e]=Q.control);let a=/* @__PURE__ */ new Map;r.forEach((e,t)=>{(e===Q.control||e===Q.unknown)&&a.set(n[t],t)});let o=t=>Wo(e,`tokenizer.sterna.${t}_token_ids`,n.length),s=[i.eos,i.eot,i.eom,...o(`eos`),...yo(a)],c=Po(e,n,r),l=e.get(`tokenizer.chat_template`);return{tokens:n,types:r,special:a,...c,bosId:i.bos,eosId:i.eos,eosIds:new Set(s.filter(e=>e!==null)),lstrip:new Set(o(`lstrip`)),rstrip:new Set(o(`rstrip`)),addBos:Go(e,`add_bos_token`,c.addBos)&&i.bos!==null,chatTemplate:ti(typeof l==`string`?l:null,a)}}function Po(e,t,r){let i=e.get(`${$}model`)??`gpt2`;if(i!==`gpt2`&&i!==`llama`&&i!==`gemma4`)throw new n(`The tokenizer model '${i}' is not read here; gpt2, llama and gemma4 are.`);if(i===`llama`)return Lo(e,t,r);let a=Fo(e,t,i===`gemma4`?`gemma4`:`default`),o=t.includes(`<0x00>`)&&!t.includes(`Ġ`);return i===`gemma4`||o||a.pieces?Ro(e,t,r,a):Io(e,t,r,a)}function Fo(e,t,r){let i=e.get(`${$}pre`)??(t.length===128256?`llama-bpe`:r),a=Ao.find(e=>e.names.includes(String(i)));if(!a)throw new n(`The pre-tokenizer type '${i}' is unknown.`);return a}function Io(e,t,n,r){let i=Object.create(null),a=e=>n[e]===Q.control||n[e]===Q.unknown;t.forEach((e,t)=>{a(t)||(i[e]=t)});let o=r.patterns.map(e=>({type:`Split`,pattern:{Regex:e},behavior:`Isolated`,invert:!1})),s={type:`ByteLevel`,add_prefix_space:!1,trim_offsets:!0,use_regex:!1},c=Bo(t,n,{model:{type:`BPE`,vocab:i,merges:Vo(e,i),ignore_merges:r.ignore_merges},pre_tokenizer:{type:`Sequence`,pretokenizers:[...o,s]}});return{byteLevel:!0,spacePrefix:!1,addBos:r.add_bos,encoder:c}}function Lo(e,n,r){let i=e.get(`${$}scores`);if(typeof i!=`object`||i.length!==n.length||typeof i[0]!=`number`)throw new t(`A SentencePiece vocabulary needs a score for each token (tokenizer.ggml.scores).`);let a=zo(n,r),o=e=>-i[a[e]],s=Object.keys(a).filter(e=>r[a[e]]!==Q.byte);s.sort((e,t)=>o(e)-o(t)||a[e]-a[t]);let c=[];for(let e of s)for(let t=e.length-1;t>0;t--){let n=e.slice(0,t),r=e.slice(t);n in a&&r in a&&c.push([n,r])}let l=n.find((e,t)=>e&&r[t]===Q.unknown)??null;l!==null&&(a[l]??=n.indexOf(l));let u={type:`BPE`,vocab:a,merges:c,byte_fallback:!0,unk_token:l};return{byteLevel:!1,spacePrefix:Go(e,`add_space_prefix`,!0),addBos:!0,encoder:Bo(n,r,{model:u})}}function Ro(e,t,n,r){t.forEach((e,t)=>{Do(e)&&(n[t]=Q.byte)});let i=zo(t,n),a={type:`BPE`,vocab:i,merges:Vo(e,i),byte_fallback:!0,unk_token:null};return{byteLevel:!1,spacePrefix:!1,addBos:r.add_bos||!r.pieces,encoder:Bo(t,n,{model:a})}}function zo(e,t){let n=Object.create(null);return e.forEach((e,r)=>{e&&t[r]!==Q.control&&t[r]!==Q.unknown&&(n[t[r]===Q.byte?e:e.replaceAll(` `,`▁`)]=r)}),n}function Bo(e,t,n){let r={single_word:!1,lstrip:!1,rstrip:!1,normalized:!1,special:!1};return{version:`1.0`,truncation:null,padding:null,added_tokens:e.flatMap((e,n)=>t[n]===Q.userDefined&&e?[{id:n,content:e,...r}]:[]),normalizer:null,pre_tokenizer:null,post_processor:null,decoder:null,...n}}function Vo(e,n){let r=Ko(e,`merges`,4*jo);if(!r)throw new t(`The file's BPE vocabulary has no merges (tokenizer.ggml.merges).`);return r.flatMap(e=>{let t=e.indexOf(` `),[r,i]=[e.slice(0,t),e.slice(t+1)];return r in n&&i in n&&r+i in n?[[r,i]]:[]})}function Ho(e,n){let r=e.get(`${$}token_type`);if(r===void 0)return new Int32Array(n.length).fill(Q.normal);if(typeof r!=`object`||r.length!==n.length||typeof r[0]!=`number`)throw new t(`${$}token_type is no array of ${n.length} numbers, one for each token.`);let i=Int32Array.from(r);return i.forEach((e,t)=>{e===Q.userDefined&&_o(n[t])&&(i[t]=Q.control)}),i}function Uo(e,t,n){let r=e.get(`${$}${t}_token_id`);return typeof r==`number`&&r>=0&&r<n?r:null}function Wo(e,t,n){let r=e.get(t);return(typeof r==`object`?Array.from(r):[]).filter(e=>Number.isInteger(e)&&e>=0&&e<n)}function Go(e,n,r){let i=e.get($+n)??r;if(typeof i!=`boolean`)throw new t(`${$}${n} is no boolean.`);return i}function Ko(e,n,r){let i=e.get($+n);if(i===void 0)return null;if(!(Array.isArray(i)&&i.length<=r&&i.every(e=>typeof e==`string`)))throw new t(`${$}${n} is no list of at most ${r} strings.`);return i}const qo=/* @__PURE__ */ new Uint8Array;var Jo=class{vocabulary;encoder;splitter;typedSpaces;constructor(e){this.vocabulary=No(e);try{this.encoder=new ho(this.vocabulary.encoder,{})}catch(e){throw new t(`The file's tokenizer cannot be used: ${e instanceof Error?e.message:e}.`)}let{special:n,lstrip:r,rstrip:i,tokens:a,types:o,byteLevel:s}=this.vocabulary;this.splitter=new xo(n,r,i);let c=s?[]:[`<0xE2>`,`<0x96>`,`<0x81>`].map(e=>a.indexOf(e));this.typedSpaces=c.filter(e=>e>=0&&o[e]===Q.byte)}get size(){return this.vocabulary.tokens.length}get eosIds(){return this.vocabulary.eosIds}get chatTemplate(){return this.vocabulary.chatTemplate}get begin(){let{addBos:e,bosId:t}=this.vocabulary;return e&&t!==null?[t]:[]}encode(e){return[...this.begin,...this.encodeRun(e)]}encodeChat(e){let{bosId:t,eosId:n,tokens:r,chatTemplate:i}=this.vocabulary,a=e=>e===null?``:r[e],o=ni(i,e,e=>this.splitter.typed(e),{bos_token:a(t),eos_token:a(n)});return[...i===null?this.begin:[],...this.encodeFragments(this.splitter.split(o))]}decode(e){let t=this.stream(!1),n=``;for(let r of e)n+=t.push(r);return n+t.flush()}stream(e=!0){return new ko(e=>this.piece(e),this.vocabulary.spacePrefix&&!e)}piece(e){let{tokens:t,types:n,byteLevel:r}=this.vocabulary;return e<0||e>=t.length||n[e]===Q.control||n[e]===Q.unknown?qo:Oo(t[e],n[e],r)}encodeFragments(e){return e.flatMap(e=>typeof e==`number`?[e]:this.encodeRun(e))}encodeRun(e){if(!e)return[];let t=e.toWellFormed();if(this.vocabulary.byteLevel)return this.ids(t);let n=this.vocabulary.spacePrefix?` ${t}`:t;return(this.typedSpaces.length===3?n.split(`▁`):[n]).flatMap((e,t)=>[...t?this.typedSpaces:[],...this.ids(e.replaceAll(` `,`▁`))])}ids(e){return e?Array.from(this.encoder.encode(e,{add_special_tokens:!1}).ids):[]}},Yo=class{engine;tokenizer;ids;options;usage;stopReason;constructor(e,t,n,r){this.engine=e,this.tokenizer=t,this.ids=n,this.options=r,this.usage={promptTokens:n.length,completionTokens:0,cachedTokens:0}}async*[Symbol.asyncIterator](){let{maxTokens:e=1/0,stop:t=[],ignoreEos:n=!1,signal:i,...a}=this.options;if(!(e>=1&&(Number.isInteger(e)||e===1/0)))throw new r(`maxTokens is a whole number from 1 on, not ${e}.`);let o=this.tokenizer.stream(),s=new ri(t),c=e=>{this.usage.cachedTokens=e},l=[];for await(let t of this.engine.generate(this.ids,In(a),e,i,c)){if(this.usage.completionTokens++,!n&&this.tokenizer.eosIds.has(t)){this.stopReason=`eos`;break}l.push(t);let e=s.push(o.push(t));if(e&&(yield{text:e,ids:l},l=[]),s.found){this.stopReason=`stop`;return}}let u=s.push(o.flush());s.found&&(this.stopReason=`stop`),this.stopReason??=`length`;let d=u+s.flush();(d||l.length)&&(yield{text:d,ids:l})}async text(){let e=``;for await(let t of this)e+=t.text;return e}},Xo=class e{engine;tokenizer;name;constructor(e,t,n){this.engine=e,this.tokenizer=t,this.name=n}static async load(t,n={}){let r=await Zo(t,n),i=await sn(r,n),a=new Jo(i.metadata),o=await cn.fromHeader(i,r,n),s=i.metadata.get(`general.name`);return new e(o,a,typeof s==`string`?s:r.name)}get contextLength(){return this.engine.context}get device(){return this.engine.gpu.adapterName}get counters(){return this.engine.counters}get lost(){return this.engine.gpu.lost}generate(e,t={}){let n=typeof e==`string`?this.tokenizer.encode(e):e;return new Yo(this.engine,this.tokenizer,n,t)}chat(e,t={}){let n=this.tokenizer.chatTemplate===null?ei:[],r=[...t.stop??[],...n];return new Yo(this.engine,this.tokenizer,this.tokenizer.encodeChat(e),{...t,stop:r})}logits(e,t){return this.engine.logits(typeof e==`string`?this.tokenizer.encode(e):e,t)}dispose(){this.engine.dispose()}[Symbol.dispose](){this.dispose()}};async function Zo(e,t){if(typeof e==`string`||e instanceof URL){let n=dn(e),{signal:r,onProgress:a}=t;if(t.cache===!1)return fn.open(n,r);try{let e=await fn.open(n,r);return Cn(),await Sn(e,t=>a?.({phase:`download`,bytes:t,total:e.size}))}catch(e){let t=e instanceof i?await wn(n):null;if(t)return t;throw e}}return e instanceof Blob?new ln(e):e instanceof Uint8Array?new un(e):e}function Qo(t){let n,r=()=>{n?.dispose(),n=void 0},i=/* @__PURE__ */ new Map;async function a(t,i,a){if(t.kind===`load`){r();let e=e=>a(e),o=await Xo.load(t.source,{...t.options,signal:i,onProgress:t=>e({progress:t}),onEstimate:t=>e({estimate:t})});r(),n=o;let{name:s,device:c,contextLength:l,tokenizer:u}=o;return{name:s,device:c,contextLength:l,hasTemplate:u.chatTemplate!==null}}if(!n)throw new e(`The worker has no model.`);if(t.kind===`generate`||t.kind===`chat`){let e={...t.options,signal:i},r=t.kind===`chat`?n.chat(t.messages,e):n.generate(t.prompt,e);for await(let e of r)a(e);return{usage:r.usage,stopReason:r.stopReason}}if(t.kind===`logits`)return n.logits(t.prompt,i);r()}t.addEventListener(`message`,async({data:e})=>{let{id:n}=e;if(e.kind===`abort`)return i.get(n)?.abort();let r=new AbortController;i.set(n,r);let o=e=>t.postMessage(e);try{o({id:n,kind:`end`,value:await a(e,r.signal,e=>o({id:n,kind:`part`,value:e}))})}catch(e){let{name:t,message:r}=e instanceof Error?e:Error(String(e));o({id:n,kind:`error`,name:t,message:r})}finally{i.delete(n)}})}Qo(globalThis);