// Chooses an image, changes it, asks the model, shows the answer. Data flow one way:
// source (H x W x C, in [0, 1]) -> noise -> alpha -> [clip] -> model -> page.

import { fit, read, readCanvas } from "./pictures.js";

const RUNTIME = "./ort.wasm.bundle.min.mjs";
const MODEL = "model.browser.onnx";
const PAD_SIZE = 320; // pixels of the drawing's longer side
const MOST_CLASSES = 12; // with more, the likeliest ones are shown
const COLORS = { 1: "gray", 3: "red, green and blue" };

const $ = (id) => document.getElementById(id);
const clip = (value) => Math.min(Math.max(value, 0), 1);
const count = (n, one, many) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

/** A share as the report writes it: .981, and never .000 or 1.000 for what is not 0 or 1. */
function rate(value) {
  if (value > 0 && value < 0.0005) return "<.001";
  if (value < 1 && value >= 0.9995) return ">.999";
  return value.toFixed(3).replace(/^0/, "");
}

function percent(share) {
  if (share > 0 && share < 0.0001) return "<0.01 %";
  if (share < 1 && share >= 0.9995) return ">99.9 %";
  return `${Number((100 * share).toPrecision(3))} %`;
}

function element(tag, properties = {}, children = []) {
  const created = Object.assign(document.createElement(tag), properties);
  created.append(...children);
  return created;
}

// -- pixels

/** Paints an image, or one of its channels in gray; what lies outside [0, 1] becomes black or white. */
function paint(canvas, image, [height, width, channels], channel = null) {
  Object.assign(canvas, { width, height });
  const painted = new ImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    for (let c = 0; c < 3; c++) {
      const from = channels === 1 ? 0 : (channel ?? c);
      painted.data[4 * i + c] = Math.round(255 * clip(image[channels * i + from]));
    }
    painted.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(painted, 0, 0);
}

function drawNoise(kind, size) {
  const gaussian = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  return Float32Array.from({ length: size }, kind === "gaussian" ? gaussian : () => 2 * Math.random() - 1);
}

// -- the page

class Page {
  constructor(ort, session, metadata) {
    this.ort = ort;
    this.session = session;
    this.metadata = metadata;
    this.shape = metadata.input.shape;
    this.size = this.shape.reduce((a, b) => a * b);
    this.classNames = metadata.data.class_names;
    this.thresholds = thresholdRows(metadata);
    this.source = new Float32Array(this.size);
    this.description = "nothing";
    this.noise = drawNoise($("noise-kind").value, this.size);
    this.isAsking = false;
    this.isOutdated = false;
  }

  build(examples) {
    const { metadata } = this;
    const [height, width, channels] = this.shape;
    $("title").textContent = `Try ${metadata.name}`;
    document.title = $("title").textContent;
    const facts = [
      `${metadata.data.name}, ${count(metadata.data.num_classes, "class", "classes")}`,
      `${height} \u00d7 ${width} pixels, ${COLORS[channels]}`,
      `test error ${percent(metadata.test_error.value)}`,
      `temperature ${Number(metadata.temperature.toPrecision(3))}`,
    ];
    if (metadata.method) facts.unshift(`method ${metadata.method}`);
    $("about").textContent = facts.join(" \u00b7 ");
    $("file-help").textContent =
      `PNG or JPEG. It is stretched or shrunk to ${height} \u00d7 ${width} pixels, averaging` +
      `${channels === 1 ? ", and turned to gray, the mean of its colours" : ""}. Transparency is dropped.`;
    $("notes").append(...metadata.notes.map((textContent) => element("li", { textContent })));
    const longest = Math.max(...this.classNames.map((name) => name.length));
    $("probabilities").style.setProperty("--names", `${longest + 2}ch`);
    this.buildThresholds();
    this.buildExamples(examples);
    this.buildPad();
    this.buildFile();
    this.buildChanges();
  }

  buildThresholds() {
    const rows = this.thresholds.map((row, i) => {
      const radio = element("input", { type: "radio", name: "threshold", value: String(i), checked: row.isDefault });
      radio.addEventListener("change", () => this.ask());
      const words = element("span", {}, [
        element("b", { textContent: `${row.letter}\u2002${rate(row.threshold)}` }),
        `\u2002${row.name}`,
        element("small", { textContent: row.about }),
      ]);
      return element("label", { className: "threshold" }, [radio, words]);
    });
    $("thresholds").append(...rows);
    // Names that would touch each other go to lines of their own.
    let last = -1;
    let line = 0;
    for (const row of [...this.thresholds].sort((a, b) => a.threshold - b.threshold)) {
      line = row.threshold - last < 0.06 ? line + 1 : 0;
      last = row.threshold;
      const top = 0.3 + 1.05 * line;
      row.mark = element("span", { className: "mark", textContent: row.letter });
      row.mark.style.left = `${100 * clip(row.threshold)}%`;
      row.mark.style.top = `${top}rem`;
      row.mark.style.setProperty("--reach", `${top + 1.6}rem`);
      row.line = line;
    }
    $("marks").append(...this.thresholds.map((row) => row.mark));
    $("marks").style.height = `${1.3 + 1.05 * Math.max(...this.thresholds.map((row) => row.line))}rem`;
  }

  buildExamples({ labels, images }) {
    const buttons = images.map((image, i) => {
      const canvas = element("canvas");
      canvas.setAttribute("aria-hidden", "true");
      paint(canvas, image, this.shape);
      const name = labels ? this.classNames[labels[i]] : String(i + 1);
      const description = `example ${i + 1}${labels ? `, of class ${name}` : ""}`;
      const button = element("button", { type: "button", className: "example", title: description }, [
        canvas,
        element("span", { textContent: name }),
      ]);
      button.setAttribute("aria-label", `Show ${description}`);
      button.addEventListener("click", () => this.show(image, description, button));
      return button;
    });
    $("examples").hidden = !buttons.length;
    $("examples").append(...buttons);
    buttons[0]?.click();
    if (!buttons.length) this.show(this.source, "a black image");
  }

  buildPad() {
    const [height, width, channels] = this.shape;
    const pad = $("pad");
    const scale = PAD_SIZE / Math.max(height, width);
    Object.assign(pad, { width: Math.round(width * scale), height: Math.round(height * scale) });
    const context = pad.getContext("2d", { willReadFrequently: true });
    const clear = () => {
      context.fillStyle = "#000";
      context.fillRect(0, 0, pad.width, pad.height);
    };
    const use = () => this.show(fit(readCanvas(pad), this.shape), "your drawing");
    const line = (from, to) => {
      context.lineWidth = (Number($("pen-width").value) / 100) * PAD_SIZE;
      context.lineCap = "round";
      context.strokeStyle = channels === 1 ? "#fff" : $("pen-color").value;
      context.beginPath();
      context.moveTo(...from);
      context.lineTo(...to);
      context.stroke();
      use();
    };
    clear();
    $("pen-color-row").hidden = channels === 1;
    $("clear").addEventListener("click", () => {
      clear();
      use();
    });

    let last = null; // of the pointer, while it is down
    const place = (event) => {
      const box = pad.getBoundingClientRect();
      const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      return [x * pad.width, y * pad.height];
    };
    pad.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !event.isPrimary) return;
      pad.setPointerCapture(event.pointerId);
      last = place(event);
      line(last, last);
    });
    pad.addEventListener("pointermove", (event) => {
      if (!last || !event.isPrimary) return;
      const next = place(event);
      line(last, next);
      last = next;
    });
    for (const end of ["pointerup", "pointercancel"]) pad.addEventListener(end, () => (last = null));

    const pen = { at: [pad.width / 2, pad.height / 2], isDown: false };
    const showPen = () => {
      $("pen").hidden = !pad.matches(":focus-visible");
      $("pen").classList.toggle("down", pen.isDown);
      $("pen").style.left = `${(100 * pen.at[0]) / pad.width}%`;
      $("pen").style.top = `${(100 * pen.at[1]) / pad.height}%`;
    };
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    pad.addEventListener("keydown", (event) => {
      const step = steps[event.key];
      if (!step && event.key !== " ") return;
      event.preventDefault();
      const from = pen.at;
      if (step) {
        const limits = [pad.width, pad.height];
        pen.at = from.map((value, i) => Math.min(Math.max(value + (step[i] * PAD_SIZE) / 20, 0), limits[i]));
      } else {
        pen.isDown = !pen.isDown;
      }
      if (pen.isDown) line(from, pen.at);
      showPen();
    });
    for (const change of ["focus", "blur"]) pad.addEventListener(change, showPen);
  }

  buildFile() {
    $("file").addEventListener("change", () => this.read($("file").files[0]));
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      this.read(event.dataTransfer.files[0]);
    });
  }

  buildChanges() {
    for (const id of ["noise", "alpha", "clip"]) $(id).addEventListener("input", () => this.ask());
    const anew = () => {
      this.noise = drawNoise($("noise-kind").value, this.size);
      this.ask();
    };
    $("noise-kind").addEventListener("change", anew);
    $("new-noise").addEventListener("click", anew);
    $("reset").addEventListener("click", () => {
      $("noise").value = $("alpha").value = "0";
      $("clip").checked = false;
      this.ask();
    });
  }

  /** Reads a picture from a file. */
  async read(file) {
    if (!file) return;
    $("file-error").hidden = true;
    try {
      const pixels = await read(file);
      this.show(fit(pixels, this.shape), `${file.name}, of ${pixels.width} \u00d7 ${pixels.height} pixels`);
    } catch (error) {
      $("file-error").textContent = `${file.name} could not be read as a picture: ${error.message}.`;
      $("file-error").hidden = false;
    }
  }

  /** Takes another source image. */
  show(image, description, button = null) {
    this.source = image;
    this.description = description;
    for (const other of $("examples").children) other.setAttribute("aria-pressed", String(other === button));
    this.ask();
  }

  /** The image as the sliders change it. */
  changed() {
    const noise = Number($("noise").value);
    const alpha = 10 ** Number($("alpha").value);
    const last = $("clip").checked ? clip : (value) => value;
    return this.source.map((value, i) => last(alpha * clip(value + noise * this.noise[i])));
  }

  /** Asks the model about the image; while it works, only the newest question waits. */
  async ask() {
    this.isOutdated = true;
    if (this.isAsking) return;
    this.isAsking = true;
    try {
      while (this.isOutdated) {
        this.isOutdated = false;
        const image = this.changed();
        const row = this.thresholds[Number(document.querySelector("[name=threshold]:checked").value)];
        this.showImage(image);
        this.showAnswer(image, row, await this.run(image, row.threshold));
      }
    } catch (error) {
      fail(`The model could not be run: ${error.message}`);
    } finally {
      this.isAsking = false;
    }
  }

  async run(image, threshold) {
    const outputs = await this.session.run({
      images: new this.ort.Tensor("float32", image, [1, ...this.shape]),
      threshold: new this.ort.Tensor("float32", Float32Array.of(threshold), []),
    });
    return {
      label: Number(outputs.label.data[0]),
      confidence: outputs.confidence.data[0],
      probabilities: [...outputs.probabilities.data],
      accepted: Boolean(outputs.accepted.data[0]),
    };
  }

  showImage(image) {
    const [height, width, channels] = this.shape;
    const noise = Number($("noise").value);
    const alpha = 10 ** Number($("alpha").value);
    const factor = String(Number(alpha.toPrecision(3)));
    for (const [id, text] of [
      ["noise", noise.toFixed(2)],
      ["alpha", factor],
    ]) {
      $(`${id}-value`).textContent = text;
      $(id).setAttribute("aria-valuetext", text);
    }
    paint($("seen"), image, this.shape);
    const changes = [this.description];
    if (noise > 0) changes.push(`${$("noise-kind").value} noise ${noise.toFixed(2)}`);
    if (alpha > 1) changes.push(`times ${factor}${$("clip").checked ? ", clipped" : ""}`);
    const outside = image.filter((value) => value < 0 || value > 1).length;
    const largest = Number(image.reduce((a, b) => Math.max(a, b)).toPrecision(3));
    const range = outside
      ? `${outside} of ${count(image.length, "value", "values")} outside [0, 1], up to ${largest}, shown white`
      : "all values in [0, 1]";
    const description = changes.join(", ");
    $("seen-caption").textContent = `${height} \u00d7 ${width} pixels, ${COLORS[channels]}: ${description}; ${range}`;
    $("seen").setAttribute("aria-label", `The image: ${description}`);
    if (channels === 3) {
      $("channels").hidden = false;
      $("channels").replaceChildren(
        ...["red", "green", "blue"].map((name, channel) => {
          const canvas = element("canvas");
          canvas.setAttribute("aria-hidden", "true");
          paint(canvas, image, this.shape, channel);
          return element("figure", {}, [canvas, element("figcaption", { textContent: name })]);
        }),
      );
    }
  }

  showAnswer(image, row, { label, confidence, probabilities, accepted }) {
    const excess = image.reduce((sum, value) => sum + Math.abs(value - clip(value)), 0);
    const isInBox = excess <= this.metadata.input.box_tolerance;
    const isUsable = isInBox && (accepted || confidence < Math.fround(row.threshold));
    const compared = accepted ? "reaches" : "is below";
    let reason = `The confidence ${rate(confidence)} ${compared} threshold ${row.letter}, ${rate(row.threshold)}.`;
    if (!isInBox) reason = "The image lies outside the box [0, 1]: no confidence can be trusted there.";
    else if (!isUsable) reason = "The network's numbers are not finite.";
    $("decision").className = accepted ? "accepted" : "refused";
    $("verdict").textContent = accepted ? "\u2713 Accepted" : "\u2715 Refused";
    $("reason").textContent = reason;
    $("label").textContent = isUsable ? this.classNames[label] : "none";
    $("confidence").value = String(confidence);
    $("confidence").textContent = rate(confidence);

    document.querySelector("#bar .fill").style.width = `${100 * confidence}%`;
    for (const other of this.thresholds) other.mark.classList.toggle("chosen", other === row);
    const marks = this.thresholds.map((other) => `${other.letter} at ${rate(other.threshold)}`);
    $("bar").setAttribute(
      "aria-label",
      `Confidence ${rate(confidence)} on a scale from 0 to 1; thresholds ${marks.join(", ")}; ${row.letter} decides`,
    );
    this.showProbabilities(probabilities, isUsable ? label : null);
  }

  showProbabilities(probabilities, label) {
    let order = probabilities.map((_, i) => i);
    if (order.length > MOST_CLASSES) {
      order = order.sort((a, b) => probabilities[b] - probabilities[a]).slice(0, MOST_CLASSES - 2);
    }
    const rows = order.map((i) => {
      const bar = element("div");
      bar.style.width = `${100 * probabilities[i]}%`;
      const value = element("data", { value: String(probabilities[i]), textContent: rate(probabilities[i]) });
      const name = element("th", { scope: "row", textContent: this.classNames[i], title: this.classNames[i] });
      return element("tr", { className: i === label ? "label" : "" }, [
        name,
        element("td", { className: "likelihood" }, [bar]),
        element("td", {}, [value]),
      ]);
    });
    $("probabilities").replaceChildren(...rows);
    const others = probabilities.length - order.length;
    const sum = order.reduce((rest, i) => rest - probabilities[i], 1);
    $("rest").hidden = !others;
    $("rest").textContent = `The ${others} other classes together: ${rate(Math.max(0, sum))}.`;
  }
}

/** The thresholds of the metadata, the default one among them, as the page shows them. */
function thresholdRows(metadata) {
  const { name, value } = metadata.threshold;
  const rows = metadata.thresholds.map((row) => {
    const shares = [];
    if (row.accepted_test !== null) shares.push(`${percent(row.accepted_test)} of test images`);
    if (row.accepted_worst_noise !== null) shares.push(`${percent(row.accepted_worst_noise)} of attacked noise`);
    const about = [`from ${count(row.num_images, "image", "images")}`];
    if (shares.length) about.unshift(`reached by ${shares.join(", ")}`);
    return { name: row.name, threshold: row.threshold, about };
  });
  const order = ["95", "99", "conformal"].indexOf(name);
  let chosen = rows[order]?.threshold === value ? order : rows.findIndex((row) => row.threshold === value);
  if (chosen < 0) chosen = rows.push({ name: "given at export", threshold: value, about: [] }) - 1;
  rows[chosen].about.push("the model's default");
  return rows.map((row, i) => {
    const letter = String.fromCharCode(65 + i);
    return { ...row, about: row.about.join("; "), letter, isDefault: i === chosen };
  });
}

// -- loading

function tell(text, isFailure = false) {
  $("status").className = isFailure ? "failed" : "";
  $("status").replaceChildren(element("p", { textContent: text }));
  $("status").hidden = false;
}

function fail(text) {
  tell(text, true);
}

async function load(name) {
  let response;
  try {
    response = await fetch(name, { cache: "no-cache" });
  } catch (error) {
    throw new Error(`${name} could not be fetched (${error.message}). Is the server still running?`);
  }
  if (response.ok) return response;
  throw new Error(`${name} is missing beside this page (HTTP ${response.status}). Write the page again.`);
}

async function loadExamples(size) {
  const { labels } = await (await load("examples.json")).json();
  const pixels = new Float32Array(await (await load("examples.bin")).arrayBuffer());
  const images = Array.from({ length: pixels.length / size }, (_, i) => pixels.slice(i * size, (i + 1) * size));
  return { labels, images };
}

async function start() {
  tell("The model is being loaded \u2026");
  try {
    const metadata = await (await load("metadata.json")).json();
    const examples = await loadExamples(metadata.input.shape.reduce((a, b) => a * b));
    const model = new Uint8Array(await (await load(MODEL)).arrayBuffer());
    const ort = await import(RUNTIME);
    ort.env.wasm.numThreads = 1; // more need headers that isolate the page
    ort.env.logLevel = "error";
    const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"], logSeverityLevel: 3 });
    const page = new Page(ort, session, metadata);
    page.build(examples);
    $("status").hidden = true;
    for (const id of ["page", "about", "about-model"]) $(id).hidden = false;
  } catch (error) {
    fail(`The model could not be loaded: ${error.message}`);
  }
}

start();
