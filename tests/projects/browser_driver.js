// Runs the encoder under Node.js: node browser_driver.js LIBRARY KERNEL MODEL, a request as JSON on the standard input.
//   {encode: [units of a sentence], compare: [[first text, second text, word]]} -> {layers, cosines}
//   {options of a UnitReader, read: [text]} -> {read}, without kernel and model
"use strict";

const fs = require("fs");

const [library, kernel, model] = process.argv.slice(2);
const { Encoder, UnitReader } = require(library);
const bytes = (path) => new Uint8Array(fs.readFileSync(path)).buffer;

async function answer({ encode = [], read = [], compare = [], options }) {
  if (options) return { read: read.map((text) => new UnitReader(options).read(text)) };
  const encoder = await Encoder.load(bytes(model), bytes(kernel));
  return {
    layers: encode.map((units) => Array.from(encoder.encode(units))),
    cosines: compare.map((texts) => encoder.compare(...texts)),
  };
}

answer(JSON.parse(fs.readFileSync(0, "utf8"))).then((result) => console.log(JSON.stringify(result)));
