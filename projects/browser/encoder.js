// A biLM in the browser: the layers of sentences by the native kernel in WebAssembly, and the vectors of words.
"use strict";

// Number of each half-precision bit pattern.
const HALVES = Float32Array.from({ length: 65536 }, (_, bits) => {
  const sign = bits >> 15 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction);
});

// A table (rows, columns) of a safetensors file.
class Tensor {
  constructor({ dtype, shape, data_offsets: [begin, end] }, data) {
    const type = { F32: Float32Array, F16: Uint16Array, I8: Int8Array }[dtype];
    this.shape = shape;
    this.columns = shape[shape.length - 1];
    this.isHalf = dtype === "F16";
    this.values = new type(data.slice(begin, end)); // a copy, because the offset in the file is not aligned
  }

  get length() {
    return this.values.length;
  }

  // Write `count` values from `start` as float32, times a factor.
  copy(to, start = 0, count = this.length, factor = 1) {
    for (let i = 0; i < count; i++) {
      const value = this.values[start + i];
      to[i] = (this.isHalf ? HALVES[value] : value) * factor;
    }
  }

  copyRow(to, row, factor = 1) {
    this.copy(to, row * this.columns, this.columns, factor);
  }
}

// Read a safetensors file: its tensors by name, and its metadata.
function readSafetensors(buffer) {
  const headerLength = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, headerLength)));
  const data = buffer.slice(8 + headerLength);
  const { __metadata__: metadata, ...entries } = header;
  const tensors = Object.fromEntries(Object.entries(entries).map(([name, entry]) => [name, new Tensor(entry, data)]));
  return { tensors, metadata };
}

// Memory of the kernel, with arrays that live until `release`.
class Scratch {
  constructor(kernel) {
    this.kernel = kernel;
    this.addresses = [];
  }

  // Allocate n numbers of 4 bytes and return their address.
  allocate(n) {
    const address = this.kernel.malloc(4 * Math.max(n, 1));
    if (!address) throw new Error("The browser has no memory left for this text: give a shorter one.");
    this.addresses.push(address);
    return address;
  }

  // Views become invalid when the memory grows, therefore after the next allocation.
  floats(address, n) {
    return new Float32Array(this.kernel.memory.buffer, address, n);
  }

  integers(address, n) {
    return new Int32Array(this.kernel.memory.buffer, address, n);
  }

  release() {
    this.addresses.forEach((address) => this.kernel.free(address));
  }
}

async function startKernel(bytes) {
  const imports = {
    env: { emscripten_notify_memory_growth() {} },
    wasi_snapshot_preview1: {
      proc_exit(status) {
        throw new Error(`The kernel stopped with status ${status}: reload the page.`);
      },
    },
  };
  const { instance } = await WebAssembly.instantiate(bytes, imports).catch((error) => {
    if (!(error instanceof WebAssembly.CompileError)) throw error;
    throw new Error("This browser has no SIMD in WebAssembly: use Chrome 91, Firefox 89, Safari 16.4 or newer.");
  });
  instance.exports._initialize();
  return instance.exports;
}

function cosine(a, b) {
  let dot = 0;
  let aa = 0;
  let bb = 0;
  for (let i = 0; i < a.length; i++) {
    dot += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return aa && bb ? dot / Math.sqrt(aa * bb) : 0;
}

// A biLM. L LSTM layers, P projection of one direction, D = 2P width of a layer.
class Encoder {
  // modelBytes: what export_model.py writes; kernelBytes: the WebAssembly module. Both ArrayBuffers.
  static async load(modelBytes, kernelBytes) {
    return new Encoder(readSafetensors(modelBytes), await startKernel(kernelBytes));
  }

  constructor({ tensors, metadata }, kernel) {
    this.kernel = kernel;
    this.config = JSON.parse(metadata.config);
    this.embedding = tensors.embedding;
    this.ngramVectors = tensors.ngram_embedding;
    this.ngramScales = tensors.ngram_scale;
    const lines = (text) => (text ? text.split("\n") : []);
    this.vocabulary = new Vocabulary({
      units: lines(metadata.units),
      ngrams: lines(metadata.ngrams),
      simplified: lines(metadata.simplified).map((pair) => Array.from(pair)),
      maxNgramLength: this.config.maxNgramLength,
    });
    this.reader = new UnitReader({ ...this.config, eastAsian: JSON.parse(metadata.east_asian) });
    this.model = this.pack(tensors);
  }

  get nLayers() {
    return this.config.nLayers + 1;
  }

  get width() {
    return 2 * this.config.projection;
  }

  pack(tensors) {
    const { nLayers, projection, hidden, skip, cellClip, projClip } = this.config;
    const scratch = new Scratch(this.kernel);
    const addresses = ["forward", "backward"].flatMap((direction) =>
      Array.from({ length: nLayers }, (_, layer) => `${direction}.${layer}`).flatMap((place) =>
        ["w_ih", "w_hh", "bias", "w_hr"].map((name) => {
          const tensor = tensors[`${place}.${name}`];
          if (!tensor) return 0;
          const address = scratch.allocate(tensor.length);
          tensor.copy(scratch.floats(address, tensor.length));
          return address;
        }),
      ),
    );
    const table = scratch.allocate(addresses.length);
    scratch.integers(table, addresses.length).set(addresses);
    const clips = [cellClip ?? 0, projClip ?? 0];
    const model = this.kernel.kernel_model_new(nLayers, projection, hidden, skip ? 1 : 0, ...clips, table);
    scratch.release();
    if (!model) throw new Error("The browser has no memory left for the model: close other pages and reload this one.");
    return model;
  }

  // Compute the layers of a sentence, a list of n units: Float32Array (L + 1, n, D).
  encode(units) {
    const scratch = new Scratch(this.kernel);
    try {
      return units.length ? this.encodeIds(this.vocabulary.ids(units), scratch) : new Float32Array(0);
    } finally {
      scratch.release();
    }
  }

  encodeIds(ids, scratch) {
    const n = ids.length;
    const { projection: P, nLayers, scale } = this.config;
    const vectors = scratch.allocate(n * P);
    ids.forEach((id, i) => this.embedding.copyRow(scratch.floats(vectors + 4 * i * P, P), id));
    const ngrams = this.copyNgrams(ids, scratch);
    const size = (nLayers + 1) * (n - 2) * this.width;
    const out = scratch.allocate(size);
    const status = this.kernel.kernel_encode(
      this.model, n, vectors, P, nLayers, scale, ngrams.orders, ngrams.width, ngrams.vectors, ngrams.rows, out,
    );
    if (status) throw new Error("The browser has no memory left for this text: give a shorter one.");
    return scratch.floats(out, size).slice();
  }

  // Copy the vectors of a sentence's n-grams into a table of their own; row 0 is not used.
  copyNgrams(ids, scratch) {
    if (!this.ngramVectors) return { orders: 0, width: 0, vectors: 0, rows: 0 };
    const found = this.vocabulary.ngramRows(ids);
    const distinct = [0, ...new Set(found.filter((row) => row))];
    const width = this.ngramVectors.columns;
    const vectors = scratch.allocate(distinct.length * width);
    const rows = scratch.allocate(found.length);
    distinct.forEach((row, i) => {
      const to = scratch.floats(vectors + 4 * i * width, width);
      this.ngramVectors.copyRow(to, row, this.ngramScales ? this.ngramScales.values[row] : 1);
    });
    const places = new Map(distinct.map((row, i) => [row, i]));
    scratch.integers(rows, found.length).set(found.map((row) => places.get(row)));
    return { orders: this.vocabulary.ngrams.length, width, vectors, rows };
  }

  // Read a text: its units with their offsets, and the layers of each sentence.
  read(text) {
    return this.reader.read(text).map(({ units, offsets }) => ({ units, offsets, layers: this.encode(units) }));
  }

  // Compute the vectors of the characters begin..end of a read text: an array (D,) for each layer; null if no unit
  // lies there. Layer 0 is the mean over the units; above, the forward half is the state of the last unit, and the
  // backward half that of the first.
  wordVectors(sentences, begin, end) {
    const inside = sentences.flatMap(({ units, offsets, layers }) =>
      units.flatMap((unit, i) =>
        unit !== " " && begin <= offsets[i] && offsets[i] < end ? [{ n: units.length, i, layers }] : [],
      ),
    );
    if (!inside.length) return null;
    const D = this.width;
    const state = ({ n, i, layers }, layer) => layers.subarray((layer * n + i) * D, (layer * n + i + 1) * D);
    return Array.from({ length: this.nLayers }, (_, layer) => {
      const vector = new Float32Array(D);
      if (layer) {
        vector.set(state(inside[inside.length - 1], layer).subarray(0, D / 2));
        vector.set(state(inside[0], layer).subarray(D / 2), D / 2);
        return vector;
      }
      const states = inside.map((unit) => state(unit, 0));
      return vector.map((_, d) => states.reduce((sum, each) => sum + each[d], 0) / states.length);
    });
  }

  // Offsets of a word in a text, counted in characters; full-width forms equal ordinary ones.
  find(text, word) {
    const characters = Array.from(this.reader.fold(text));
    const wanted = Array.from(this.reader.fold(word));
    const isAt = (begin) => wanted.every((character, i) => characters[begin + i] === character);
    return characters.flatMap((_, begin) => (wanted.length && isAt(begin) ? [begin] : []));
  }

  // Compute the cosine of a word's vectors in two texts, for each layer: its first occurrence in each.
  compare(first, second, word) {
    const vectors = [["first", first], ["second", second]].map(([name, text]) => {
      const [begin] = this.find(text, word);
      const found = begin === undefined ? null : this.wordVectors(this.read(text), begin, begin + Array.from(word).length);
      if (found) return found;
      throw new Error(
        word.trim()
          ? `The word “${word}” is not in the ${name} sentence: choose a word that both sentences contain.`
          : "No word is chosen: type one that both sentences contain.",
      );
    });
    return vectors[0].map((vector, layer) => cosine(vector, vectors[1][layer]));
  }
}
