// Text to the units of a character model, as spacy_elmo/text.py and the alignment of tokens do.
"use strict";

// White space of Python's str.isspace() and \s; \s of JavaScript has other characters.
const SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/u;
const SENTENCE = /[^。！？!?…\r\n]*[。！？!?…]+[”’」』）】》"')\]]*|[^。！？!?…\r\n]+/gu;

// Fold full-width letters and digits to their ordinary forms, of the same length.
function foldFullWidth(text) {
  return text.replace(/[０-９Ａ-Ｚａ-ｚ]/g, (c) => String.fromCharCode(c.charCodeAt(0) - 0xfee0));
}

// Split n units into the fewest parts of at most `limit`, of nearly equal length: [begin, end] of each.
function splitEvenly(n, limit) {
  const pieces = Math.ceil(n / limit);
  const cut = (i) => Math.ceil((n * i) / pieces);
  return Array.from({ length: pieces }, (_, i) => [cut(i), cut(i + 1)]);
}

// Units of texts. eastAsian: first and last code point of each range of characters of scripts without spaces.
class UnitReader {
  constructor({ eastAsian, foldsFullWidth, maxSentenceLength }) {
    this.eastAsian = eastAsian;
    this.foldsFullWidth = foldsFullWidth;
    this.maxSentenceLength = maxSentenceLength;
  }

  isEastAsian(character) {
    const code = character.codePointAt(0);
    return this.eastAsian.some(([first, last]) => first <= code && code <= last);
  }

  fold(text) {
    return this.foldsFullWidth ? foldFullWidth(text) : text;
  }

  // Units of one sentence, and the offset of each. White space between two characters of other scripts is one
  // unit " "; all other white space is dropped.
  split(text) {
    const units = [];
    const offsets = [];
    let spaceBefore = false;
    Array.from(this.fold(text)).forEach((character, offset) => {
      const isSpace = SPACE.test(character);
      if (!isSpace) {
        const last = units[units.length - 1];
        if (spaceBefore && units.length && !this.isEastAsian(last) && !this.isEastAsian(character)) {
          units.push(" ");
          offsets.push(offsets[offsets.length - 1] + 1);
        }
        units.push(character);
        offsets.push(offset);
      }
      spaceBefore = isSpace;
    });
    return { units, offsets };
  }

  // Sentences of a text: the units of each, and their offsets in the text, counted in characters (code points).
  // A sentence of more than maxSentenceLength units is split.
  read(text) {
    const sentences = [];
    for (const match of text.matchAll(SENTENCE)) {
      const begin = Array.from(text.slice(0, match.index)).length;
      const { units, offsets } = this.split(match[0]);
      for (const [first, last] of splitEvenly(units.length, this.maxSentenceLength)) {
        sentences.push({
          units: units.slice(first, last),
          offsets: offsets.slice(first, last).map((offset) => begin + offset),
        });
      }
    }
    return sentences;
  }
}

// Rows of units and of n-grams, as spacy_elmo/modeling/vocab.py and ngram_index.py find them.
const UNKNOWN = 1;
const BEGIN = 2;
const END = 3;
const N_SPECIALS = 4;

class Vocabulary {
  // units, ngrams: in the order of their tables. simplified: pairs of a traditional character and its simplified form.
  constructor({ units, ngrams, simplified, maxNgramLength }) {
    this.size = N_SPECIALS + units.length;
    this.rows = new Map(units.map((unit, i) => [unit, N_SPECIALS + i]));
    this.ngrams = Array.from({ length: maxNgramLength - 1 }, () => new Map());
    ngrams.forEach((ngram, i) => {
      const ids = Array.from(ngram, (unit) => this.rows.get(unit));
      this.ngrams[ids.length - 2].set(this.key(ids), i + 1);
    });
    for (const [traditional, form] of simplified) this.rows.set(traditional, this.rows.get(form));
  }

  // A number of its own for each n-gram of a length.
  key(ids) {
    return ids.reduce((key, id) => key * this.size + id, 0);
  }

  // Rows of a sentence's units, boundaries included.
  ids(units) {
    return [BEGIN, ...units.map((unit) => this.rows.get(unit) ?? UNKNOWN), END];
  }

  // Rows of the n-grams of 2, 3, ... units that end at each unit, 0 for none: (n, orders), one after another.
  ngramRows(ids) {
    return ids.flatMap((_, end) =>
      this.ngrams.map((known, k) => (end < k + 1 ? 0 : (known.get(this.key(ids.slice(end - k - 1, end + 1))) ?? 0))),
    );
  }
}
