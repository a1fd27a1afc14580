// Reads PNG and JPEG files as training, the clients and TensorFlow Serving do: the rules of keras_acet.datasets.decoding,
// with the same numbers. A PNG file is unpacked here, because a browser multiplies colours by their transparency and
// follows profiles; a JPEG file is given to the browser without its EXIF, profiles and comments.

const MAX_BYTES = 64 * 2 ** 20; // of a file
const MAX_PIXELS = 2 ** 25;
const MAX_SIDE = 2 ** 14;
const MAX_CHUNKS = 2 ** 14; // of a PNG file
const MAX_SEGMENTS = 1000; // of a JPEG file
const MAX_SCANS = 50;

const BIT_DEPTHS = { 0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16] }; // by type of colour
const NUM_SAMPLES = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const ADAM7 = [
  [8, 0, 8, 0],
  [8, 4, 8, 0],
  [4, 0, 8, 4],
  [4, 2, 4, 0],
  [2, 0, 4, 2],
  [2, 1, 2, 0],
  [1, 0, 2, 1],
]; // across, left, down, top of each of the images that an interlaced file is made of
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let i = 0; i < 8; i++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});

const damaged = (reason) => new Error(`it is damaged: ${reason}`);

/** The number in `size` bytes; 0 for what lies behind the end. */
function number(bytes, start, size, isLittle = false) {
  let total = 0;
  for (let i = 0; i < size; i++) total = 256 * total + (bytes[start + (isLittle ? size - 1 - i : i)] ?? 0);
  return total;
}

function startsWith(bytes, start, text) {
  return [...text].every((letter, i) => bytes[start + i] === letter.charCodeAt(0));
}

/** The pixels of a file, upright: { data, width, height } with three levels of 0 to 255 for each. */
export async function read(file) {
  if (file.size > MAX_BYTES) throw new Error(`it is larger than ${MAX_BYTES / 2 ** 20} MiB`);
  const bytes = new Uint8Array(await file.arrayBuffer());
  const isPng = startsWith(bytes, 0, "\x89PNG\r\n\x1a\n");
  if (!isPng && !startsWith(bytes, 0, "\xff\xd8\xff")) throw new Error("it is no PNG or JPEG file");
  const header = isPng ? readPng(bytes) : readJpeg(bytes);
  const { width, height } = header;
  if (width * height > MAX_PIXELS || Math.max(width, height) > MAX_SIDE) {
    throw new Error(
      `it has ${width} x ${height} pixels; at most ${MAX_PIXELS} in all and ${MAX_SIDE} a side are read`,
    );
  }
  const data = isPng ? await unpackPng(header) : await decodeJpeg(header);
  return upright({ data, width, height }, orientation(header.exif));
}

/** The pixels of a canvas, which may be transparent nowhere. */
export function readCanvas(canvas) {
  const { width, height } = canvas;
  const rgba = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  const data = new Uint8Array(3 * width * height);
  for (let i = 0; i < width * height; i++) data.set(rgba.subarray(4 * i, 4 * i + 3), 3 * i);
  return { data, width, height };
}

/** Gives pixels another size and number of channels: floats in [0, 1]. */
export function fit(pixels, [height, width, channels]) {
  const { data } = resampleRows(resampleColumns(pixels, width), height);
  if (channels === 3) return Float32Array.from(data, (level) => level / 255);
  return Float32Array.from({ length: width * height }, (_, i) => {
    return Math.fround((data[3 * i] + data[3 * i + 1] + data[3 * i + 2]) / 3) / 255;
  });
}

// -- another size, in Pillow's integers

/** For each of `to` pixels the first of `from` under its triangle, and their weights, which sum up to 2 ** 22. */
function triangles(from, to) {
  const scale = from / to;
  const support = Math.max(scale, 1);
  return Array.from({ length: to }, (_, i) => {
    const center = (i + 0.5) * scale;
    const first = Math.max(Math.trunc(center - support + 0.5), 0);
    const last = Math.min(Math.trunc(center + support + 0.5), from);
    const heights = Array.from({ length: last - first }, (_, j) => {
      return Math.max(0, 1 - Math.abs((j + first - center + 0.5) * (1 / support)));
    });
    const sum = heights.reduce((a, b) => a + b);
    return [first, heights.map((weight) => Math.trunc((weight / sum) * 2 ** 22 + 0.5))];
  });
}

function resampleColumns(pixels, width) {
  return width === pixels.width ? pixels : resample(pixels, { ...pixels, width }, 3, 3 * pixels.width, "width", "height");
}

function resampleRows(pixels, height) {
  return height === pixels.height ? pixels : resample(pixels, { ...pixels, height }, 3 * pixels.width, 3, "height", "width");
}

/** `step` lies between the values along the axis that changes, `stride` between those along the other. */
function resample({ data, ...from }, { width, height }, step, stride, axis, other) {
  const to = { width, height };
  const made = new Uint8Array(3 * width * height);
  const [newStep, newStride] = axis === "width" ? [3, 3 * width] : [3 * width, 3];
  triangles(from[axis], to[axis]).forEach(([first, weights], i) => {
    for (let line = 0; line < from[other]; line++) {
      for (let c = 0; c < 3; c++) {
        let total = 2 ** 21;
        let at = line * stride + first * step + c;
        for (const weight of weights) {
          total += weight * data[at];
          at += step;
        }
        made[line * newStride + i * newStep + c] = Math.min(255, Math.floor(total / 2 ** 22));
      }
    }
  });
  return { data: made, ...to };
}

// -- EXIF

/** 1 to 8; 1 where the block says nothing that can be read. */
function orientation(exif) {
  const isLittle = startsWith(exif, 0, "II*\0");
  if (!isLittle && !startsWith(exif, 0, "MM\0*")) return 1;
  const first = number(exif, 4, 4, isLittle) + 2;
  const end = Math.min(first + 12 * number(exif, first - 2, 2, isLittle), exif.length - 11);
  for (let entry = first; entry < end; entry += 12) {
    if (number(exif, entry, 2, isLittle) !== 0x0112) continue;
    const isOne = number(exif, entry + 2, 2, isLittle) === 3 && number(exif, entry + 4, 4, isLittle) === 1;
    const value = number(exif, entry + 8, 2, isLittle);
    return isOne && value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
}

function upright({ data, width, height }, turn) {
  if (turn === 1) return { data, width, height };
  const isCrossed = turn > 4;
  const made = new Uint8Array(data.length);
  const [newWidth, newHeight] = isCrossed ? [height, width] : [width, height];
  for (let y = 0; y < newHeight; y++) {
    for (let x = 0; x < newWidth; x++) {
      const down = [3, 4, 7, 8].includes(turn) ? newHeight - 1 - y : y;
      const across = [2, 3, 6, 7].includes(turn) ? newWidth - 1 - x : x;
      const from = isCrossed ? across * width + down : down * width + across;
      for (let c = 0; c < 3; c++) made[3 * (y * newWidth + x) + c] = data[3 * from + c];
    }
  }
  return { data: made, width: newWidth, height: newHeight };
}

// -- PNG

function readPng(bytes) {
  if (number(bytes, 8, 4) !== 13 || !startsWith(bytes, 12, "IHDR")) throw damaged("its header is missing");
  const [width, height] = [number(bytes, 16, 4), number(bytes, 20, 4)];
  const [depth, colour, packing, filter, isInterlaced] = bytes.subarray(24, 29);
  if (!width || !height || !BIT_DEPTHS[colour]?.includes(depth) || packing || filter || isInterlaced > 1) {
    throw damaged("its header is no PNG file's");
  }
  const header = { width, height, depth, colour, isInterlaced, palette: null, packed: [], exif: null };
  let next = chunk(bytes, 8);
  checkSum(bytes, next);
  for (let i = 0; ; i++) {
    const last = next.kind;
    next = chunk(bytes, next.end);
    if (next.kind === "IEND") break;
    if (i === MAX_CHUNKS) throw damaged(`it has more than ${MAX_CHUNKS} chunks`);
    if (next.kind === "IDAT" && header.packed.length && last !== "IDAT") throw damaged("its pixels lie apart");
    readChunk(bytes, header, next);
  }
  if (next.data.length || number(bytes, next.end - 4, 4) !== 0xae426082 || !header.packed.length) {
    throw damaged("its pixels or its end is missing");
  }
  if (colour === 3 && !header.palette) throw damaged("its palette is missing");
  return { ...header, exif: header.exif ?? [] };
}

function readChunk(bytes, header, next) {
  const { kind, data } = next;
  if (kind === "IDAT") {
    checkSum(bytes, next);
    header.packed.push(data);
  } else if (kind === "PLTE" && header.colour === 3) {
    checkSum(bytes, next);
    if (header.palette || header.packed.length || data.length % 3 || data.length < 3 || data.length > 768) {
      throw damaged("its palette is no PNG file's");
    }
    header.palette = data;
  } else if (kind === "eXIf" && !header.packed.length) {
    header.exif ??= data;
  } else if (!/^[a-z]/.test(kind) && kind !== "PLTE") {
    throw damaged(`its chunk ${kind} does not belong there`); // a small letter says that it may be passed over
  }
}

function chunk(bytes, start) {
  const end = start + 12 + number(bytes, start, 4);
  if (end > bytes.length) throw damaged("it is cut off");
  const kind = String.fromCharCode(...bytes.subarray(start + 4, start + 8));
  if (!/^[A-Za-z]{4}$/.test(kind)) throw damaged("its chunks are no PNG file's");
  return { kind, data: bytes.subarray(start + 8, end - 4), end };
}

function checkSum(bytes, { data, end }) {
  let sum = 0xffffffff;
  for (let i = end - data.length - 8; i < end - 4; i++) sum = CRC_TABLE[(sum ^ bytes[i]) & 0xff] ^ (sum >>> 8);
  if ((sum ^ 0xffffffff) >>> 0 !== number(bytes, end - 4, 4)) throw damaged("a checksum is another");
}

async function unpackPng(header) {
  const { width, height, depth, colour, isInterlaced } = header;
  const bits = depth * NUM_SAMPLES[colour];
  const passes = (isInterlaced ? ADAM7 : [[1, 0, 1, 0]])
    .map(([across, left, down, top]) => {
      const columns = Math.ceil((width - left) / across);
      return { across, left, down, top, columns, rows: Math.ceil((height - top) / down), length: Math.ceil((columns * bits) / 8) };
    })
    .filter(({ columns, rows }) => columns > 0 && rows > 0);
  const count = passes.reduce((sum, { rows, length }) => sum + rows * (1 + length), 0);
  const lines = await inflate(header.packed, count);
  const made = new Uint8Array(3 * width * height);
  let start = 0;
  for (const { across, left, down, top, columns, rows, length } of passes) {
    let above = new Uint8Array(length);
    for (let row = 0; row < rows; row++) {
      const line = lines.subarray(start + 1, start + 1 + length);
      unfilter(line, above, lines[start], Math.max(1, bits >> 3));
      for (let column = 0; column < columns; column++) {
        paint(made, 3 * ((top + row * down) * width + left + column * across), line, column, header);
      }
      above = line;
      start += 1 + length;
    }
  }
  return made;
}

/** Unpacks so many bytes and no more. */
async function inflate(packed, count) {
  const reader = new Blob(packed).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  const unpacked = new Uint8Array(count);
  let filled = 0;
  while (filled < count) {
    let part;
    try {
      part = await reader.read();
    } catch {
      throw damaged("its pixels cannot be unpacked");
    }
    if (part.done) throw damaged("it has too few rows");
    unpacked.set(part.value.subarray(0, count - filled), filled);
    filled += part.value.length;
  }
  reader.cancel().catch(() => {});
  return unpacked;
}

/** Undoes the filter of a row; `distance` bytes lie between a byte and that of the pixel before it. */
function unfilter(line, above, kind, distance) {
  if (kind > 4) throw damaged("a row has an unknown filter");
  for (let i = 0; i < line.length; i++) {
    const [a, b, c] = [i < distance ? 0 : line[i - distance], above[i], i < distance ? 0 : above[i - distance]];
    if (kind === 1) line[i] += a;
    else if (kind === 2) line[i] += b;
    else if (kind === 3) line[i] += (a + b) >> 1;
    else if (kind === 4) line[i] += paeth(a, b, c);
  }
}

function paeth(a, b, c) {
  const [toA, toB, toC] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - 2 * c)];
  if (toA <= toB && toA <= toC) return a;
  return toB <= toC ? b : c;
}

/** Puts one pixel of a row where it belongs: of 16 bits the upper 8, and no transparency. */
function paint(made, at, line, column, { depth, colour, palette }) {
  const size = depth >> 3; // bytes of a sample
  const start = column * NUM_SAMPLES[colour] * size;
  if (colour & 1) {
    const index = 3 * sample(line, column, depth);
    for (let c = 0; c < 3; c++) made[at + c] = palette[index + c] ?? 0;
  } else if (colour & 2) {
    for (let c = 0; c < 3; c++) made[at + c] = line[start + c * size];
  } else {
    const level = size ? line[start] : (sample(line, column, depth) * 255) / (2 ** depth - 1);
    made.fill(level, at, at + 3);
  }
}

function sample(line, column, depth) {
  const bit = column * depth;
  return (line[bit >> 3] >> (8 - depth - (bit & 7))) & (2 ** depth - 1);
}

// -- JPEG

function readJpeg(bytes) {
  const kept = [bytes.subarray(0, 2)];
  const header = { width: 0, height: 0, numChannels: 0, exif: [], kept };
  let [hasExif, isAdobe] = [false, false];
  let numScans = 0;
  let start = 2;
  for (let i = 0; ; i++) {
    if (i === MAX_SEGMENTS) throw damaged(`it has more than ${MAX_SEGMENTS} segments`);
    const at = marker(bytes, start);
    const code = bytes[at + 1];
    if (numScans) kept.push(bytes.subarray(start, at)); // pixels
    if (code === 0xd9) break;
    const end = at + 2 + number(bytes, at + 2, 2);
    if (end < at + 4 || end > bytes.length || code === 0xd8) throw damaged("it is cut off");
    const data = bytes.subarray(at + 4, end);
    if (code >= 0xc0 && code <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(code)) readFrame(header, code, data);
    else if (code === 0xda) numScans++;
    else if (code === 0xe1 && !hasExif && !numScans && data.length >= 6 && startsWith(data, 0, "Exif\0\0")) {
      hasExif = true;
      header.exif = data.subarray(6);
    } else if (code === 0xee && !numScans) isAdobe ||= data.length >= 12 && startsWith(data, 0, "Adobe");
    if (code === 0xee || code < 0xe1 || (code > 0xef && code !== 0xfe)) kept.push(bytes.subarray(at, end));
    start = end;
  }
  if (!header.width || numScans < 1 || numScans > MAX_SCANS) {
    throw damaged(`it has no header, or not 1 to ${MAX_SCANS} scans`);
  }
  if (header.numChannels === 4 && !isAdobe) throw new Error("it is a CMYK file without Adobe's segment");
  kept.push(Uint8Array.of(0xff, 0xd9));
  return header;
}

/** Where the next segment begins that is not one of the pixels' own. */
function marker(bytes, start) {
  for (let at = bytes.indexOf(0xff, start); at >= 0 && at + 1 < bytes.length; at = bytes.indexOf(0xff, at + 1)) {
    const code = bytes[at + 1];
    if ((code >= 0x02 && code <= 0xcf) || (code >= 0xd8 && code <= 0xfe)) return at;
  }
  throw damaged("it is cut off");
}

function readFrame(header, code, data) {
  if (header.width) throw damaged("it has two headers");
  const [height, width, numChannels] = [number(data, 1, 2), number(data, 3, 2), data[5]];
  if (code > 0xc2 || data[0] !== 8 || ![1, 3, 4].includes(numChannels) || !width || !height) {
    throw new Error("it is no baseline, extended or progressive JPEG file of 8 bits in 1, 3 or 4 channels");
  }
  Object.assign(header, { width, height, numChannels });
}

async function decodeJpeg({ width, height, kept }) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob(kept, { type: "image/jpeg" }), { colorSpaceConversion: "none" });
  } catch {
    throw damaged("the browser cannot decode it");
  }
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  canvas.getContext("2d", { willReadFrequently: true }).drawImage(bitmap, 0, 0);
  return readCanvas(canvas).data;
}
