// The page: reads the two sentences and the word, and shows the cosine of each layer as a bar.
"use strict";

const EXAMPLES = [
  { word: "苹果", note: "fruit, company", first: "他吃了一个苹果。", second: "苹果公司的股票上涨。" },
  { word: "苹果", note: "fruit twice", first: "他吃了一个苹果。", second: "她买了三斤苹果。" },
  { word: "打", note: "turn on, hit", first: "他打开了电脑。", second: "不要打人。" },
  { word: "打", note: "call twice", first: "她给妈妈打电话。", second: "他给我打了一个电话。" },
  { word: "行", note: "bank, all right", first: "他在银行工作。", second: "这样做行不行？" },
  { word: "花", note: "flower, spend", first: "春天院子里开满了花。", second: "他花了很多钱。" },
  { word: "得", note: "particle, must", first: "他跑得很快。", second: "你得早点来。" },
];
const LAYERS = ["the word itself", "closer to syntax", "closer to the sense"];
const DELAY = 120; // milliseconds after the last key before the layers are computed
const LONGEST_SUGGESTION = 4; // characters
const MOST_SUGGESTIONS = 8;
const SPEED_TEXT = "中国人民银行的行长去了上海，他打开电脑以后给我打电话。"; // 27 units
const SPEED_MILLISECONDS = 2000;

const element = (id) => document.getElementById(id);
const inputs = () => Object.fromEntries(["first", "second", "word"].map((id) => [id, element(id).value]));

function bytesOf(id) {
  const place = element(id);
  const binary = atob(place.textContent.trim());
  place.remove(); // the text is twice as large as the data
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes.buffer;
}

// Strings of letters and signs of writing that both texts contain and no longer common string does, longest first.
function commonStrings(first, second) {
  const found = [];
  const characters = Array.from(first);
  for (let size = Math.min(LONGEST_SUGGESTION, characters.length); size; size--) {
    for (let begin = 0; begin + size <= characters.length; begin++) {
      const string = characters.slice(begin, begin + size).join("");
      const isPart = found.some((longer) => longer.includes(string));
      if (!isPart && /^[\p{L}\p{N}]+$/u.test(string) && second.includes(string)) found.push(string);
    }
  }
  return found.slice(0, MOST_SUGGESTIONS);
}

function button(text, note, isChosen, onClick) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.setAttribute("aria-pressed", isChosen);
  if (note) {
    const small = document.createElement("small");
    small.textContent = note;
    made.append(" ", small);
  }
  made.addEventListener("click", onClick);
  return made;
}

function fill(values) {
  Object.entries(values).forEach(([id, value]) => {
    if (element(id) && value !== undefined) element(id).value = value;
  });
}

// A sentence with its first occurrence of the word marked.
function marked(encoder, text, word) {
  const characters = Array.from(text);
  const [begin] = encoder.find(text, word);
  const end = begin + Array.from(word).length;
  const line = document.createElement("span");
  const mark = document.createElement("mark");
  mark.textContent = characters.slice(begin, end).join("");
  line.append(characters.slice(0, begin).join(""), mark, characters.slice(end).join(""));
  return line;
}

function bar(cosine, layer) {
  const row = document.createElement("div");
  row.className = "bar";
  row.innerHTML = '<div></div><div class="track"><div class="fill"></div></div><div class="value"></div>';
  const [name, track, value] = row.children;
  const small = document.createElement("small");
  small.textContent = LAYERS[layer] ?? "";
  name.append(layer ? `Layer ${layer}: LSTM ${layer}` : "Layer 0: embedding", small);
  track.firstChild.style.width = `${100 * Math.max(cosine, 0)}%`;
  value.textContent = cosine.toFixed(3).replace("-", "−");
  return row;
}

// Show an error as one sentence, or the bars.
function showResult(encoder, { first, second, word }) {
  const message = element("message");
  let cosines = null;
  try {
    cosines = encoder.compare(first, second, word);
    message.replaceChildren(marked(encoder, first, word), marked(encoder, second, word));
    element("bars").replaceChildren(...cosines.map(bar));
  } catch (error) {
    message.textContent = error.message;
  }
  message.classList.toggle("error", !cosines);
  element("bars").hidden = element("scale").hidden = !cosines;
}

function showChoices({ first, second, word }, update) {
  const choose = (values) => () => {
    fill(values);
    update();
  };
  const isChosen = (example) => example.first === first && example.second === second && example.word === word;
  element("examples").replaceChildren(
    ...EXAMPLES.map((each) => button(each.word, each.note, isChosen(each), choose(each))),
  );
  element("suggestions").replaceChildren(
    ...commonStrings(first, second).map((string) => button(string, "", string === word, choose({ word: string }))),
  );
}

function measureSpeed(encoder) {
  const units = Array.from(SPEED_TEXT);
  encoder.encode(units); // the first run compiles
  const begin = performance.now();
  let n = 0;
  while (performance.now() - begin < SPEED_MILLISECONDS) {
    encoder.encode(units);
    n += units.length;
  }
  const speed = Math.round((1000 * n) / (performance.now() - begin));
  element("units-per-second").textContent = `${speed.toLocaleString("en")} units per second, one sentence at a time`;
}

// Sentences and word of the address (#first=...&second=...&word=...), or the first example.
function startingValues() {
  const given = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  return "first" in given || "second" in given ? { first: "", second: "", word: "", ...given } : EXAMPLES[0];
}

async function start() {
  fill(startingValues());
  await new Promise((resolve) => setTimeout(resolve)); // show the page before the model is read
  let encoder;
  try {
    encoder = await Encoder.load(bytesOf("model-data"), bytesOf("kernel-data"));
  } catch (error) {
    element("message").textContent = error.message;
    element("message").classList.add("error");
    return;
  }
  const update = () => {
    showChoices(inputs(), update);
    showResult(encoder, inputs());
  };
  let timer;
  ["first", "second", "word"].forEach((id) =>
    element(id).addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(update, DELAY);
    }),
  );
  window.addEventListener("hashchange", () => {
    fill(startingValues());
    update();
  });
  element("speed").disabled = false;
  element("speed").addEventListener("click", () => measureSpeed(encoder));
  element("about").textContent = `Model ${encoder.config.name}: ${encoder.nLayers} layers of width ${encoder.width}.`;
  update();
}
