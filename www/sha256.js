// @ts-check
// SHA-256 (FIPS 180-4) of a text. `crypto.subtle` is missing on pages without TLS, and its result comes later: the state
// machines of the page have no place to wait.

/** The first 32 bits of the fractional parts of roots of the first primes. @param {number} count @param {number} root */
function fractions(count, root) {
  const numbers = [];
  for (let n = 2; numbers.length < count; n += 1) {
    let isPrime = true;
    for (let i = 2; i * i <= n; i += 1) isPrime &&= n % i !== 0;
    if (isPrime) numbers.push(((n ** (1 / root)) % 1) * 2 ** 32);
  }
  return Uint32Array.from(numbers);
}

const ROUNDS = fractions(64, 3);
const START = fractions(8, 2);

/** @param {number} word @param {number} by */
const rotate = (word, by) => (word >>> by) | (word << (32 - by));

/** The text's bytes, padded to whole blocks. @param {string} text */
function padded(text) {
  const bytes = new TextEncoder().encode(text);
  const view = new DataView(new ArrayBuffer((((bytes.length + 8) >> 6) + 1) << 6));
  new Uint8Array(view.buffer).set(bytes);
  view.setUint8(bytes.length, 0x80);
  view.setBigUint64(view.byteLength - 8, BigInt(bytes.length) * 8n);
  return view;
}

/** @param {Uint32Array} state @param {Uint32Array} words 64, the first 16 are the block's */
function compress(state, words) {
  for (let i = 16; i < 64; i += 1) {
    const [x, y] = [words[i - 15], words[i - 2]];
    const s0 = rotate(x, 7) ^ rotate(x, 18) ^ (x >>> 3);
    const s1 = rotate(y, 17) ^ rotate(y, 19) ^ (y >>> 10);
    words[i] = words[i - 16] + s0 + words[i - 7] + s1;
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let i = 0; i < 64; i += 1) {
    const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
    const one = (h + s1 + ((e & f) ^ (~e & g)) + ROUNDS[i] + words[i]) | 0;
    const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
    const two = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    [a, b, c, d, e, f, g, h] = [(one + two) | 0, a, b, c, (d + one) | 0, e, f, g];
  }
  [a, b, c, d, e, f, g, h].forEach((word, i) => (state[i] += word));
}

/** The hash in hexadecimal, in small letters. @param {string} text */
export function sha256(text) {
  const view = padded(text);
  const state = START.slice();
  for (let block = 0; block < view.byteLength; block += 64) {
    const words = new Uint32Array(64);
    for (let i = 0; i < 16; i += 1) words[i] = view.getUint32(block + 4 * i);
    compress(state, words);
  }
  return [...state].map((word) => word.toString(16).padStart(8, "0")).join("");
}
